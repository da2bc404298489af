"""The Celery application: `celery -A worker worker | beat | flower`.

What a worker is follows from the queues it consumes (role.py): `-Q steps -P threads` runs reconcile steps, any other queue
user code, as `-Q attempts -P prefork`. Both in one process work too, with `-P prefork`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import structlog
from celery import Celery, signals
from celery.bootsteps import RUN
from celery.worker import state

from beat_schedule import BEAT_SCHEDULE
from reconciler import tracing
from reconciler.api.errors import FunctionsNotLoaded, InvalidSettings
from reconciler.api.template import SecretRef
from reconciler.broker.conf import attempts_settings, build_app
from reconciler.broker.exchange import EventExchange
from reconciler.broker.queues import plain_name
from reconciler.core.probe import PROBE
from reconciler.machine import look_around
from reconciler.plugins.loading import load_watch
from reconciler.settings import Settings
from reconciler.stores.quotas import QuotaBook
from reconciler.wiring import build_problems
from worker import hiding, logs, start, steps
from worker.apart import apart
from worker.attempts import drawing, runners
from worker.attempts.broken import broken
from worker.attempts.flower import LostLaunches
from worker.attempts.staying import staying
from worker.confining import confine
from worker.consuming import watch_of
from worker.dashboard.defaults import prepare_flower
from worker.ending import end_once_done, status_of_end, watch_ends
from worker.forwarding import Forwarder, reader_of
from worker.functions_told import FunctionsTold
from worker.garbage import keep_what_is_there
from worker.import_path import look_here_last
from worker.liveness import Liveness
from worker.manager import WorkerManager
from worker.measuring import Measuring
from worker.pool_starts import PoolStarts
from worker.process import configure, current_engine
from worker.role import (
    Role,
    chosen_queues,
    is_solo,
    is_threads,
    refuse_missing_pools,
    role_of,
    role_problems,
    slots_of,
)
from worker.runner.functions import functions_of, runner_for
from worker.runner.kernel import give_back_memory
from worker.runner.process import own_all_children
from worker.secrets_lacked import LackedSecrets
from worker.start import ends_start
from worker.start_options import limit_problems, queue_problems
from worker.tracing import Traces

log = structlog.get_logger(__name__)

_PR_SET_PDEATHSIG = 1
_FORWARDER_ENDS = 10.0
"""Seconds a worker waits at its end for the events its forwarder holds; later they come from another one."""


def make_app(settings: Settings) -> Celery:
    """Make the application of an installation, with all tasks, the schedule and the start-up checks."""
    app = build_app(settings)
    app.conf.beat_schedule = {
        name: {**entry, "options": {**entry["options"], "queue": settings.steps_queue}}  # type: ignore[dict-item]  # plain data
        for name, entry in BEAT_SCHEDULE.items()
    }
    app.conf.beat_scheduler = "worker.beat:Scheduler"
    steps.register(app)
    drawing.register(app)
    configure(settings)
    return app


def from_environment() -> Celery:
    """Make the application of this process; a wrong setting ends it with one message that lists all mistakes.

    Raises:
        SystemExit: with status 78.
    """
    try:
        return make_app(Settings.from_env())
    except InvalidSettings as error:
        raise SystemExit(start.say(error.problems)) from None


is_flower = prepare_flower(sys.argv, os.environ)
if is_flower:
    hiding.hide()
refuse_missing_pools()
app = from_environment()
if is_flower:
    from worker.dashboard.install import install

    install()


class _Process:
    """The parts of this process that Celery's signals share. `role`: None where no worker starts, or in a spawned child."""

    pid: int = 0
    role: Role | None = None
    queues: tuple[str, ...] = ()
    manager: WorkerManager | None = None
    measuring: Measuring | None = None
    traces: Traces | None = None
    forwarder: Forwarder | None = None
    functions: Mapping[str, str] | None = None
    """What the worker can run; None when it runs no attempts."""
    secrets: Mapping[str, tuple[SecretRef, ...]] = MappingProxyType({})
    """What these functions declare."""
    lacked: LackedSecrets | None = None
    published: Mapping[str, bytes] = MappingProxyType({})
    """What others may know of these functions."""
    pool_starts: PoolStarts | None = None


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
@ends_start
def _choose_role(instance: Any, conf: Any, options: dict[str, Any], **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    """Choose the role before Celery reads its settings.

    Messages of attempts have their own unacked keys: the shortest visibility timeout of a key wins.
    """
    settings = Settings.from_env()
    load_watch.arm(settings.import_timeout, _hung)
    look_here_last()  # for plugins: Celery has taken the working folder away again
    _Process.pid = os.getpid()
    _Process.queues = tuple(chosen_queues(conf, options))
    _Process.role = role_of(_Process.queues, settings)
    if _Process.role.attempts:
        conf.update(attempts_settings(settings))
    confine(instance.app, _Process.role, settings)
    watch_ends(instance.app)


def _hung(problem: str) -> None:
    """End this process, whose start stands still: the worker, one that looks on its behalf, or one of the pool."""
    status = start.say([problem])
    if os.getpid() != _Process.pid and _Process.pool_starts is not None:
        _Process.pool_starts.failed(status)
    os._exit(status)


@signals.after_setup_logger.connect  # type: ignore[untyped-decorator]  # Celery has no types
@ends_start
def _configure_logs(loglevel: int | None = None, **_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    logs.configure(loglevel or "WARNING")


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
@ends_start
def _refuse_bad_start(sender: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    """Start a worker only where it can keep the promises, and list all problems at once."""
    hiding.hide()  # before the first child, that of the trial import
    runners.limit_memory(sender.max_memory_per_child)
    settings = Settings.from_env()
    role = _Process.role or role_of(_Process.queues, settings)
    problems, trace = role_problems(role, _Process.queues, sender.pool_cls), ""
    problems += queue_problems(_Process.queues, settings) + limit_problems(sender, sender.app.tasks)
    if role.attempts and not problems:
        try:
            runner = runner_for(settings)
            _Process.functions = functions_of(runner)
            _Process.published, _Process.secrets = runner.published, runner.secrets
        except FunctionsNotLoaded as error:
            problems, trace = error.problems, error.traceback
    # a worker that runs functions needs what this makes; for steps alone it would be in memory for nothing. Of a process
    # that a plugin ends nothing could be told
    here = role.attempts and not settings.plugins
    problems += build_problems(settings) if here else apart(partial(build_problems, settings))
    if problems:
        start.end(problems, trace)
    current_engine()
    _Process.pool_starts = PoolStarts()
    _Process.measuring = Measuring(settings)
    _Process.measuring.prepare()
    _Process.traces = Traces(os.environ)
    keep_what_is_there()  # before a pool forks: it shares these pages as long as nobody writes to them


def _told(worker: str, queues: Callable[[], set[str]], settings: Settings) -> FunctionsTold | None:
    if _Process.functions is None:
        return None
    manager = current_engine().reconciler.secret_manager
    _Process.lacked = LackedSecrets(manager, _Process.secrets, settings.project, settings.domain)
    _Process.lacked.begin()
    return FunctionsTold(
        worker,
        _Process.functions,
        lambda: queues() - {settings.steps_queue},
        _Process.published,
        _Process.lacked.of,
    )


@signals.worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
@ends_start
def _begin(sender: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    logs.leave_out_advice()
    end_once_done(sender.controller)
    settings = Settings.from_env()
    steps_too = _Process.role is not None and _Process.role.steps

    solo = is_solo(sender.controller.pool)

    def takes_messages() -> bool:
        # Not after a shutdown, also one that was asked for over the network, which sends no signal. And a solo worker takes
        # none while it runs an attempt, however long that is.
        busy = solo and bool(state.active_requests)
        return bool(sender.controller.blueprint.state == RUN) and not busy

    watch = watch_of(sender.app, settings, takes_messages)
    consumed = sender.app.amqp.queues

    def queues() -> set[str]:
        return set(map(plain_name, list(consumed.consume_from.values())))

    def say_who_stays() -> None:
        found = queues()
        alone = sender.controller.blueprint.state == RUN and not solo and len(found) == 1
        # launches are the same whoever draws them, but a step that comes with a countdown needs a slot that is free
        room = len(state.active_requests) < slots_of(sender.controller) > 1
        free = settings.steps_queue not in found or room
        staying.allow(found.pop() if alone and free else "")

    functions = None if _Process.functions is None else len(_Process.functions.keys() - {PROBE})
    quotas = current_engine().reconciler.resource_manager
    liveness = Liveness(
        sender.hostname,
        settings,
        queues,
        slots=partial(slots_of, sender.controller),
        functions=functions,
        resources=quotas.resources if isinstance(quotas, QuotaBook) else None,
        troubles=_troubles,
    )
    _Process.manager = WorkerManager(
        sender.app.tasks,
        liveness,
        steps=steps_too,
        watch=watch,
        functions=_told(sender.hostname, queues, settings),
        each=say_who_stays,
    )
    current_engine().reconciler.setup_with_manager(_Process.manager, settings.max_concurrent_reconciles)
    if steps_too:
        current_engine().stepper.on_lost = LostLaunches(sender)
    if _Process.traces is not None and is_threads(sender.controller.pool):
        _Process.traces.begin()  # a pool of processes does so in each of them
    if _Process.measuring is not None:
        _Process.measuring.serve(current_engine().store if steps_too else None)
    if steps_too and settings.events_exchange:
        reader = reader_of(settings, sender.hostname)
        _Process.forwarder = Forwarder(reader, EventExchange(settings), current_engine().store)
        _Process.forwarder.start()
    _Process.traces = Traces(os.environ)
    keep_what_is_there()  # Celery has made its own by now


def _troubles() -> list[str]:
    """List what this worker could not do, for `reconciler doctor`."""
    told = _Process.measuring.troubles() if _Process.measuring is not None else ()
    traces = _Process.traces.troubles() if _Process.traces is not None else ()
    return [*told, *traces, *broken.troubles(), *look_around()]


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    staying.end()
    if _Process.manager is not None:
        _Process.manager.guardian.stop()
    if _Process.lacked is not None:
        _Process.lacked.end()
    if _Process.forwarder is not None:
        _Process.forwarder.stop()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end_last(sender: Any, **_: Any) -> None:  # noqa: ANN401  # Celery's objects
    """End the last parts only now, so that what ends during a shutdown is counted as well."""
    sender.exitcode = status_of_end(sender.exitcode, sys.exception())
    if _Process.forwarder is not None:
        _Process.forwarder.stop()
        _Process.forwarder.join(_FORWARDER_ENDS)
    tracing.close()
    if _Process.measuring is not None:
        _Process.measuring.close()
    hiding.put_back()


@signals.beat_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _hide_beat(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    hiding.hide()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _begin_process(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    """Begin in each process of a pool, and in the only process of a solo worker."""
    try:
        if os.getpid() != _Process.pid:
            # it must not outlive its worker: it would hold a lease nobody supervises
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            own_all_children()
            if _Process.measuring is not None:
                _Process.measuring.join()
        if _Process.traces is not None:
            _Process.traces.begin()
        engine = current_engine()
        if _Process.role is None or _Process.role.attempts:
            runners.runner_of(engine).start()
        give_back_memory()
    except Exception as error:  # noqa: BLE001  # Celery would go on, or start such processes for ever
        status = start.say(start.problems_of(error))
        if _Process.pool_starts is not None:
            _Process.pool_starts.failed(status)
        os._exit(status)


@signals.task_prerun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _work(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    """Note that this process works, whatever the task: a soft shutdown waits for a step as for a ticket."""
    staying.work(working=True)


@signals.task_postrun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _rest(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    staying.work(working=False)


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _end_runner(**_: Any) -> None:  # noqa: ANN401  # Celery's keyword arguments
    if _Process.role is None or _Process.role.attempts:
        runners.close_runner()
        drawing.close()
    tracing.close()
