"""What Flower is told of a launch, without Flower."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from msgspec.structs import replace

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, AttemptRecord, TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.api.transition import OutputRef
from worker.attempts import flower
from worker.attempts.flower import FAILED, RETRIED, REVOKED, SUCCEEDED, LostLaunches, Telling


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
    row = flower.ended(outcome)
    assert (row.event, row.text) == (event, text)


def test_a_success_says_how_long_it_ran() -> None:
    """Flower shows it as its runtime."""
    row = replace(flower.ended(AttemptOutcome(ended="returned")), seconds=1.5)
    assert row.fields() == {"result": "", "runtime": 1.5}


def test_a_launch_that_may_come_again_says_so() -> None:
    """One that could not be begun is offered again; one that could not be reported has failed."""
    error = StoreUnavailable("away")
    assert flower.not_told(error, begun=False).event == RETRIED
    assert flower.not_told(error, begun=True).event == FAILED
    assert flower.superseded().event == REVOKED
    assert flower.handed_back("it lacks it").event == RETRIED


def test_texts_are_bounded() -> None:
    """Flower keeps each row in memory: neither message nor traceback is sent whole."""
    outcome = AttemptOutcome(ended="raised", code="E", message="m" * 9000, traceback="t" * 90_000)
    fields = flower.ended(outcome).fields()
    assert (len(str(fields["exception"])), len(str(fields["traceback"]))) == (1024, 4096)


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
    spec = ActionSpec(task_type="f")
    metadata = SimpleNamespace(deletion=deletion)
    return SimpleNamespace(id=ActionId("p", "d", "r", "a0"), spec=spec, status=status, metadata=metadata)


def test_a_lost_launch_is_told_by_whoever_noticed() -> None:
    """As a failure with its error, or as a revocation when the action was aborted."""
    dispatcher = Dispatcher(enabled=True)
    tell = LostLaunches(SimpleNamespace(event_dispatcher=dispatcher))
    tell(record(), record(error=SimpleNamespace(code="WorkerLost", message="gone")))
    tell(record(launches=1), record(deletion=SimpleNamespace(reason="wrong bucket")))
    [(first, failed), (second, revoked)] = dispatcher.sent
    assert (first, failed["uuid"], failed["exception"]) == (FAILED, "p/d/r/a0/1", "[WorkerLost] gone")
    assert (second, revoked["uuid"], revoked["reason"]) == (REVOKED, "p/d/r/a0/1-1", "wrong bucket")
    assert (failed["name"], failed["args"]) == ("f", "r/a0 attempt 1")


def test_nothing_is_told_where_nobody_listens_and_no_step_fails_by_it() -> None:
    """Events off, no connection, a broker that is away: the step goes on."""
    off = Dispatcher(enabled=False, error=OSError("must not be asked"))
    for dispatcher in (off, None, Dispatcher(enabled=True, error=OSError("away"))):
        LostLaunches(SimpleNamespace(event_dispatcher=dispatcher))(record(), record())


class Launched:
    """What is told of a launch, and through what."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, dispatcher: Dispatcher, *, events: bool = True
    ) -> None:
        monkeypatch.setattr(flower, "_line", flower._Line())
        monkeypatch.setattr(flower._Line, "dispatcher", lambda *_: dispatcher)
        app: Any = SimpleNamespace(conf=SimpleNamespace(worker_send_task_events=events))
        self.telling = Telling(app, "w@h")
        self.told = dispatcher.sent

    def end(self, number: int, outcome: AttemptOutcome) -> None:
        """End one launch."""
        action = ActionId("p", "d", f"r{number}", "a0")
        launched: Any = TaskAction(action, ActionSpec(task_type="f"), attempt=AttemptRecord(launch="1"))
        self.telling.ended(launched, outcome)

    @property
    def kinds(self) -> list[str]:
        """The events so far."""
        return [kind for kind, _ in self.told]


def test_a_launch_is_told_as_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Received, started and ended, under the id of the launch and the name of what ran."""
    launched = Launched(monkeypatch, Dispatcher(enabled=True))
    launched.end(1, AttemptOutcome(ended="returned"))
    assert launched.kinds == ["task-received", "task-started", SUCCEEDED]
    assert {fields["uuid"] for _, fields in launched.told} == {"p/d/r1/a0/1"}
    assert launched.told[0][1]["name"] == "f"


def test_an_end_says_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Flower that was started while it ran has not heard of its begin: its row would have no name."""
    launched = Launched(monkeypatch, Dispatcher(enabled=True))
    launched.end(1, AttemptOutcome(ended="raised", code="E", message="m"))
    kind, fields = launched.told[-1]
    assert (kind, fields["name"], fields["args"]) == (FAILED, "f", "r1/a0 attempt 1")


def test_of_a_flood_some_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred at once are all shown, then five of each second, and as many failures beside them."""
    clock = [1000.0]
    monkeypatch.setattr(flower.time, "monotonic", lambda: clock[0])
    launched = Launched(monkeypatch, Dispatcher(enabled=True))
    for number in range(500):
        launched.end(number, AttemptOutcome(ended="returned"))
    assert launched.kinds.count(SUCCEEDED) == 100
    clock[0] += 2
    for number in range(500):
        launched.end(number, AttemptOutcome(ended="returned"))
    assert launched.kinds.count(SUCCEEDED) == 110
    for number in range(100):
        launched.end(number, AttemptOutcome(ended="raised", code="E", message="m"))
    assert launched.kinds.count(FAILED) == 100


def test_a_row_is_not_worth_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events off: nothing is sent. A broker that is away: the attempt goes on."""
    off = Launched(monkeypatch, Dispatcher(enabled=True), events=False)
    off.end(1, AttemptOutcome(ended="returned"))
    assert off.told == []
    Launched(monkeypatch, Dispatcher(enabled=True, error=OSError("away"))).end(
        1, AttemptOutcome(ended="returned")
    )


def test_ends_of_one_report_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication costs as much as a short function: the events of a batch share one, and keep their order."""
    monkeypatch.setattr(flower, "_line", flower._Line())
    app = Celery(broker="memory://")
    app.conf.worker_send_task_events = True
    telling = Telling(app, "w@h")
    heard: list[dict[str, Any]] = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        with receiver.consumer_context() as (listening, _channel, _consumers):
            for number in range(3):
                action = ActionId("p", "d", f"r{number}", "a0")
                launched = TaskAction(action, ActionSpec(task_type="f"), attempt=AttemptRecord(launch="1"))
                telling.ended(launched, AttemptOutcome(ended="returned"))
            telling.flush()
            listening.drain_events(timeout=5)
    one = ["task-received", "task-started", SUCCEEDED]
    assert [event["type"] for event in heard] == one * 3
    assert heard[-1]["uuid"] == "p/d/r2/a0/1"
