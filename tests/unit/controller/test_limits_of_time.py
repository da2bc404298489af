"""Limits of time: queued, running, overall. Each ends in TIMED_OUT: the action, or an attempt that others follow (R34)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from control_support import MINUTE, TYPE, condition, history, lab_of, phases, record

from reconciler.api.action import AttemptRecord, Metadata, Result
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import ConditionType, Reason
from reconciler.api.template import RetryStrategy, TaskMetadata, Timeouts
from reconciler.api.transition import (
    ErrorKind,
    ExecutionError,
    TaskInfo,
    Transition,
    failed,
    queued,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.core.deadlines import NO_LIMITS, expired, limits_of, next_deadline
from reconciler.plugins.base import StillStopping

ONE = timedelta(minutes=1)
LOST = system_retryable_failure("WorkerLost", "gone")


def limited(retries: int = 0, **limits: timedelta) -> TaskMetadata:
    """Metadata with limits."""
    return TaskMetadata(
        timeouts=Timeouts(**limits),
        retries=RetryStrategy(retries=retries, backoff=timedelta(seconds=30), max_backoff=ONE),
    )


@pytest.mark.rule("R34")
@pytest.mark.parametrize(
    ("limits", "answer", "code", "text"),
    [
        ({"queued": ONE}, queued(0, 0, "sent"), "QueuedTimedOut", "the attempt has waited longer than 60 s"),
        ({"running": ONE}, running(0), "RunningTimedOut", "the attempt has run longer than 60 s"),
        ({"overall": ONE}, running(0), "DeadlineExceeded", "the action has taken longer than 60 s"),
    ],
    ids=["queued", "running", "overall"],
)
def test_a_passed_limit_ends_the_action(limits: Any, answer: Any, code: str, text: str) -> None:
    """A limit of time stops the attempt and ends the action in TIMED_OUT, exactly when it passes."""
    lab = lab_of(answer)
    action = lab.submit(TYPE, metadata=limited(**limits))
    start = lab.clock()
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.TIMED_OUT
    assert lab.events(action)[-1].phase is ActionPhase.TIMED_OUT
    assert history(found)[-1] == "TimedOut"
    assert condition(found, ConditionType.FAILED).reason == "TimedOut"
    assert found.status.error_state is not None
    assert (found.status.error_state.code, found.status.error_state.message) == (code, text)
    assert found.metadata.completed_at == start + MINUTE
    assert "abort" in lab.journal.words


@pytest.mark.rule("R34")
def test_a_task_without_limits_is_never_timed_out() -> None:
    """Without limits a task may run for a month."""
    lab = lab_of(running(0, requeue_at=1_700_000_000_000 + 30 * 24 * 60 * MINUTE), success())
    action = lab.submit(TYPE)
    lab.settle(timedelta(days=60))
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R34")
def test_a_success_seen_late_still_counts() -> None:
    """When the attempt has succeeded by the time the limit is looked at, the action succeeds."""
    lab = lab_of(running(0, requeue_at=1_700_000_000_000 + MINUTE), success())
    action = lab.submit(TYPE, metadata=limited(running=ONE))
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R34")
def test_the_plugin_is_not_called_first_after_the_limit() -> None:
    """An action nobody looked at until its limit had passed is timed out without a launch."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE, metadata=limited(overall=ONE))
    lab.clock.advance(ONE)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT
    assert "handle" not in lab.journal.words


@pytest.mark.rule("R34")
def test_the_next_look_is_not_later_than_the_limit() -> None:
    """A plugin that wants to be asked much later is asked when the limit passes."""
    lab = lab_of(running(0, requeue_at=1_700_000_000_000 + 10 * MINUTE))
    action = lab.submit(TYPE, metadata=limited(running=ONE))
    assert lab.reconcile(action) == Result(MINUTE)


@pytest.mark.rule("R34")
def test_the_end_waits_until_the_attempt_has_stopped() -> None:
    """While the attempt is still stopping the action does not end; it ends once it has stopped."""
    lab = lab_of(running(0), on_abort=[StillStopping(1_700_000_000_000 + 90_000), None])
    action = lab.submit(TYPE, metadata=limited(running=ONE))
    lab.reconcile(action)
    lab.clock.advance(ONE)
    assert lab.reconcile(action) == Result(30_000)
    assert not lab.get(action).is_terminal
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R34")
@pytest.mark.parametrize("stopped", [LOST, retryable_failure("Stopped", "was told to stop")])
def test_what_the_limit_stopped_is_not_launched_again(stopped: Any) -> None:
    """A failure that the limit itself caused spends the attempt, not the system budget, and is no launch of it anew."""
    lab = lab_of(running(0), running(0), stopped, on_abort=[StillStopping(1_700_000_000_000 + 61_000), None])
    action = lab.submit(TYPE, metadata=limited(running=ONE))
    lab.reconcile(action)
    lab.clock.advance(ONE)
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.TIMED_OUT
    assert (found.status.attempts, found.status.launches, found.status.total_system_failures) == (1, 0, 0)


