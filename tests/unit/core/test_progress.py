"""What a status says of an attempt besides its phase, without a store or a plugin."""

from __future__ import annotations

import pytest

from reconciler.api.action import AttemptRecord
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import ErrorState
from reconciler.api.transition import (
    ErrorKind,
    ExecutionError,
    OutputRef,
    PhaseInfo,
    TaskInfo,
    queued,
    running,
    success,
)
from reconciler.core.progress import next_attempt, next_launch, occurred, progress, ran_long

MINUTE = 60_000
OUTPUTS = OutputRef(uri="s3://b/o", sha256="0", size=1)


@pytest.mark.rule("R34")
@pytest.mark.parametrize(("said", "taken"), [(0, 100), (40, 40), (900, 100)])
def test_a_fast_clock_stretches_no_limit(said: int, taken: int) -> None:
    """A phase began when the plugin says, never later than now; at once when it says nothing."""
    assert occurred(running(0, TaskInfo(occurred_at=said)), 100) == taken


@pytest.mark.rule("R21", "R27")
@pytest.mark.parametrize(
    ("status", "info", "asked", "changes"),
    [
        (ActionStatus(), queued(1, 0, ""), True, {"launched": True}),
        (ActionStatus(), queued(1, 0, ""), False, {}),
        (ActionStatus(launched=True), running(0), True, {"running_at": 5 * MINUTE}),
        (ActionStatus(launched=True, running_at=4 * MINUTE + 1), running(0), True, {}),
        (ActionStatus(launched=True, running_at=4 * MINUTE), running(0), True, {"system_failures": 0}),
        (
            ActionStatus(launched=True),
            success(TaskInfo(outputs=OUTPUTS)),
            True,
            {"outputs": OUTPUTS, "system_failures": 0, "launched": False, "not_before": 0},
        ),
    ],
    ids=["launched", "answered by the cache", "running", "not for long", "for a minute", "succeeded"],
)
def test_what_a_phase_changes(
    status: ActionStatus,
    info: PhaseInfo,
    asked: bool,  # noqa: FBT001  # a table
    changes: dict[str, object],
) -> None:
    """The first launch, the first running and a minute of it leave their marks, an end takes them away."""
    assert progress(status, info, 5 * MINUTE, asked=asked) == changes


@pytest.mark.rule("R29")
def test_the_next_launch_has_a_number_of_its_own() -> None:
    """State and marks of the launch are gone; time in the queue begins anew only for what ran."""
    status = ActionStatus(plugin_state=b"{}", launches=1, launched=True, attempt_at=7, attempts=2)
    waited = next_launch(status, AttemptRecord(), 9)
    assert (waited.plugin_state, waited.launches, waited.launched, waited.attempts) == (b"", 2, False, 2)
    assert waited.attempt_at == 7
    assert next_launch(status, AttemptRecord(started_at=8), 9).attempt_at == 9


@pytest.mark.rule("R31", "R33")
def test_the_next_attempt_begins_anew() -> None:
    """Another number, the failures in a row forgiven, those of its life kept; it says why, and waits out its back-off."""
    status = ActionStatus(attempts=1, launches=3, system_failures=2, total_system_failures=2, running_at=4)
    after = next_attempt(status, ExecutionError("E", "x", ErrorKind.USER), 100, 50)
    assert (after.attempts, after.launches, after.previous_launches) == (2, 0, 3)
    assert (after.system_failures, after.total_system_failures) == (0, 2)
    assert (after.running_at, after.attempt_at, after.not_before) == (0, 100, 150)
    assert after.error_state == ErrorState("E", "USER", "x")


@pytest.mark.rule("R27")
@pytest.mark.parametrize(
    ("running_at", "lease_until", "long"),
    [(0, 0, False), (1, 0, True), (1, MINUTE, False), (1, MINUTE + 1, True)],
)
def test_a_lost_worker_ran_until_its_lease_at_most(running_at: int, lease_until: int, long: bool) -> None:  # noqa: FBT001  # a table
    """A launch that ran for a minute forgives; what nobody held any more did not run."""
    attempt = AttemptRecord(owner="w" if lease_until else "", lease_until=lease_until)
    assert ran_long(ActionStatus(running_at=running_at), attempt, 2 * MINUTE) is long
