"""Processes made by fork, in milliseconds each: product code on real servers, without Celery's worker around it.

A life consumes real messages of the broker and hands them to what Celery's tasks call. The user's function runs in the
life itself, not in the runner's child: that the child dies with its worker is shown by the tests of the runner.
"""

from __future__ import annotations

import ctypes
import functools
import heapq
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty
from typing import Any

import botocore.loaders
import chaos_tasks
import msgspec
from crash_points import Trap, arm

from reconciler.api.template import SecretRef
from reconciler.api.transition import OutputRef
from reconciler.broker.conf import build_app
from reconciler.children import threads
from reconciler.children.current import parent_context
from reconciler.children.errors import Suspended as SuspendedHere
from reconciler.children.parent import Parent
from reconciler.children.requests import Answer, Request, Suspending
from reconciler.core.current import CurrentAttempt, attempt_context
from reconciler.core.functions import registry
from reconciler.core.published import LARGEST, release_of
from reconciler.settings import Settings
from reconciler.stores.catalog import CacheKey, CacheSource
from reconciler.sweeps.collect import collect
from reconciler.sweeps.expire import expire
from reconciler.sweeps.resync import resync
from reconciler.wiring import Engine
from worker.attempts import batch, pace, runners
from worker.attempts.drawing import Drawing
from worker.attempts.flower import Telling
from worker.process import configure, current_engine
from worker.runner.asking import Desk, MakeDesk
from worker.runner.errors import describe
from worker.runner.runner import Call, Ended, Returned, Stopped, Suspended
from worker.steps import run_step

_PR_SET_PDEATHSIG = 1
_RESYNC_EVERY = 0.4
_RESYNC_GRACE = 100
_POLL = 1.0
_ATTEMPTS_AT_ONCE = 3


_ONE = threading.Lock()
"""Of the threads of a life one at a time may be a parent: which call that is holds for the process."""


class HereWay:
    """A `Way` to a desk in this process."""

    brings = True
    descriptor = None

    def __init__(self, make: MakeDesk) -> None:
        self._told = threading.Event()
        self.desk: Desk = make(self._told.set)

    def post(self, request: Request) -> None:
        """See `Way.post`; it is done with the next `receive`."""
        if not isinstance(request, Suspending):
            self.desk.take(request)

    def receive(self, seconds: float) -> list[Answer]:
        """See `Way.receive`."""
        found = self.desk.work()
        if found or seconds <= 0:
            return found
        self._told.wait(seconds)
        self._told.clear()
        return self.desk.work()


class HereRunner:
    """Runs the function in this process; it dies with it, as the runner's child does."""

    children = 1
    ahead = None
    """It is given no call before its turn."""

    def functions(self, **_: object) -> dict[str, str]:
        """See `Runner.functions`; now and then as in a worker of an older release, which knows none."""
        return registry.digests() if random.random() < 0.8 else {}

    def secrets_of(self, function: str, **_: object) -> tuple[SecretRef, ...]:
        """See `Runner.secrets_of`."""
        return registry.secrets().get(function, ())

    def run(self, call: Call, *, stop: Callable[[], str | None], desk: MakeDesk, **_: object) -> Ended:
        """See `Runner.run`; a stop is obeyed once the function has returned."""
        known = registry.get(call.function)
        assert known is not None, call.function
        args, kwargs = known.signature.call_form(known.signature.decode_arguments(call.inputs))
        now = CurrentAttempt.from_context(call.context)
        with ExitStack() as stack:
            stack.enter_context(attempt_context(now))
            caller = None
            if call.function == chaos_tasks.family.name:
                way = HereWay(desk)
                stack.callback(way.desk.close)
                stack.enter_context(_ONE)
                caller = Parent(now, way, known.signature, patience=random.choice((0.0, 0.1)))
                stack.enter_context(parent_context(caller))
            try:
                answer = known.function(*args, **kwargs)
                if caller is not None:
                    caller.settle()
            except (Exception, SuspendedHere) as error:  # noqa: BLE001  # whatever the function raises is its outcome
                if caller is None or not caller.suspended:
                    return describe(error)
                waits, until = caller.waits()
                return Suspended(waits, until, names=tuple(way.desk.names(waits)))
        reason = stop()
        return Stopped(reason, killed=False) if reason else Returned(known.signature.encode_result(answer))

    def request_stop(self, reason: str) -> bool:
        """See `Runner.request_stop`; `run` asks by itself."""
        return bool(reason)


