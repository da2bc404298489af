"""Send Celery's task events for a launch, for Flower and other listeners: the function's name, and how it ended.

The Celery task that a worker runs is a ticket, which says nothing of the launches it leads to. So the process that runs them
sends the events of each, with the function's own name and outcome.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import structlog
from celery import Celery

from reconciler.api.action import SUSPENDED, AttemptOutcome, TaskAction
from reconciler.api.template import template_or_none
from reconciler.core.events import observed_attempts
from reconciler.core.paths import launch_id
from reconciler.core.status_conditions import TIMEOUT_CODES
from worker.attempts.listeners import Listeners

log = structlog.get_logger(__name__)

SUCCEEDED: Final = "task-succeeded"
FAILED: Final = "task-failed"
REVOKED: Final = "task-revoked"
RETRIED: Final = "task-retried"
"""Shown as RETRY: the same launch will be seen again, and Flower lets any later event win."""
_TEXT: Final = 1024
_TRACE: Final = 4096


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end of a launch, for its one row in Flower.

    Attributes:
        event: type of the Celery event.
        text: the result, or why there is none.
        trace: traceback of the function's error.
        seconds: how long its call took.
    """

    event: str = SUCCEEDED
    text: str = ""
    trace: str = ""
    seconds: float = 0.0

    def fields(self) -> dict[str, object]:
        """Return the fields of the event."""
        match self.event:
            case "task-succeeded":
                return {"result": self.text, "runtime": self.seconds}
            case "task-revoked":
                return {"exception": self.text, "reason": self.text, "terminated": True, "expired": False}
            case _:
                return {"exception": self.text, "traceback": self.trace}


def ended(outcome: AttemptOutcome) -> Row:
    """Make the row of a launch that reported. Secrets in the outcome are already masked."""
    if outcome.ended == "returned":
        return Row(text=outcome.outputs.uri if outcome.outputs else "")
    if outcome.start_over is not None:
        return Row(RETRIED, "starts over with other arguments")
    if outcome.ended == SUSPENDED:
        return Row(RETRIED, f"suspended: waits for {outcome.waits_for or 'its time'}")
    stopped = outcome.ended == "stopped" and outcome.code == "Stopped"
    if stopped and not any(outcome.message.startswith(f"[{code}]") for code in TIMEOUT_CODES):
        return Row(REVOKED, outcome.message[:_TEXT])
    text = outcome.message if stopped else f"[{outcome.code}] {outcome.message}"
    return Row(FAILED, text[:_TEXT], outcome.traceback[-_TRACE:])


def superseded() -> Row:
    """Make the row of a launch whose lease had run out: whatever it did, another launch counts."""
    return Row(REVOKED, "superseded: its lease ran out, and nothing it did is accepted")


def not_told(error: Exception, *, begun: bool) -> Row:
    """Make the row of a launch whose outcome could not be reported, or that could not begin."""
    return Row(FAILED if begun else RETRIED, f"[{type(error).__name__}] {error}"[:_TEXT])


def handed_back(why: str) -> Row:
    """Make the row of a launch that this worker cannot run; it is offered to others."""
    return Row(RETRIED, f"handed back: {why}"[:_TEXT])


class Telling:
    """The sender of task events in the process that runs launches: of all, or, if there are very many, some each second.

    Flower keeps each row in memory, and each event costs as much as a short function. So each process shows 100 launches
    at once and then 5 a second, and as many of those that failed. While nobody listens, only one message in two seconds is
    sent, to see whether somebody does by now; with task events off, none. Ends go out with `flush`, in one message, as from
    Celery's own workers.
    """

    def __init__(self, app: Celery, worker: str) -> None:
        self._app = app
        self._worker = worker
        self._on = bool(app.conf.worker_send_task_events)

    def begun(self, record: TaskAction) -> None:
        """Report that a launch has run for more than a moment; may be reported again."""
        if self._on and launch_of(record) not in _line.shown and _line.may_tell():
            self._introduce(record)
            self.flush()

    def ended(self, record: TaskAction, outcome: AttemptOutcome | None, seconds: float = 0.0) -> None:
        """Report that a launch ended in this way, after its call took so long; None: it was superseded."""
        row = superseded() if outcome is None else ended(outcome)
        self._end(record, msgspec.structs.replace(row, seconds=seconds))

    def handed_back(self, record: TaskAction, why: str | None) -> None:
        """Report that a launch was handed back for this reason; None: it was superseded."""
        self._end(record, superseded() if why is None else handed_back(why))
        self.flush()

    def not_told(self, record: TaskAction, error: Exception) -> None:
        """Report that the outcome of a launch could not be reported."""
        self._end(record, not_told(error, begun=True))

    def flush(self) -> None:
        """Send what was reported and not yet sent."""
        if self._on:
            self._tried("task-multi", _line.flush)

    def _end(self, record: TaskAction, row: Row) -> None:
        if not self._on:
            return
        launch = launch_of(record)
        if launch in _line.shown:
            _line.shown.discard(launch)
        elif not _line.may_show(row.event):
            return
        else:
            self._introduce(record)
            _line.shown.discard(launch)
        self._send(row.event, uuid=launch, **_about(record, record.attempt.launch), **row.fields())

    def _introduce(self, record: TaskAction) -> None:
        launch, about = launch_of(record), _about(record, record.attempt.launch)
        self._send("task-received", uuid=launch, **about, kwargs="", retries=0, eta=None)
        self._send("task-started", uuid=launch)
        _line.shown.add(launch)

    def _send(self, kind: str, **fields: object) -> None:
        self._tried(kind, lambda: _line.dispatcher(self._app, self._worker).send(kind, **fields))

    @staticmethod
    def _tried(kind: str, send: Callable[[], None]) -> None:
        try:
            with _line.lock:
                send()
        except Exception as error:  # noqa: BLE001  # a row in Flower is not worth an attempt
            _line.drop()
            log.warning("flower.not_told", kind=kind, error=str(error))


