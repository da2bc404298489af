"""The log of an attempt while it runs: what is stored of it and when, and where it is looked for."""

from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, AttemptRecord, Metadata, TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.api.transition import LogLink
from reconciler.cli.log_places import LogPlace, place_of
from reconciler.core.events import prefix_of
from worker.attempts.live_log import LiveLog
from worker.attempts.secrets import AttemptSecrets

SECRET = "aab-aabaa"


@given(st.text(alphabet="ab-x\n", max_size=40).map(str.encode), st.integers(0, 40))
def test_what_is_shown_early_stays(text: bytes, cut: int) -> None:
    """The masked text so far is the beginning of the masked text, wherever it was cut; so no part of a value shows."""
    secrets = AttemptSecrets({"A": SECRET})
    shown = secrets.mask_so_far(text[:cut])
    assert secrets.mask(text).startswith(shown)
    assert secrets.mask_so_far(text[:cut] + SECRET.encode()[:5]) in {shown, *_longer(secrets, text[:cut])}


def _longer(secrets: AttemptSecrets, text: bytes) -> list[bytes]:
    """What may be shown once it is known that a text does not go on with a value."""
    return [secrets.mask(text + SECRET.encode()[:n]) for n in range(5)]


def test_a_short_attempt_costs_nothing() -> None:
    """Without a heartbeat no thread is made, and nothing is stored; also none after the end."""
    written: list[bytes] = []
    live = LiveLog(lambda: b"text", written.append)
    live.end()
    live.begin()
    assert written == []
    assert "reconciler-live-log" not in {thread.name for thread in threading.enumerate()}


def test_an_end_while_it_begins_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread takes its time to start: who ends the log meanwhile waits for it."""
    failed: list[BaseException] = []

    def end() -> None:
        try:
            live.end()
        except RuntimeError as error:
            failed.append(error)

    class Slow(threading.Thread):
        def start(self) -> None:
            ending.start()
            ending.join(0.2)
            super().start()

    ending = threading.Thread(target=end)
    live = LiveLog(lambda: b"", lambda _: None)
    monkeypatch.setattr("worker.attempts.live_log.threading.Thread", Slow)
    live.begin()
    ending.join(20)
    assert not ending.is_alive()
    assert failed == []


def test_nothing_is_stored_after_the_end() -> None:
    """`end` returns when a writing that was under way is over: then the whole log may be written."""
    entered, go_on, written = threading.Event(), threading.Event(), []

    def write(text: bytes) -> None:
        entered.set()
        go_on.wait(10)
        written.append(text)

    live = LiveLog(lambda: b"text", write)
    live.begin()
    assert entered.wait(10)
    ending = threading.Thread(target=live.end)
    ending.start()
    assert ending.is_alive()
    go_on.set()
    ending.join(10)
    assert not ending.is_alive()
    assert written == [b"text"]


def test_a_failing_server_is_no_failure_of_the_attempt() -> None:
    """What cannot be stored now is stored with the whole log."""
    failed = threading.Event()

    def write(_: bytes) -> None:
        failed.set()
        raise ConnectionError("S3 is away")

    live = LiveLog(lambda: b"text", write)
    live.begin()
    assert failed.wait(10)
    live.end()


ID = ActionId("p", "d", "r", "a0")
BASE = "s3://bucket/base"


def record(
    phase: ActionPhase, attempts: int, launches: int = 0, outcome: AttemptOutcome | None = None
) -> TaskAction:
    """Return an action at an attempt and a launch of it."""
    status = msgspec.structs.replace(ActionStatus(), attempts=attempts, launches=launches)
    spec = ActionSpec(project="p", domain="d", run_name="r", action_name="a0", run_output_base=BASE)
    action = TaskAction(ID, spec, status, metadata=Metadata(namespace="n", name="r-a0"))
    action.attempt = AttemptRecord(outcome=outcome)
    action.phase = phase
    return action


def event(attempt: int, phase: ActionPhase, prefix: str, *links: LogLink) -> ActionEvent:
    """Return an event of an attempt."""
    return ActionEvent(id=ID, attempt=attempt, phase=phase, output_prefix=prefix, log_info=links)


def test_a_growing_log_lies_where_its_launch_stores() -> None:
    """Nothing vouches for it; the log of an earlier launch of the attempt does not stand in for it."""
    running = record(ActionPhase.RUNNING, 1, launches=1)
    old = LogLink("log", f"{BASE}/a0/1/log.txt", "ab12")
    events = [event(1, ActionPhase.QUEUED, f"{BASE}/a0/1", old)]
    assert place_of(running, events, 1) == LogPlace(1, prefix_of(running))


@pytest.mark.parametrize("sha256", ["ab12", ""])
def test_a_whole_log_has_its_digest(sha256: str) -> None:
    """That of an earlier release has none, and is read all the same."""
    ended = record(ActionPhase.FAILED, 2)
    links = [LogLink("log", f"{BASE}/a0/{n}/log.txt", sha256) for n in (1, 2)]
    events = [event(n, ActionPhase.FAILED, "", link) for n, link in enumerate(links, 1)]
    for number in (1, 2):
        assert place_of(ended, events, number) == LogPlace(number, f"{BASE}/a0/{number}", sha256, whole=True)


def test_an_attempt_that_stored_nothing_is_looked_for_where_it_ran() -> None:
    """Its worker was lost: what it stored before lies there, if anything does."""
    ended = record(ActionPhase.RUNNING, 2)
    events = [event(1, ActionPhase.FAILED, f"{BASE}/a0/1-3")]
    assert place_of(ended, events, 1) == LogPlace(1, f"{BASE}/a0/1-3")
    assert place_of(ended, [], 1) is None


def test_a_reported_log_needs_no_event_yet() -> None:
    """Between the report and the round that publishes it, the record knows."""
    outcome = AttemptOutcome(ended="returned", log_sha256="cd34")
    running = record(ActionPhase.RUNNING, 1, outcome=outcome)
    uri = f"{prefix_of(running)}/log.txt"
    running.attempt = AttemptRecord(outcome=msgspec.structs.replace(outcome, log_uri=uri))
    assert place_of(running, [], 1) == LogPlace(1, prefix_of(running), "cd34", whole=True)
