"""What Flower is told of a launch, without Flower."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from celery.worker.request import Request

from reconciler.api.action import AttemptOutcome
from reconciler.api.errors import StoreUnavailable
from reconciler.api.transition import OutputRef
from reconciler.stores.base import StartRefused
from worker import flower_events
from worker.flower_events import (
    FAILED,
    LONGEST,
    RETRIED,
    REVOKED,
    SUCCEEDED,
    LaunchRequest,
    LostLaunches,
    Row,
)


@pytest.mark.parametrize(
    ("outcome", "event", "text"),
    [
        (AttemptOutcome(ended="returned", outputs=OutputRef(uri="s3://b/o")), SUCCEEDED, "s3://b/o"),
        (AttemptOutcome(ended="raised", code="ValueError", message="no"), FAILED, "[ValueError] no"),
        (AttemptOutcome(ended="died", code="OOMKilled", message="m"), FAILED, "[OOMKilled] m"),
        (AttemptOutcome(ended="stopped", code="Stopped", message="wrong bucket"), REVOKED, "wrong bucket"),
        (AttemptOutcome(ended="stopped", code="Stopped", message="[DeadlineExceeded] x"), FAILED, "[DeadlineExceeded] x"),
        (AttemptOutcome(ended="stopped", code="WorkerFault", message="disk"), FAILED, "[WorkerFault] disk"),
    ],
)  # fmt: skip
def test_a_row_tells_the_outcome(outcome: AttemptOutcome, event: str, text: str) -> None:
    """Only what returned is a success; an abort is a revocation, a limit of time a failure."""
    row = flower_events.ended(outcome)
    assert (row.event, row.text) == (event, text)


@pytest.mark.parametrize("why", StartRefused)
def test_a_refused_launch_is_no_success(why: StartRefused) -> None:
    """Each refusal has a sentence; one delivered twice leaves the row to the delivery that runs."""
    row = flower_events.refused(why)
    assert row.event == (RETRIED if why is StartRefused.TAKEN else REVOKED)
    assert row.text


def test_a_launch_that_may_come_again_says_so() -> None:
    """One that could not be begun is offered again; one that could not be reported has failed."""
    error = StoreUnavailable("away")
    assert flower_events.not_told(error, begun=False).event == RETRIED
    assert flower_events.not_told(error, begun=True).event == FAILED
    assert flower_events.superseded().event == REVOKED


def test_the_longest_row_is_not_cut_by_celery() -> None:
    """The worst text, of characters that JSON escapes, fits: a row cut in its middle could not be read."""
    outcome = AttemptOutcome(ended="raised", code="E", message="\x01" * 9000, traceback="\x02" * 90_000)
    shown = repr(flower_events.ended(outcome))
    assert len(shown) < LONGEST
    assert msgspec.json.decode(shown, type=Row).event == FAILED


@pytest.mark.parametrize(
    ("said", "event"),
    [(repr(Row(REVOKED, "enough")), REVOKED), (repr(Row(text="s3://b/o")), SUCCEEDED), ("None", FAILED)],
)
def test_the_request_sends_the_event_of_the_launch(
    monkeypatch: pytest.MonkeyPatch, said: str, event: str
) -> None:
    """What Celery calls a success is what the row says; what cannot be read is no success."""
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Request, "send_event", lambda _self, kind, **fields: sent.append((kind, fields)))
    request = LaunchRequest.__new__(LaunchRequest)
    request.id = "p/d/r/a0/1"
    request.send_event("task-started")
    request.send_event(SUCCEEDED, result=said, runtime=1.5)
    assert [kind for kind, _ in sent] == ["task-started", event]
    assert sent[1][1]["runtime"] == 1.5


class Dispatcher:
    """As Celery's: says whether anybody listens, and takes events, or raises."""

    def __init__(self, *, enabled: bool, error: Exception | None = None) -> None:
        self.enabled, self.error = enabled, error
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        """Take an event."""
        if self.error:
            raise self.error
        self.sent.append((kind, fields))


def record(*, deletion: object = None, error: object = None, launches: int = 0) -> Any:
    """What is read of an action."""
    status = SimpleNamespace(attempts=1, launches=launches, error_state=error)
    return SimpleNamespace(id="p/d/r/a0", status=status, metadata=SimpleNamespace(deletion=deletion))


def test_a_lost_launch_is_told_by_whoever_noticed() -> None:
    """As a failure with its error, or as a revocation when the action was aborted."""
    dispatcher = Dispatcher(enabled=True)
    tell = LostLaunches(SimpleNamespace(event_dispatcher=dispatcher))
    tell(record(), record(error=SimpleNamespace(code="WorkerLost", message="gone")))
    tell(record(launches=1), record(deletion=SimpleNamespace(reason="wrong bucket")))
    [(first, failed), (second, revoked)] = dispatcher.sent
    assert (first, failed["uuid"], failed["exception"]) == (FAILED, "p/d/r/a0/1", "[WorkerLost] gone")
    assert (second, revoked["uuid"], revoked["reason"]) == (REVOKED, "p/d/r/a0/1-1", "wrong bucket")


def test_nothing_is_told_where_nobody_listens_and_no_step_fails_by_it() -> None:
    """Events off, no connection, a broker that is away: the step goes on."""
    off = Dispatcher(enabled=False, error=OSError("must not be asked"))
    for dispatcher in (off, None, Dispatcher(enabled=True, error=OSError("away"))):
        LostLaunches(SimpleNamespace(event_dispatcher=dispatcher))(record(), record())