def runs_long(times: int) -> Any:
    """Return an answer: so many attempts run past every limit, the next one succeeds."""
    return lambda ctx: running(0) if ctx.attempt_number <= times else success()


@pytest.mark.rule("R34", "R32")
def test_a_timed_out_attempt_is_followed_by_the_next() -> None:
    """While retries last a running limit fails the attempt, with an event of its own, and the next one begins."""
    lab = lab_of(runs_long(2))
    action = lab.submit(TYPE, metadata=limited(retries=2, running=ONE))
    began = lab.clock()
    lab.settle()
    found = lab.get(action)
    assert phases(lab, action) == [
        ("queued", 1, False),
        ("running", 1, False),
        ("timed_out", 1, False),
        ("queued", 2, False),
        ("running", 2, False),
        ("timed_out", 2, False),
        ("queued", 3, False),
        ("succeeded", 3, True),
    ]
    assert [e.error_info.code for e in lab.events(action) if e.error_info] == ["RunningTimedOut"] * 2
    assert found.phase is ActionPhase.SUCCEEDED
    assert "TimedOut" not in history(found)
    assert lab.journal.words.count("abort") == 2
    waited = lab.clock() - began
    assert 2 * MINUTE + 90_000 <= waited <= 2 * MINUTE + 99_000  # two limits, and the back-off of each


@pytest.mark.rule("R34")
def test_the_last_attempt_that_times_out_ends_the_action_in_timed_out() -> None:
    """With the retries used up the end is TIMED_OUT, by the last attempt's own event, which is final."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE, metadata=limited(retries=1, running=ONE))
    lab.settle()
    found = lab.get(action)
    assert phases(lab, action)[-4:] == [
        ("timed_out", 1, False),
        ("queued", 2, False),
        ("running", 2, False),
        ("timed_out", 2, True),
    ]
    assert found.phase is ActionPhase.TIMED_OUT
    assert history(found)[-1] == "TimedOut"
    assert found.status.error_state is not None
    assert found.status.error_state.code == "RunningTimedOut"
    assert found.metadata.finalizers == ()


@pytest.mark.rule("R34")
@pytest.mark.parametrize(
    "limits", [{"queued": ONE}, {"overall": ONE}, {"overall": ONE, "running": ONE}], ids=str
)
def test_the_limits_of_the_action_end_it_whatever_retries_are_left(limits: Any) -> None:
    """Waiting too long and taking too long in all are no attempt's doing."""
    lab = lab_of(queued(0, 0, "sent") if "queued" in limits else running(0))
    action = lab.submit(TYPE, metadata=limited(retries=5, **limits))
    lab.settle()
    assert phases(lab, action)[-1] == ("timed_out", 1, True)


