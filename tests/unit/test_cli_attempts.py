"""`reconciler get` tells of attempts (R60), for people and for programs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, sleep
from reconciler.api.action import ActionId
from reconciler.api.template import RetryStrategy, TaskMetadata
from reconciler.api.transition import retryable_failure, running, success
from reconciler.cli.documents import action_document
from reconciler.cli.get import _show
from reconciler.core.times import iso
from reconciler.testing import Lab, ScriptedPlugin

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