def prepare(settings: Settings) -> None:
    """Read once what each life would read anew: functions, and boto3's description of S3, 0.1 s of CPU."""
    configure(settings)
    registry.load(settings.imports)
    read = functools.cache(botocore.loaders.JSONFileLoader().load_file)
    setattr(botocore.loaders.JSONFileLoader, "load_file", lambda _self, path: read(path))  # noqa: B010  # as below
    setattr(threads, "_is_main", lambda: True)  # noqa: B010  # a thread of a life stands for a process
    if settings.pack_outputs:  # many are drawn together, and share an object
        setattr(pace, "_TOGETHER", 5.0)  # noqa: B010  # as below
    else:
        setattr(batch, "_TURN", 0.005)  # noqa: B010  # most that is drawn together is given back
    setattr(pace, "_BESIDE_LONE", pace._TOGETHER)  # noqa: B010  # lone calls come all the time here
    setattr(runners, "runner_of", lambda _engine: HereRunner())  # noqa: B010  # mypy allows no method to be replaced


def fork(role: str, folder: Path, main: Callable[[], None]) -> int:
    """Begin a life that passes the crash points; it ends with the lane. Returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        arm(Trap(folder, role), HereRunner)
        main()
        status = 0
    except BaseException:  # noqa: BLE001  # the end of a process
        traceback.print_exc()
    os._exit(status)


def reconcile_steps(settings: Settings) -> None:
    """Live as a worker of the steps queue, with the resync sweep."""
    current_engine()
    threading.Thread(target=_resync, daemon=True).start()
    for args in _messages(settings, settings.steps_queue):
        run_step(args[0], args[1] if len(args) > 1 else [])


def run_attempts(settings: Settings) -> None:
    """Live as a worker of the attempts queue."""
    current_engine()
    threading.Thread(target=_told, args=(settings.attempts_queue,), daemon=True).start()
    threads = [
        threading.Thread(target=_attempts, args=(settings,), daemon=True) for _ in range(_ATTEMPTS_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forget(engine: Engine, before: int = 0) -> None:
    """Forget what has ended before a time, 0 = now, as a collector without an archive, and an entry of the cache."""
    none = timedelta(0)
    kept = timedelta(milliseconds=engine.store.now() - before) if before else none
    events = timedelta(days=1) if before else none
    now = msgspec.structs.replace(engine.settings, retention=kept, events_retention=events, archive=none)
    collect(engine.store, now, engine.blobs)
    catalog, outdated = (
        engine.reconciler.catalog,
        CacheKey(project="default", domain="development", key="outdated"),
    )
    assert catalog is not None
    catalog.put(outdated, OutputRef(uri="s3://none/outdated"), CacheSource(), replace=True)
    catalog.delete(outdated)


def archive(engine: Engine) -> None:
    """Archive and forget all that has ended."""
    none = timedelta(0)
    now = msgspec.structs.replace(engine.settings, retention=none, events_retention=none)
    collect(engine.store, now, engine.blobs)


def empty(engine: Engine) -> None:
    """Let the time of the archive pass, with all it names."""
    expire(engine.store, engine.blobs, engine.store.now() + 48 * 3_600_000, objects=True)


def _attempts(settings: Settings) -> None:
    telling = Telling(build_app(settings), "life")
    for (queue,) in _messages(settings, settings.attempts_queue):
        Drawing(current_engine(), queue, f"life@{os.getpid()}", telling).run()


def _told(queue: str) -> None:
    """What the guardian of a worker tells."""
    pause, documents = threading.Event(), registry.published(LARGEST)
    while True:
        store = current_engine().store
        store.tell_functions(f"life@{os.getpid()}", queue, registry.digests(), 5_000)
        store.publish(release_of(documents), documents, 5_000)
        pause.wait(_RESYNC_EVERY)


def _resync() -> None:
    pause = threading.Event()
    while True:
        resync(current_engine().store, current_engine().messenger, _RESYNC_GRACE)
        pause.wait(_RESYNC_EVERY)


def _messages(settings: Settings, queue: str) -> Iterator[list[Any]]:
    """Yield the arguments of each message of a queue, once its countdown is over; taken is acknowledged."""
    app = build_app(settings)
    later: list[tuple[float, int, list[Any]]] = []
    with app.connection_for_read() as connection:
        inbox = connection.SimpleQueue(app.amqp.queues[queue])
        for number in range(2**62):
            while later and later[0][0] <= time.time():
                yield heapq.heappop(later)[2]
            try:
                wait = max(0.001, later[0][0] - time.time()) if later else _POLL
                message = inbox.get(timeout=min(_POLL, wait))
            except Empty:
                continue
            message.ack()
            eta = message.headers.get("eta")
            if eta:
                heapq.heappush(later, (datetime.fromisoformat(eta).timestamp(), number, message.payload[0]))
            else:
                yield message.payload[0]