@pytest.mark.rule("R34")
def test_retries_of_timed_out_attempts_stay_within_the_overall_limit() -> None:
    """The overall limit goes on over all attempts."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE, metadata=limited(retries=9, running=ONE, overall=timedelta(minutes=2)))
    began = lab.clock()
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, lab.clock() - began) == ("DeadlineExceeded", 2 * MINUTE)


@pytest.mark.rule("R34")
@pytest.mark.parametrize("stop", [LOST, retryable_failure("Stopped", "was told to stop"), ValueError("gone")])
def test_an_attempt_that_stops_late_is_followed_by_the_next(stop: Any) -> None:
    """However what the limit stopped answers at last: the attempt has timed out, and the next one begins."""
    lab = lab_of(
        *(running(0), running(0), stop, success()),
        on_abort=[StillStopping(1_700_000_000_000 + 61_000), None],
    )
    action = lab.submit(TYPE, metadata=limited(retries=1, running=ONE))
    lab.reconcile(action)
    lab.clock.advance(ONE)
    lab.settle()
    assert ("timed_out", 1, False) in phases(lab, action)
    assert phases(lab, action)[-1] == ("succeeded", 2, True)
    assert lab.get(action).status.total_system_failures == 0


@pytest.mark.rule("R34")
@pytest.mark.parametrize(
    ("kind", "attempts"), [(PluginPhase.RETRYABLE_FAILURE, 3), (PluginPhase.PERMANENT_FAILURE, 1)]
)
def test_a_plugin_may_say_that_an_attempt_timed_out(kind: PluginPhase, attempts: int) -> None:
    """Retryable it is an attempt like any other; permanent it ends the action. Both end timed out."""
    error = ExecutionError("Slow", "the service gave up", ErrorKind.USER)
    lab = lab_of(failed(kind, error, failed_as=Reason.TIMED_OUT))
    action = lab.submit(TYPE, metadata=limited(retries=2))
    lab.settle()
    assert phases(lab, action)[-1] == ("timed_out", attempts, True)
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R34")
def test_a_failure_before_the_limit_that_is_seen_after_it_is_retried() -> None:
    """What counts is when the attempt failed, not when somebody looked."""
    failed_at = 1_700_000_000_000 + 50_000
    lab = lab_of(running(0), retryable_failure("E", "x", TaskInfo(occurred_at=failed_at)), success())
    action = lab.submit(TYPE, metadata=limited(retries=1, running=ONE))
    lab.reconcile(action)
    lab.clock.advance(2 * ONE)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R34")
def test_a_plugin_that_raises_past_the_limit_is_timed_out() -> None:
    """Errors of the plugin do not hide a passed limit."""
    lab = lab_of(running(0), ValueError("x"))
    action = lab.submit(TYPE, metadata=limited(overall=ONE))
    lab.reconcile(action)
    lab.clock.advance(ONE)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R34")
def test_a_system_back_off_ends_at_the_limit() -> None:
    """The pause after a system error is cut short where a limit passes."""
    lab = lab_of(ValueError("x"))
    action = lab.submit(TYPE, metadata=limited(overall=timedelta(seconds=4)))
    assert lab.reconcile(action) == Result(4000)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R34")
def test_the_overall_limit_holds_during_a_back_off() -> None:
    """The overall limit ends an action that waits for its next attempt."""
    lab = lab_of(retryable_failure("E", "x"))
    action = lab.submit(TYPE, metadata=limited(retries=1, overall=timedelta(seconds=20)))
    assert lab.reconcile(action) == Result(20_000)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT
    assert lab.journal.words.count("handle") == 1


@pytest.mark.rule("R34")
def test_each_attempt_has_its_own_running_time() -> None:
    """The record still knows the start of the failed attempt; the next one is not measured by it."""
    status = ActionStatus(attempts=2, attempt_at=MINUTE)
    old = AttemptRecord(launch="1", owner="w", started_at=1)
    found = record(
        status=status, attempt=old, metadata=Metadata(namespace="flyte", name="n", creation_timestamp=1)
    )
    assert expired(found, Timeouts(running=ONE), 2 * MINUTE) is None
    found.attempt = AttemptRecord(launch="2", owner="w", started_at=1)
    error = expired(found, Timeouts(running=ONE), 2 * MINUTE)
    assert error is not None
    assert error.code == "RunningTimedOut"


@pytest.mark.rule("R34")
def test_time_spent_running_is_no_time_in_the_queue() -> None:
    """A relaunch after a lost worker waits anew: how long the lost launch ran does not count as waiting."""
    at = 1_700_000_000_000
    lab = lab_of(
        running(0, requeue_at=at + 10 * MINUTE), LOST, running(0, requeue_at=at + 11 * MINUTE), success()
    )
    action = lab.submit(TYPE, metadata=limited(queued=ONE))
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R34")
def test_a_launch_that_never_ran_goes_on_waiting() -> None:
    """Relaunching what never ran does not start the queue's clock again."""
    lab = lab_of(*[queued(0, 0, "sent"), LOST] * 9)
    action = lab.submit(TYPE, metadata=limited(queued=timedelta(seconds=25)))
    lab.settle()
    assert phases(lab, action)[-1] == ("timed_out", 1, True)


@pytest.mark.rule("R34")
def test_a_back_off_is_no_waiting_in_the_queue() -> None:
    """The queue's clock of a retried attempt starts when its back-off ends."""
    found = record(status=ActionStatus(attempts=2, attempt_at=MINUTE, not_before=3 * MINUTE))
    assert next_deadline(found, Timeouts(queued=ONE)) == 4 * MINUTE


@pytest.mark.rule("R34")
def test_no_limit_is_no_deadline() -> None:
    """A template without limits, and no template, have no deadline."""
    assert limits_of(None) is NO_LIMITS
    assert next_deadline(record(), NO_LIMITS) == 0
    assert next_deadline(record(), msgspec.structs.replace(NO_LIMITS)) == 0
    assert expired(record(), NO_LIMITS, 1) is None


@pytest.mark.rule("R13")
def test_a_plugins_fast_clock_stretches_no_limit() -> None:
    """A plugin that says it runs from tomorrow on gets its running limit from now on, by the clock of the store."""
    lab = lab_of(lambda ctx: Transition(running(0, TaskInfo(occurred_at=ctx.now + 86_400_000))))
    action = lab.submit(TYPE, metadata=limited(running=ONE))
    began = lab.clock()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT
    assert lab.clock() - began == 60_000
