"""What Flower, and whoever else listens to Celery's task events, is told of a launch: its own name, and how it ended.

The Celery task that runs a launch returns whatever the function did, since the record holds the outcome. So it returns a
`Row`, and the request in the worker's main process, which is the one that has a line to Flower, turns it into the event of
that outcome. When Celery's events are off, Celery asks for none of this.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog
from celery.worker.request import Request

from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.core.conditions import TIMEOUT_CODES
from reconciler.core.events import observed_attempts
from reconciler.core.paths import launch_id
from reconciler.stores.base import StartRefused

log = structlog.get_logger(__name__)

SUCCEEDED: Final = "task-succeeded"
FAILED: Final = "task-failed"
REVOKED: Final = "task-revoked"
RETRIED: Final = "task-retried"
"""Shown as RETRY: the same launch will be seen again, and Flower lets any later event win."""
LONGEST: Final = 65_536
"""Most characters of a row's text form; Celery would cut a longer one in the middle."""
_TEXT: Final = 1024
_TRACE: Final = 4096
_REFUSED: Final = {
    StartRefused.GONE: "its action is no longer stored",
    StartRefused.ENDED: "its action has ended",
    StartRefused.ABORTING: "its action was aborted before it began",
    StartRefused.SUPERSEDED: "superseded by another launch before it began",
    StartRefused.TAKEN: "delivered twice; the other delivery runs it",
}


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a launch ended, for the one row it has in Flower.

    Attributes:
        event: type of the Celery event.
        text: the result, or why there is none.
        trace: traceback of the function's error.
    """

    event: str = SUCCEEDED
    text: str = ""
    trace: str = ""

    def __repr__(self) -> str:  # Celery hands the result of a task to its main process in this form
        return msgspec.json.encode(self).decode()

    def fields(self) -> dict[str, object]:
        """What the event carries."""
        match self.event:
            case "task-succeeded":
                return {"result": self.text}
            case "task-revoked":
                return {"exception": self.text, "reason": self.text, "terminated": True, "expired": False}
            case _:
                return {"exception": self.text, "traceback": self.trace}


def ended(outcome: AttemptOutcome) -> Row:
    """The row of a launch that reported. Secrets in the outcome are masked already."""
    if outcome.ended == "returned":
        return Row(text=outcome.outputs.uri if outcome.outputs else "")
    stopped = outcome.ended == "stopped" and outcome.code == "Stopped"
    if stopped and not _by_limit(outcome.message):
        return Row(REVOKED, outcome.message[:_TEXT])
    text = outcome.message if stopped else f"[{outcome.code}] {outcome.message}"
    return Row(FAILED, text[:_TEXT], outcome.traceback[-_TRACE:])


def refused(why: StartRefused) -> Row:
    """The row of a launch that was not begun. One that was delivered twice keeps the row of the other delivery."""
    return Row(RETRIED if why is StartRefused.TAKEN else REVOKED, _REFUSED[why])


def superseded() -> Row:
    """The row of a launch whose lease had run out: whatever it did, another one counts."""
    return Row(REVOKED, "superseded: its lease ran out, and nothing it did is accepted")


def not_told(error: Exception, *, begun: bool) -> Row:
    """The row of a launch whose outcome the record server could not take, or that could not be begun."""
    return Row(FAILED if begun else RETRIED, f"[{type(error).__name__}] {error}"[:_TEXT])


def handed_back(why: str) -> Row:
    """The row of a launch this worker cannot run; it is offered to others."""
    return Row(RETRIED, f"handed back: {why}"[:_TEXT])


def _by_limit(reason: str) -> bool:
    return any(reason.startswith(f"[{code}]") for code in TIMEOUT_CODES)


class LaunchRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A request that tells of the launch instead of the Celery task around it."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002, ANN401  # Celery's signature
        """Send an event of this launch; its end is that of the function."""
        if type == SUCCEEDED:
            try:
                row = msgspec.json.decode(fields["result"], type=Row)
            except (msgspec.DecodeError, KeyError, TypeError):
                log.warning("flower.row_unreadable", launch=self.id)
                row = Row(FAILED, "its worker did not say how it ended; its record does")
            type, fields = row.event, {**row.fields(), "runtime": fields.get("runtime")}  # noqa: A001  # as above
        super().send_event(type, **fields)


class LostLaunches:
    """Tells of launches nobody reports any more, whose rows would stay at STARTED: their workers were lost.

    Args:
        consumer: Celery's, of a worker that takes steps. Its dispatcher, which changes with each connection, sends nothing
            unless somebody listens.
    """

    def __init__(self, consumer: Any) -> None:  # noqa: ANN401  # Celery has no types
        self._consumer = consumer

    def __call__(self, before: TaskAction, after: TaskAction) -> None:
        """One launch the record leaves behind: the action as it was claimed, and as it is now."""
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
            dispatcher.send(row.event, uuid=f"{before.id}/{launch}", **row.fields())
        except Exception as error:  # noqa: BLE001  # a row in Flower is not worth a step
            log.warning("flower.not_told", action=str(before.id), error=str(error))
