"""Waiting in an event loop: no thread for each wait, one connection for all notifications, and nothing left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import redis
from support import eventually

from reconciler.api.action import ActionSpec
from reconciler.api.errors import ActionAborted, ActionNotFound, ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client, Run, awaiting
from reconciler.client.aio import AsyncClient
from reconciler.client.threads import THREADS
from reconciler.controller.step import Stepper
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.memory import MemoryStore
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine

WAITS = 1000
ECHO = encode_template(
    TaskTemplate(type="echo", interface=Interface(inputs={"o0": "str"}, outputs={"o0": "str"}))
)


class House:
    """A client for asyncio on the store under test, and the steps that end what it submits."""

    def __init__(self, store: Store) -> None:
        self.store = store
        settings, blobs, messenger = Settings(shards=store.shards), MemoryBlobs(), RecordingMessenger()
        self.plain = Client(store, blobs, messenger, settings)
        self.client = AsyncClient(self.plain)
        self.stepper: Stepper = Engine(settings, store=store, blobs=blobs, messenger=messenger).stepper

    async def submit(self, value: str) -> Run[str]:
        """Submit one action that ends with this value when somebody steps."""
        inputs = b'{"o0":"%s"}' % value.encode()
        return await self.client.submit(
            ActionSpec(task_type="echo", short_name="echo", task_template=ECHO, inputs=inputs)
        )

    async def step(self) -> None:
        """End all there is, in a thread that is not ours."""

        def steps() -> None:
            for _ in range(3):
                for shard in range(self.store.shards):
                    while self.stepper.step(shard).claimed:
                        pass

        await asyncio.to_thread(steps)

    def listeners(self) -> int:
        """Count how many wait for notifications."""
        if isinstance(self.store, RedisStore):
            notifier = self.store._notifier
            return sum(map(len, notifier._callbacks.values())) if notifier else 0
        return sum(map(len, self.store._waiting.values()))  # type: ignore[attr-defined]  # the twin


@pytest.fixture
def house(store: Store) -> House:
    """An installation on the store under test."""
    return House(store)


def play(story: Coroutine[Any, Any, None]) -> None:
    """Tell a story in an event loop of its own."""
    asyncio.run(asyncio.wait_for(story, 60))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until `condition` holds."""
    await asyncio.to_thread(eventually, condition)


def ours() -> set[threading.Thread]:
    """Return threads that serve clients: those of event loops, and that of notifications."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("reconciler-")}


def test_a_thousand_waits_take_few_threads_and_one_subscription(house: House) -> None:
    """1,000 `await run` in one loop: one connection for notifications, others as many as threads, and those are bounded."""
    before = ours()

    async def story() -> None:
        runs = await asyncio.gather(*(house.submit(str(number)) for number in range(WAITS)))
        waits = asyncio.gather(*runs)
        await until(lambda: house.listeners() == WAITS)
        assert len(ours() - before) <= THREADS + 1
        if isinstance(house.store, RedisStore) and isinstance(house.store.client, redis.Redis):
            clients = house.store.client.client_list()
            assert sum(int(client["sub"]) > 0 for client in clients) == 1
            pool = house.store.client.connection_pool
            assert len(pool._in_use_connections) + len(pool._available_connections) <= THREADS + 1
        await house.step()
        assert await waits == [str(number) for number in range(WAITS)]
        assert len(ours() - before) <= THREADS + 1
        await until(lambda: house.listeners() == 0)

    play(story())


def test_an_end_wakes_who_awaits_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody polls: the result is there long before a wait looks again by itself."""
    monkeypatch.setattr(awaiting, "LOOK_AGAIN", 600.0)

    async def story() -> None:
        run = await house.submit("x")
        waiting = asyncio.ensure_future(run.aio.wait())
        await until(lambda: house.listeners() == 1)
        await house.step()
        assert (await asyncio.wait_for(waiting, 30)).phase is ActionPhase.SUCCEEDED
        assert await run == await house.client.result(run.action) == "x"
        assert await run.aio.outcomes() == ["x"]

    play(story())


def test_a_cancelled_wait_leaves_the_action_alone(house: House) -> None:
    """Cancelling an `await` ends the waiting and its subscription; the action goes on and can be awaited again."""

    async def story() -> None:
        run = await house.submit("x")
        waiting = asyncio.ensure_future(run.aio.result())
        await until(lambda: house.listeners() == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: house.listeners() == 0)
        assert house.plain.get(run.action).metadata.deletion is None
        await house.step()
        assert await run == "x"

    play(story())


