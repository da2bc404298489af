"""`queue`, `prioritize` and the options of time and turn, against real servers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cli_support import HERE, Backend, error_of

from reconciler.api.phase import ActionPhase

pytestmark = [pytest.mark.servers, pytest.mark.rule("R85")]
FAR = "2099-12-24T18:00:00+02:00"


def stand(backend: Backend, *runs: str, more: tuple[str, ...] = ()) -> None:
    """Submit calls, and let a step put their launches into lines."""
    for run in runs:
        call = ("submit", "shop.greet", "--args", '{"name": "Ada"}', "--run", run, *more)
        assert backend.reconciler(*call).exit_code == 0
    for shard in range(backend.settings.shards):
        backend.engine.stepper.step(shard)


def queues(backend: Backend, *names: str) -> list[dict[str, Any]]:
    """What `queue list` tells a program."""
    found: list[dict[str, Any]] = backend.answer("queue", "list", *names)["queues"]
    return found


def test_queues_are_listed(backend: Backend) -> None:
    """`queue` alone lists them for people; with names those."""
    stand(backend, "a", "b")
    assert backend.reconciler("queue").stdout == (
        "QUEUE     WAITING  STATE  LIMIT\nattempts  2        open   none\n"
    )
    assert queues(backend) == [{"name": "attempts", "waiting": 2, "paused": False, "limit": None}]
    assert [one["name"] for one in queues(backend, "gpu", "attempts")] == ["gpu", "attempts"]


def test_a_queue_is_paused_and_resumed(backend: Backend) -> None:
    """What is said is done, and said again does no harm."""
    stand(backend, "a")
    for _ in range(2):
        assert backend.answer("queue", "pause", "attempts") == {"queue": "attempts", "paused": True}
    assert "paused" in backend.reconciler("queue").stdout
    assert "resume attempts" in backend.reconciler("queue", "pause", "attempts").stdout
    backend.messenger.tickets.clear()
    assert backend.answer("queue", "resume", "attempts") == {"queue": "attempts", "paused": False}
    [attempts] = queues(backend)
    assert not attempts["paused"]
    assert [one["what"] for one in attempts["ruled"]] == ["pause", "pause", "pause", "resume"]
    assert {one["door"] for one in attempts["ruled"]} == {"cli"}


def test_a_queue_that_nobody_consumes_is_remarked_on(backend: Backend) -> None:
    """Its name may be mistyped: each verb says so beside its answer, until a worker of it lives."""
    verbs = (
        ("pause", "atempts"),
        ("resume", "atempts"),
        ("limit", "atempts", "none"),
        ("move", "gpu", "atempts"),
    )
    for verb in verbs:
        assert "No living worker consumes the queue atempts" in backend.reconciler("queue", *verb).stderr
    backend.store.tell_functions("w", "atempts", {}, 60_000)
    for verb in verbs:
        assert backend.reconciler("queue", *verb).stderr == ""


def test_a_full_queue_has_an_exit_code(backend: Backend) -> None:
    """11, with the numbers for a program and the remedy for people; `none` opens it again."""
    assert "none" in backend.reconciler("queue").stdout
    assert backend.answer("queue", "limit", "attempts", "1") == {"queue": "attempts", "limit": 1}
    stand(backend, "a")
    call = ("submit", "shop.greet", "--args", '{"name": "Ada"}', "--run", "b")
    refused = backend.reconciler(*call, "--json")
    assert (refused.exit_code, refused.stdout) == (11, "")
    error = error_of(refused)
    assert (error["type"], error["queue"], error["limit"], error["waiting"]) == (
        "QueueFull",
        "attempts",
        1,
        1,
    )
    assert "reconciler queue limit attempts" in error["message"]
    assert backend.answer("queue", "limit", "attempts", "none")["limit"] is None
    assert backend.reconciler(*call).exit_code == 0


def test_what_waits_is_moved(backend: Backend) -> None:
    """How much was moved is told."""
    stand(backend, "a", "b")
    assert backend.answer("queue", "move", "attempts", "spare") == {
        "queue": "attempts",
        "to": "spare",
        "moved": 2,
    }
    assert (
        backend.reconciler("queue", "move", "attempts", "spare").stdout == "0 moved from attempts to spare.\n"
    )
    assert [(one["name"], one["waiting"]) for one in queues(backend)] == [("attempts", 0), ("spare", 2)]


def test_a_run_is_prioritized(backend: Backend) -> None:
    """By its name, whether it stands in line or not."""
    stand(backend, "a")
    assert backend.answer("prioritize", "a", "9") == {"action": f"{HERE}/a/a0", "priority": 9, "changed": 1}
    assert backend.get("a").metadata.priority == 9
    assert backend.answer("get", "a")["priority"] == 9
    assert (
        backend.reconciler("prioritize", "a", "0").stdout == f"{HERE}/a/a0: 1 live action has priority 0.\n"
    )
    missing = backend.reconciler("prioritize", "none", "1", "--json")
    assert (missing.exit_code, error_of(missing)["type"]) == (6, "ActionNotFound")


@pytest.mark.rule("R83")
def test_time_and_turn_are_shown_when_they_matter(backend: Backend) -> None:
    """`get` tells when it may begin, when it expires and its priority, unless that is what everybody has."""
    stand(backend, "usual")
    shown = backend.reconciler("get", "usual").stdout
    assert not any(word in shown for word in ("may begin", "expires", "priority", "fair key"))
    stand(backend, "timed", more=("--eta", FAR, "--expires", "2100-01-01T00:00Z", "--priority", "7"))
    shown = backend.reconciler("get", "timed").stdout
    assert "was submitted to begin at 2099-12-24T16:00:00.000Z" in shown
    assert "unless it has begun" in shown
    assert "doctor" not in shown
    document = backend.answer("get", "timed")
    assert (document["may_begin_at"], document["expires_at"]) == (
        "2099-12-24T16:00:00.000Z",
        "2100-01-01T00:00:00.000Z",
    )
    assert (document["priority"], document["phase"]) == (7, "queued")


@pytest.mark.rule("R84")
def test_durations_count_from_acceptance(backend: Backend) -> None:
    """`--countdown` and `--expires` take what other options of time take."""
    stand(backend, "later", more=("--countdown", "2h", "--expires", "3h"))
    kept = backend.get("later").metadata
    waits = (kept.not_before - kept.creation_timestamp, kept.expires_at - kept.creation_timestamp)
    assert waits == (7_200_000, 10_800_000)
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    inputs = ("--inputs", '{"duration": 60}', "--interface", json.dumps({"inputs": {"duration": "duration"}}))
    backend.reconciler("submit", "--type", "core-sleep", *inputs, "--run", "late", "--expires", past)
    backend.end("late")
    assert backend.get("late").phase is ActionPhase.ABORTED
    assert "had not begun by" in backend.reconciler("get", "late").stdout


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["queue", "pause", "a/b"], "is not allowed"),
        (["queue", "pause", "steps"], "queue of reconcile steps"),
        (["queue", "list", "celeryev"], "message system"),
        (["queue", "limit", "q", "many"], "write one as 1000, or none"),
        (["queue", "move", "q", "q"], "another queue"),
        (["queue", "empty", "q"], "No such command"),
        (["prioritize", "a", "10"], "0<=x<=9"),
        (["submit", "shop.greet", "--eta", "tomorrow"], "2026-12-24T18:00:00Z"),
        (["submit", "shop.greet", "--args", '{"name": "x"}', "--eta", "2026-12-24T18:00:00"], "no time zone"),
        (["submit", "shop.greet", "--args", '{"name": "x"}', "--eta", FAR, "--countdown", "1"], "not both"),
        (["submit", "shop.greet", "--expires", "12:00"], "is no time"),
        (["submit", "shop.greet", "--expires", "soon"], "not a duration"),
        (["submit", "shop.greet", "--priority", "-1"], "0<=x<=9"),
    ],
)
def test_what_makes_no_sense_is_refused(backend: Backend, args: list[str], says: str) -> None:
    """With 2 and what is allowed; nothing is stored."""
    result = backend.reconciler(*args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert backend.client.runs() == []