def launch_of(record: TaskAction) -> str:
    """Return the id under which Celery's events know a launch."""
    return f"{record.id}/{record.attempt.launch}"


def _about(record: TaskAction, launch: str) -> dict[str, str]:
    """Say what a launch runs. Each end says it again: a Flower that was started meanwhile has not heard how it began."""
    template = template_or_none(record)
    function = template.custom.get("function") if template else None
    name = str(function or record.spec.short_name or record.spec.task_type)
    return {"name": name, "args": f"{record.id.run}/{record.id.action} attempt {launch}"}


class _Allowance:
    """Lets all of a small number of launches through, and of very many some each second."""

    _FULL = 100.0
    _EACH_SECOND = 5.0

    def __init__(self) -> None:
        self._left, self._at = self._FULL, time.monotonic()

    def take(self) -> bool:
        """Take one of what is left; tell whether there was one."""
        now = time.monotonic()
        self._left, self._at = min(self._FULL, self._left + (now - self._at) * self._EACH_SECOND), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Line:
    """This process's connection for Celery's events; a forked child makes its own."""

    def __init__(self) -> None:
        self.shown: set[str] = set()
        self.lock = threading.Lock()
        self._pid = 0
        self._dispatcher: Any = None
        self._of = {True: _Allowance(), False: _Allowance()}
        self._rests_until = 0.0
        self._listeners = Listeners()

    def may_show(self, kind: str) -> bool:
        """Tell whether one more launch that ended this way is shown. Failures have an allowance of their own."""
        return self.may_tell() and self._of[kind == SUCCEEDED].take()

    def may_tell(self) -> bool:
        """Tell whether anything is sent now: the broker is not away, and somebody may listen."""
        return time.monotonic() >= self._rests_until and self._listeners.may_listen()

    def dispatcher(self, app: Celery, worker: str) -> Any:  # noqa: ANN401  # Celery has no types
        """Return the sender of events."""
        if self._dispatcher is None or self._pid != os.getpid():
            self.shown, self._pid = set(), os.getpid()
            self._dispatcher = app.events.Dispatcher(
                self._listeners.connection(app),
                hostname=worker,
                buffer_while_offline=False,
                enabled=True,
                buffer_group=["task"],
            )
            self._listeners.follow(self._dispatcher)
        return self._dispatcher

    def flush(self) -> None:
        """Send what the dispatcher of this process has gathered. What nobody heard is shown again when somebody listens."""
        if self._dispatcher is None or self._pid != os.getpid() or not any(self._gathered()):
            return
        self._dispatcher.flush(errors=False)
        if not self._listeners.sent(self._dispatcher):
            self.shown.clear()

    def _gathered(self) -> Iterable[object]:
        groups: dict[str, list[object]] = self._dispatcher._group_buffer  # noqa: SLF001  # Celery has no question for it
        return groups.values()

    def drop(self) -> None:
        """Drop the dispatcher and pause: nobody should wait for a broker that is away."""
        self._dispatcher, self._rests_until = None, time.monotonic() + _REST


_line = _Line()
_REST = 5.0


class LostLaunches:
    """The sender of task events for launches whose workers were lost; otherwise their rows would stay at STARTED.

    Args:
        consumer: Celery's, of a worker that takes steps. Its dispatcher, which changes with each connection, sends nothing
            unless somebody listens.
    """

    def __init__(self, consumer: Any) -> None:  # noqa: ANN401  # Celery has no types
        self._consumer = consumer

    def __call__(self, before: TaskAction, after: TaskAction) -> None:
        """Report one launch that the record leaves behind, from the action as claimed and as it is now."""
        dispatcher = self._consumer.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return
        launch = launch_id(observed_attempts(before), before.status.launches)
        deletion, error = after.metadata.deletion, after.status.error_state
        if deletion is not None:
            row = Row(REVOKED, deletion.reason or "aborted")
        else:
            row = Row(FAILED, f"[{error.code}] {error.message}"[:_TEXT] if error else "its worker vanished")
        try:
            dispatcher.send(row.event, uuid=f"{before.id}/{launch}", **_about(before, launch), **row.fields())
        except Exception as error:  # noqa: BLE001  # a row in Flower is not worth a step
            log.warning("flower.not_told", action=str(before.id), error=str(error))