def test_a_wait_that_is_cancelled_while_it_subscribes(house: House) -> None:
    """However early a wait is cancelled, no subscription stays."""

    async def story() -> None:
        run = await house.submit("x")
        for turns in range(12):
            waiting = asyncio.ensure_future(run.aio.result())
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: house.listeners() == 0)

    play(story())


def test_a_time_limit_of_a_wait(house: House) -> None:
    """As in plain code: a limit that passes raises, and names what to do."""

    async def story() -> None:
        run = await house.submit("x")
        for wait in (run.aio.wait, run.aio.result, run.aio.outcomes):
            with pytest.raises(ResultTimeout, match="it goes on: wait again, or abort it"):
                await wait(timeout=0.01)
        with pytest.raises(ResultTimeout, match="watch again"):
            [event async for event in run.watch(timeout=0.01)]

    play(story())


def test_a_loop_that_dies_loses_nothing(house: House) -> None:
    """A loop that is closed in the middle of waits leaves no subscription, and another loop awaits the same handle."""
    loop = asyncio.new_event_loop()
    run = loop.run_until_complete(house.submit("x"))

    async def wait() -> object:
        return await run

    waiting = loop.create_task(wait())
    loop.run_until_complete(until(lambda: house.listeners() == 1))
    loop.close()
    asyncio.run(house.step())  # its notification finds a closed loop
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # that is the point
    waiting.get_coro().close()  # type: ignore[union-attr]  # as the collector does
    eventually(lambda: house.listeners() == 0)
    assert asyncio.run(wait()) == "x"


def test_events_are_followed_by_async_for(house: House) -> None:
    """`run.watch()` is one object: `async for` follows it in a loop, `for` elsewhere; both end with the last event."""

    async def story() -> None:
        run = await house.submit("x")

        async def follow() -> list[ActionPhase]:
            return [event.phase async for event in run.watch()]

        following = asyncio.ensure_future(follow())
        await until(lambda: house.listeners() == 1)
        await house.step()
        seen = await following
        assert (seen[0], seen[-1]) == (ActionPhase.QUEUED, ActionPhase.SUCCEEDED)
        assert seen == [event.phase for event in run.watch()]
        assert seen[1:] == [event.phase async for event in house.client.watch(run.action, after=1)]
        await until(lambda: house.listeners() == 0)

    play(story())


def test_events_that_are_followed_no_more(house: House) -> None:
    """Who leaves an `async for` early, or ends it by `aclose`, listens no more; what was told is not told again."""

    async def story() -> None:
        run = await house.submit("x")
        watch = run.watch()
        assert (await anext(watch)).phase is ActionPhase.QUEUED
        await watch.aclose()
        await until(lambda: house.listeners() == 0)
        async for _ in run.watch():
            break
        await until(lambda: house.listeners() == 0)

    play(story())


def test_each_verb_of_a_handle_can_be_awaited(house: House) -> None:
    """`run.aio` has what a handle has."""

    async def story() -> None:
        run = await house.submit("x")
        assert await run.aio.phase() is ActionPhase.QUEUED
        assert (await run.aio.counts()).total == 1
        assert [event.sequence for event in await run.aio.events()] == [1]
        assert len(await run.aio.attempts()) == 1
        assert await run.aio.prioritize(7) == 1
        await run.aio.abort("enough")
        await house.step()
        with pytest.raises(ActionAborted, match="enough"):
            await run

    play(story())


def test_a_handle_by_name_in_a_loop(house: House) -> None:
    """`AsyncClient.run` gives the handle of a stored id; of one that never was it says so."""

    async def story() -> None:
        run = await house.submit("x")
        handle = await house.client.run(str(run.id))
        await house.step()
        assert (handle.action, handle.incarnation) == (run.action, run.incarnation)
        assert await handle == "x"
        with pytest.raises(ActionNotFound, match="it was never accepted"):
            await house.client.run("never-was")
        listed = [action.id async for action in house.client.actions(run.id)]
        assert listed == [run.action]

    play(story())


def test_the_asyncio_client_lacks_no_verb() -> None:
    """Each public verb of `Client` is one of `AsyncClient`, and each of `Run` one of `run.aio`."""
    client = AsyncClient(Client(MemoryStore(), MemoryBlobs(), RecordingMessenger()))
    assert _verbs(client.plain) <= _verbs(client)
    run: Run[object] = Run.__new__(Run)
    missing = {name for name in dir(run) if _public(name)} - set(dir(run.aio))
    assert missing == {"aio"}


def _verbs(of: object) -> set[str]:
    return {name for name in dir(of) if _public(name) and callable(getattr(of, name))}


def _public(name: str) -> bool:
    return not name.startswith("_")
