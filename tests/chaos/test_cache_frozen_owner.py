"""The owner of a cache key is frozen for longer than its reservation lasts, and goes on when another has taken over."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chaos_tasks
import psutil
import pytest
from test_cache_single_flight import contents, owners, traces

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run
from reconciler.wiring import build

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
CALLS = 50
LEASE = 2.0
SECONDS = 4.0
"""How long the function takes."""
PATIENCE = 60.0
ENV = {
    "RECONCILER_REQUEUE_DURATION": "1s",
    "RECONCILER_CACHE_MAX_HEARTBEAT": "1s",
    "RECONCILER_CACHE_HEARTBEAT_GRACE": "2",
    "RECONCILER_STEP_LEASE": "3s",  # those who wait may be in the hands of a frozen step
    "RECONCILER_STEP_BUDGET": "1s",
    "RECONCILER_ATTEMPT_LEASE": "120s",  # so that the frozen function is not launched anew, but really goes on
}
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The workers that will be frozen; one function at a time."""
    folder = tmp_path_factory.mktemp("frozen")
    with (
        Stack(folder, imports=["chaos_tasks"], attempts_concurrency=1, cwd=HERE, env=ENV) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.servers.env().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def client(first: Stack) -> Client:
    """A client of the installation."""
    made = Client.from_settings(Settings.from_env(first.env()))
    chaos_tasks.env.client = made
    return made


@contextmanager
def frozen(stack: Stack) -> Iterator[Callable[[], None]]:
    """Stop all workers of a stack with their children; yield a function that lets them go on, as the end does, too."""
    family = [
        process
        for name, managed in stack.processes.items()
        if name.startswith(("steps", "attempts"))
        for process in (psutil.Process(managed.pid), *psutil.Process(managed.pid).children(recursive=True))
    ]

    def thaw() -> None:
        for process in family:
            process.send_signal(signal.SIGCONT)

    for process in family:
        process.send_signal(signal.SIGSTOP)
    try:
        yield thaw
    finally:
        thaw()


@pytest.mark.parametrize("late", [False, True], ids=["while its successor runs", "after its successor"])
def test_a_frozen_owner_is_refused(first: Stack, client: Client, tmp_path: Path, *, late: bool) -> None:
    """The cache refuses what the thawed owner made; all others have its successor's bytes, and so have later calls."""
    tally, why = tmp_path / "tally", f"why {late}?"
    run = chaos_tasks.once.map([why] * CALLS, seconds=SECONDS, tally=str(tally), keep_failures=True)
    until(lambda: bool(traces(tally)) and len(owners(client, run)) == 1)
    [owner] = owners(client, run)
    with frozen(first) as thaw, others(first, tmp_path) as step:
        ended_at = lease_end(client, owner)
        until(lambda: ended_at < client.store.now())
        waiting = [member.id for member in members(client, run) if member.id != owner]
        until(lambda: step(waiting) and len(traces(tally)) == 2)
        if late:
            until(lambda: any(m.status.cache_status is CacheStatus.POPULATED for m in members(client, run)))
        thaw()
        run.wait(PATIENCE)
    [stale, (taken_over_at, accepted)] = traces(tally)
    by_status = statuses(client, run)
    assert check_run(client, run.id) == {ActionPhase.SUCCEEDED: CALLS + 1}
    check_due_index(client)
    assert {status: len(found) for status, found in by_status.items()} == {
        CacheStatus.PUT_FAILURE: 1,
        CacheStatus.POPULATED: 1,
        CacheStatus.HIT: CALLS - 2,
    }
    assert [member.id for member in by_status[CacheStatus.PUT_FAILURE]] == [owner]
    good = by_status[CacheStatus.POPULATED] + by_status[CacheStatus.HIT]
    assert contents(client, good) == {f'{{"o0":"{why} {accepted}"}}'.encode(): CALLS - 1}
    assert contents(client, by_status[CacheStatus.PUT_FAILURE]) == {
        f'{{"o0":"{why} {stale[1]}"}}'.encode(): 1
    }
    again = chaos_tasks.once.delay(why, seconds=SECONDS, tally=str(tally))
    assert again.result(PATIENCE) == f"{why} {accepted}"
    assert len(traces(tally)) == 2
    after = taken_over_at - ended_at / 1000
    print(
        f"owner frozen: taken over {after:.1f} s after its lease, its put refused, {CALLS - 2} hits of one output"
    )


@contextmanager
def others(first: Stack, folder: Path) -> Iterator[Callable[[list[ActionId]], bool]]:
    """Provide a second worker for functions, and a reconciler in this process that steps only the actions it is told to.

    Another steps worker would look at the owner as well, and renew its reservation: that is what it is for.
    """
    stack = Stack(
        folder / "others",
        imports=["chaos_tasks"],
        steps=0,
        beat=False,
        cwd=HERE,
        env=ENV,
        servers=first.servers,
    )
    with stack:
        engine = build(Settings.from_env(stack.env()))

        def step(actions: list[ActionId]) -> bool:
            shard = engine.store.shard_of(actions[0].run_id)
            engine.stepper.step(shard, actions, drain=False)
            return True

        yield step
        engine.store.close()  # type: ignore[attr-defined]  # the Redis store has connections


def members(client: Client, run: Run[Any]) -> list[TaskAction]:
    """Return the calls."""
    return list(client.actions(run.id, parent=run.action.action))


def statuses(client: Client, run: Run[Any]) -> dict[CacheStatus, list[TaskAction]]:
    """Group the calls by what the cache did for them."""
    found: dict[CacheStatus, list[TaskAction]] = {}
    for member in members(client, run):
        found.setdefault(member.status.cache_status, []).append(member)
    return found


def lease_end(client: Client, owner: ActionId) -> int:
    """When the reservation ends that an action holds, in ms since the epoch."""
    redis: Any = client.store.client  # type: ignore[attr-defined]  # a Redis store
    held = [redis.hmget(key, "o", "e") for key in redis.scan_iter(match="*:res")]
    [end] = [
        int(until)
        for holder, until in held
        if holder and owner.action in holder.decode() and owner.run in holder.decode()
    ]
    return end


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline, tick = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE:g} s"
        tick.wait(0.1)
