"""Workers that stand by: calls by themselves need no message, and whatever becomes of a worker, none is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import drawing_functions as drawn
import psutil
import pytest
import redis
from cli_support import eventually

from reconciler.broker.conf import build_app
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.broker.messenger import CeleryMessenger
from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.stores.redis.keys import Keys

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
CALLS = 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One steps worker and one worker of attempts, with two processes."""
    folder, here = tmp_path_factory.mktemp("standing"), Path(__file__).parent
    made = Stack(folder, imports=["drawing_functions"], attempts=1, cwd=here)
    with made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.servers.env().items():
            patch.setenv(name, value)
        drawn.env.client = Client.from_settings(Settings.from_env(made.env()))
        yield made


@pytest.fixture
def server(stack: Stack) -> Iterator[redis.Redis]:
    """The record server, which is the broker as well."""
    with redis.Redis.from_url(stack.servers.redis_url) as client:
        yield client


@contextmanager
def messages(server: redis.Redis) -> Iterator[list[str]]:
    """Note wake-ups and tickets that are sent while the context lasts."""
    sent: list[str] = []
    ready, over = threading.Event(), threading.Event()

    def listen() -> None:
        with server.monitor() as monitor:
            ready.set()
            for one in monitor.listen():  # type: ignore[no-untyped-call]  # redis-py has no types here
                if one["command"] == "ECHO over":
                    over.set()
                    return
                if one["command"].startswith("LPUSH"):
                    sent.extend(name for name in (RECONCILE, RUN_ATTEMPTS) if f'"{name}"' in one["command"])

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield sent
    finally:
        server.echo("over")
        assert over.wait(20)


def one() -> int:
    """Call a function, and return its result."""
    return int(drawn.nap.delay(1).result(timeout=60))


def stands_by(server: redis.Redis) -> bool:
    """Tell whether somebody stands by for all shards, and somebody for the queue."""
    keys = Keys("cr", 16)
    noted = [server.exists(keys.base(shard) + "hears") for shard in range(16)]
    return all(noted) and bool(server.zcard(keys.queue("attempts") + "idle"))


def test_calls_by_themselves_need_no_message(stack: Stack, server: redis.Redis) -> None:
    """But the first, and one each ten seconds, when the slot is given back."""
    del stack
    one()
    eventually(lambda: stands_by(server))
    with messages(server) as sent:
        assert [one() for _ in range(CALLS)] == [1] * CALLS
    assert sent.count(RECONCILE) <= 2
    assert sent.count(RUN_ATTEMPTS) <= 2


def test_a_ticket_gets_a_slot_although_all_stand_by(stack: Stack, server: redis.Redis) -> None:
    """It is for nothing, and many of them are none the less taken within moments, not one each ten seconds."""
    keys, settings = Keys("cr", 16), Settings.from_env(stack.env())
    assert drawn.nap.map(range(200)).result(timeout=60) == list(range(200))
    eventually(lambda: server.zcard(keys.queue("attempts") + "idle") == 2)
    with closing(CeleryMessenger(build_app(settings), settings)) as messenger:
        for _ in range(20):
            messenger.ticket("attempts")
        eventually(lambda: not messenger.waiting("attempts"), 8)


@pytest.mark.parametrize("name", ["steps-1", "attempts-1"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_that_stands_by_and_goes_takes_nothing_along(
    stack: Stack, server: redis.Redis, name: str, how: signal.Signals
) -> None:
    """What is called next gets its message, and runs once the worker is there again."""
    one()
    eventually(lambda: stands_by(server))
    worker = stack.processes[name]
    if how == signal.SIGKILL:
        worker.kill()
    else:
        os.kill(worker.pid, how)
        assert worker.wait(15) == 0, "standing by holds up no shutdown"
    with messages(server) as sent:
        run = drawn.nap.delay(1)
        eventually(lambda: sent)
    assert sent[0] == (RECONCILE if name == "steps-1" else RUN_ATTEMPTS)
    stack.start_workers()
    assert run.result(timeout=60) == 1


def test_a_frozen_worker_is_asked_no_more(stack: Stack, server: redis.Redis) -> None:
    """Its notes end by themselves, and other workers get messages."""
    one()
    eventually(lambda: stands_by(server))
    processes = [
        process
        for name in ("attempts-1", "steps-1")
        for worker in [psutil.Process(stack.processes[name].pid)]
        for process in [worker, *worker.children(recursive=True)]
    ]
    for process in processes:
        process.suspend()
    try:
        eventually(lambda: not stands_by(server))
        with messages(server) as sent:
            run = drawn.nap.delay(1)
        assert sent == [RECONCILE]
    finally:
        for process in processes:
            process.resume()
    assert run.result(timeout=60) == 1
