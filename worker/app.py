"""The Celery application: `celery -A worker worker | beat | flower`.

A worker is told apart by the queues it consumes: `-Q steps -P threads` runs reconcile steps, `-Q attempts -P prefork` runs
user code. Both in one process work too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from celery import Celery, signals
from celery.bootsteps import RUN

from beat_schedule import BEAT_SCHEDULE
from reconciler.api.errors import InvalidSettings, Unavailable
from reconciler.broker.conf import attempts_settings, build_app
from reconciler.broker.exchange import EventExchange
from reconciler.settings import Settings
from reconciler.wiring import check_start
from worker import attempts, logs, steps
from worker.consuming import watch_of
from worker.dashboard import prepare_flower
from worker.forwarding import Forwarder, reader_of
from worker.functions import functions_of, runner_for
from worker.manager import WorkerManager
from worker.measuring import Measuring
from worker.process import configure, current_engine

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1
_FORWARDER_ENDS = 10.0
"""Seconds a worker waits at its end for the events its forwarder holds; later they come from another one."""


def make_app(settings: Settings) -> Celery:
    """The application of an installation, with all tasks, the schedule and the start-up checks."""
    app = build_app(settings)
    app.conf.beat_schedule = {
        name: {**entry, "options": {**entry["options"], "queue": settings.steps_queue}}  # type: ignore[dict-item]  # plain data
        for name, entry in BEAT_SCHEDULE.items()
    }
    steps.register(app)
    attempts.register(app)
    configure(settings)
    return app


def from_environment() -> Celery:
    """The application of this process; a wrong setting ends it with one message that lists all mistakes."""
    try:
        return make_app(Settings.from_env())
    except InvalidSettings as error:
        sys.exit(str(error))


prepare_flower(sys.argv, os.environ)
app = from_environment()


class _Process:
    """What the signals below hand to each other."""

    manager: WorkerManager | None = None
    measuring: Measuring | None = None
    forwarder: Forwarder | None = None
    functions: Mapping[str, str] | None = None
    """What the worker can run; None when it runs no attempts."""


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _choose_transport(instance: Any, conf: Any, options: dict[str, Any], **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    """Messages of attempts have their own unacked keys: the shortest visibility timeout of a key wins."""
    del instance
    settings = Settings.from_env()
    if _consumes(options, settings.attempts_queue) and not _consumes(options, settings.steps_queue):
        conf.update(attempts_settings(settings))


def _consumes(options: dict[str, Any], queue: str) -> bool:
    chosen = options.get("queues") or ()
    names = chosen.split(",") if isinstance(chosen, str) else chosen
    return not names or queue in names


@signals.after_setup_logger.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _configure_logs(loglevel: int | None = None, **_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    logs.configure(loglevel or "WARNING")


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _refuse_bad_start(sender: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    """A worker starts only on servers that can keep the promises, and says all that is wrong at once."""
    try:
        engine = current_engine()
        check_start(engine)
        if set(sender.app.amqp.queues.consume_from) - {engine.settings.steps_queue}:
            _Process.functions = functions_of(runner_for(engine.settings))
    except (InvalidSettings, Unavailable) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(78)  # EX_CONFIG; Celery would swallow an exception of a signal handler
    _Process.measuring = Measuring(Settings.from_env())
    _Process.measuring.prepare()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _begin(sender: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    settings = Settings.from_env()
    queues = set(sender.app.amqp.queues.consume_from)
    steps_too = settings.steps_queue in queues
    # also a shutdown that was asked for over the network, which sends no signal
    watch = watch_of(sender.app, settings, lambda: sender.controller.blueprint.state == RUN)
    _Process.manager = WorkerManager(sender.app.tasks, sender.hostname, steps=steps_too, watch=watch)
    current_engine().reconciler.setup_with_manager(_Process.manager)
    if _Process.measuring is not None:
        _Process.measuring.serve(current_engine().store if steps_too else None)
    if steps_too and settings.events_exchange:
        reader = reader_of(settings, sender.hostname)
        _Process.forwarder = Forwarder(reader, EventExchange(settings), current_engine().store)
        _Process.forwarder.start()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    if _Process.manager is not None:
        _Process.manager.guardian.stop()
    if _Process.forwarder is not None:
        _Process.forwarder.stop()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end_last(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    """Only now: what ends while a worker shuts down is counted as well."""
    if _Process.forwarder is not None:
        _Process.forwarder.stop()
        _Process.forwarder.join(_FORWARDER_ENDS)
    if _Process.measuring is not None:
        _Process.measuring.close()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _die_with_parent(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    """A pool child must not outlive its worker: it would hold a lease nobody supervises."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if _Process.measuring is not None:
        _Process.measuring.join()
    attempts.runner_of(current_engine()).start()


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end_runner(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    attempts.runner_of(current_engine()).close()
