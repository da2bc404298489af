"""`reconciler get` tells of attempts (R60), for people and for programs."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reconciler import TaskEnvironment, current_attempt, sleep
from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, TaskMetadata
from reconciler.api.transition import retryable_failure, running, success
from reconciler.cli.documents import action_document
from reconciler.cli.get import _show
from reconciler.core.times import iso
from reconciler.testing import Lab, ScriptedPlugin
from worker.dashboard.rows import bars, row

pytestmark = pytest.mark.rule("R60")


def told(*answers: object) -> tuple[Lab, ActionId]:
    """Return an action that had a plugin answer like this, ten seconds apart."""
    lab = Lab([ScriptedPlugin("demo", *answers)])  # type: ignore[arg-type]  # answers of a script
    action = lab.submit("demo", metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    lab.settle()
    return lab, action


def test_a_retried_action_shows_each_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each attempt has its phase, how long it took, its phases and its error."""
    lab, action = told(running(0, requeue_at=1), retryable_failure("Boom", "no\nluck"), success())
    _show(lab.get(action), lab.client.events(action), lab.clock())
    lines = capsys.readouterr().out.splitlines()
    table = lines[lines.index("Attempts") + 1 :]
    assert table[0].split() == ["NUMBER", "PHASE", "STARTED", "TOOK", "PHASES", "ERROR"]
    assert table[1].startswith("1       failed")
    assert table[1].endswith("[Boom] no luck")
    assert table[2].startswith("2       succeeded")
    assert len(table) == 3


def test_a_single_attempt_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one attempt the rest of the page tells."""
    lab, action = told(success())
    _show(lab.get(action), lab.client.events(action), lab.clock())
    assert "Attempts" not in capsys.readouterr().out


def test_programs_get_every_attempt() -> None:
    """The document has times in ISO 8601, phases with their spans, and null for what is not there."""
    lab, action = told(retryable_failure("Boom", "no luck"), success())
    began = lab.get(action).metadata.creation_timestamp
    first, second = action_document(lab.get(action), lab.client.events(action))["attempts_told"]
    assert (first["attempt"], first["phase"], first["started_at"]) == (1, "failed", iso(began))
    assert first["error"] == {"message": "no luck", "kind": "KIND_USER", "code": "Boom"}
    assert [each["phase"] for each in first["phases"]] == ["queued", "failed"]
    assert first["phases"][0]["from"] == iso(began)
    assert (second["phase"], second["error"], second["logs"], second["log_context"]) == (
        "succeeded",
        None,
        {},
        None,
    )
    assert second["outputs_uri"].endswith("/2/outputs.pb")


env = TaskEnvironment("attempts")


@env.task()
def rests() -> None:
    """Sleep without a worker."""
    sleep(3600)


def test_a_suspended_action_has_no_worker(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor a lease that ran out: it says why it has none."""
    lab = Lab()
    env.client = lab.client
    run = rests.delay()
    lab.work(limit=timedelta(minutes=1))
    _show(lab.get(run.action), lab.client.events(run.action), lab.clock())
    shown = capsys.readouterr().out
    assert "its function is suspended" in shown
    assert "silent" not in shown


@env.task(retries=RetryStrategy(retries=1))
def rests_then_fails() -> None:
    """Sleep for a minute without a worker; fail in the first attempt."""
    sleep(60)
    if current_attempt().attempt == 1:
        raise RuntimeError("not yet")


def test_what_was_suspended_is_told_apart_from_what_ran(capsys: pytest.CaptureFixture[str]) -> None:
    """An attempt is running meanwhile, and keeps no worker."""
    lab = Lab()
    env.client = lab.client
    run = rests_then_fails.delay()
    lab.work()
    _show(lab.get(run.action), lab.client.events(run.action), lab.clock())
    [first] = [line for line in capsys.readouterr().out.splitlines() if "(suspended 1m of it)" in line]
    assert first.startswith("1       failed")


QUEUED, RAN = timedelta(seconds=60), timedelta(seconds=3)


@env.task(retries=RetryStrategy(retries=1))
def works(lab_of: str) -> str:
    """Take three seconds; fail in the first attempt."""
    _LABS[lab_of].clock.advance(RAN)
    if current_attempt().attempt == 1:
        raise RuntimeError("not yet")
    return lab_of


@env.task()
def works_then_rests(lab_of: str) -> str:
    """Take three seconds, then none."""
    _LABS[lab_of].clock.advance(RAN)
    sleep(3600)
    return lab_of


_LABS: dict[str, Lab] = {}


def test_what_was_over_before_it_was_seen_did_not_run_while_it_queued() -> None:
    """Each attempt says when its call began, and its bars are those of waiting and of running."""
    lab = _LABS["a"] = Lab()
    env.client = lab.client
    run = works.delay("a")
    for _ in range(2):
        lab.step()
        lab.clock.advance(QUEUED)
        lab.worker.work()
    lab.step()
    record = lab.get(run.action)
    assert record.phase is ActionPhase.SUCCEEDED
    for told in action_document(record, lab.client.events(run.action))["attempts_told"]:
        waited, ran = (each for each in told["phases"] if each["from"] != each["to"])
        assert (waited["phase"], ran["phase"], ran["from"]) == ("queued", "running", told["began_at"])
        assert _span(ran["from"], ran["to"]) == RAN
        assert _span(told["began_at"], told["ended_at"]) == RAN
    kinds = [(bar.kind, bar.attempt, timedelta(milliseconds=bar.end - bar.start)) for bar in bars(record)]
    assert kinds == [
        ("waits", 1, QUEUED), ("erred", 1, RAN), ("waits", 2, QUEUED), ("runs", 2, RAN)
    ]  # fmt: skip
    assert row(record)["began"] == bars(record)[-1].start


def test_what_was_suspended_before_it_was_seen_ran_until_then() -> None:
    """Its first pass is no time in the queue either."""
    lab = _LABS["b"] = Lab()
    env.client = lab.client
    run = works_then_rests.delay("b")
    lab.step()
    lab.clock.advance(QUEUED)
    lab.worker.work()
    lab.step()
    kinds = [
        (bar.kind, timedelta(milliseconds=max(0, bar.end - bar.start))) for bar in bars(lab.get(run.action))
    ]
    assert kinds == [("waits", QUEUED), ("runs", RAN), ("suspended", timedelta(0))]


def _span(start: str, end: str) -> timedelta:
    return datetime.fromisoformat(end) - datetime.fromisoformat(start)
