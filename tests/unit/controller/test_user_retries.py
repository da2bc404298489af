"""Retries in place after a failure of the user's code (R31, R32, R33, R35, R37)."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from control_support import REQUEUE, TYPE, condition, history, lab_of, phases, retries

from reconciler.api.action import DONE, Result
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate
from reconciler.api.transition import (
    CacheStatus,
    ErrorKind,
    ExecutionError,
    ExternalResource,
    TaskInfo,
    failed,
    failure,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.client.waiting import ended_error
from reconciler.core.retries import attempt_delay, max_attempts, retry_strategy

BOOM = retryable_failure("E", "boom")


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    ("template", "attempts"),
    [
        (None, 1),
        (TaskTemplate(), 1),
        (TaskTemplate(metadata=TaskMetadata()), 1),
        (TaskTemplate(metadata=retries(2)), 3),
        (TaskTemplate(metadata=retries(-1)), 1),
        (TaskTemplate(metadata=retries(10**9)), 1001),
    ],
)
def test_attempts_are_retries_and_one(template: TaskTemplate | None, attempts: int) -> None:
    """Without template, metadata or retries there is one attempt; a senseless number is bounded."""
    assert max_attempts(template) == attempts


@pytest.mark.rule("R31")
def test_an_unreadable_template_means_one_attempt() -> None:
    """A template that cannot be parsed allows no retry."""
    lab = lab_of(BOOM)
    action = lab.submit(TYPE, task_template=b"{no json")
    assert lab.reconcile(action) == DONE
    assert lab.get(action).phase is ActionPhase.FAILED


@pytest.mark.rule("R31")
def test_a_restart_leaves_the_record_of_a_fresh_attempt() -> None:
    """After a restart the store says Queued / restarting task, next attempt, empty state, cache status disabled."""

    def fail(ctx: Any) -> Any:
        ctx.state.put(2, {"x": 1})
        resource = ExternalResource(cache_status=CacheStatus.MISS)
        return retryable_failure("E", "boom", TaskInfo(external_resources=(resource,)))

    lab = lab_of(fail)
    action = lab.submit(TYPE, metadata=retries(1))
    assert lab.reconcile(action) == Result(REQUEUE, woken=True)
    found = lab.get(action)
    status = found.status
    progressing = condition(found, ConditionType.PROGRESSING)
    assert (progressing.status, progressing.reason) == (ConditionStatus.TRUE, "Queued")
    assert progressing.message == "restarting task"
    assert history(found) == ["RetryableFailure", "Queued"]
    assert (status.plugin_phase, status.plugin_phase_version, status.attempts) == ("PhaseQueued", 0, 2)
    assert (status.plugin_state, status.plugin_state_version) == (b"", 0)
    assert status.cache_status is CacheStatus.DISABLED
    assert (status.launches, status.launched, status.running_at) == (0, False, 0)
    assert found.phase is ActionPhase.QUEUED


@pytest.mark.rule("R32")
def test_the_failed_attempt_has_an_event_of_its_own() -> None:
    """FAILED of attempt 1 with its error, not final, then QUEUED of attempt 2, in one commit and this order."""
    lab = lab_of(running(0), BOOM, success())
    action = lab.submit(TYPE, metadata=retries(1))
    lab.settle()
    assert phases(lab, action) == [
        ("queued", 1, False),
        ("running", 1, False),
        ("failed", 1, False),
        ("queued", 2, False),
        ("succeeded", 2, True),
    ]
    events = lab.events(action)
    assert [e.sequence for e in events] == [1, 2, 3, 4, 5]
    error = events[2].error_info
    assert error is not None
    assert (error.message, error.code, error.kind) == ("boom", "E", "KIND_USER")
    assert events[2].output_prefix.endswith("/a0/1")


@pytest.mark.rule("R32")
def test_the_error_of_the_failed_attempt_is_kept() -> None:
    """While the next attempt waits, the record says why the last one failed."""
    lab = lab_of(BOOM)
    action = lab.submit(TYPE, metadata=retries(1))
    lab.reconcile(action)
    assert lab.get(action).status.error_state == ErrorState("E", "USER", "boom")


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    "error",
    [None, ExecutionError("E", "x"), ExecutionError("E", "x", ErrorKind.USER)],
    ids=["none", "unknown", "user"],
)
def test_any_failure_but_a_system_one_spends_a_retry(error: ExecutionError | None) -> None:
    """Kind USER, unknown kind and no error at all go to the next attempt."""
    lab = lab_of(failed(PluginPhase.RETRYABLE_FAILURE, error), success())
    action = lab.submit(TYPE, metadata=retries(1))
    lab.settle()
    assert (lab.get(action).phase, lab.get(action).status.attempts) == (ActionPhase.SUCCEEDED, 2)


@pytest.mark.rule("R31")
def test_the_last_attempt_fails_with_its_own_error() -> None:
    """When the retries are used up the action fails with the error the plugin reported; attempts stays."""
    lab = lab_of(BOOM, retryable_failure("F", "boom again"))
    action = lab.submit(TYPE, metadata=retries(1))
    lab.settle()
    found = lab.get(action)
    assert found.status.error_state == ErrorState("F", "USER", "boom again")
    assert (found.status.attempts, found.status.plugin_phase) == (2, "PhasePermanentFailure")
    assert phases(lab, action)[-1] == ("failed", 2, True)


@pytest.mark.rule("R31")
def test_exhausted_retries_without_an_error_get_one() -> None:
    """Without an error of the plugin the code is MaxRetriesExceeded, by the user's fault."""
    lab = lab_of(failed(PluginPhase.RETRYABLE_FAILURE, None))
    action = lab.submit(TYPE, metadata=retries(2))
    lab.settle()
    text = "task failed after 3 attempts"
    assert lab.get(action).status.error_state == ErrorState("MaxRetriesExceeded", "USER", text)


@pytest.mark.rule("R31")
def test_a_permanent_failure_is_never_retried() -> None:
    """Whatever retries are left, a permanent failure ends the action in its first attempt."""
    lab = lab_of(failure("E", "no"))
    action = lab.submit(TYPE, metadata=retries(5))
    lab.settle()
    assert (lab.get(action).phase, lab.get(action).status.attempts) == (ActionPhase.FAILED, 1)


@pytest.mark.rule("R37")
def test_every_attempt_is_finalized() -> None:
    """Between two attempts the plugin is aborted and finalized, and once more after the end."""
    lab = lab_of(BOOM, success())
    lab.submit(TYPE, metadata=retries(1))
    lab.settle()
    calls = [entry.what for entry in lab.journal.of("handle", "abort", "finalize")]
    assert calls == ["handle", "abort", "finalize", "handle", "finalize"]


@pytest.mark.rule("R31")
def test_no_restart_before_the_old_attempt_is_stopped() -> None:
    """A failing abort is tried again with the attempt number unchanged and nothing published."""
    lab = lab_of(BOOM, on_abort=[OSError("busy"), OSError("busy"), None])
    action = lab.submit(TYPE, metadata=retries(1))
    assert lab.reconcile(action) == Result(REQUEUE)
    assert (lab.get(action).status.attempts, lab.get(action).status.cleanup_tries) == (0, 1)
    assert phases(lab, action) == [("queued", 1, False)]
    again = lab.reconcile(action).requeue_after
    assert again is not None
    assert 2 * REQUEUE <= again <= 2.2 * REQUEUE
    lab.reconcile(action)
    assert (lab.get(action).status.attempts, lab.get(action).status.cleanup_tries) == (2, 0)


@pytest.mark.rule("R35")
@pytest.mark.parametrize("cleanup", [True, False])
def test_the_clean_up_flag_outlives_the_last_retry(cleanup: bool) -> None:  # noqa: FBT001  # a table
    """A retryable failure that becomes permanent still stops its resource when it asked for that."""
    lab = lab_of(retryable_failure("E", "x", cleanup=cleanup))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.FAILED
    assert ("abort" in lab.journal.words) is cleanup


@pytest.mark.rule("R31")
def test_a_retry_starts_the_count_in_a_row_anew() -> None:
    """An attempt that reached the user's code ends a row of system failures; those of its life are remembered."""
    lab = lab_of(system_retryable_failure("Gone", "x"), BOOM, running(0))
    action = lab.submit(TYPE, metadata=retries(1))
    for _ in range(3):
        lab.reconcile(action)
    status = lab.get(action).status
    assert (status.system_failures, status.total_system_failures) == (0, 1)


@pytest.mark.rule("R31", "R27")
def test_retries_do_not_stretch_the_budget_of_a_life() -> None:
    """However many retries a task has, its system failures together stay bounded."""
    lost = system_retryable_failure("Gone", "x")
    lab = lab_of(*([lost, lost, BOOM] * 30), settings={"max_total_system_failures": 6})
    action = lab.submit(TYPE, metadata=retries(100))
    lab.settle()
    status = lab.get(action).status
    assert status.error_state is not None
    assert status.error_state.code == "MaxSystemFailuresExceeded"
    assert (status.attempts, status.total_system_failures) == (4, 7)


@pytest.mark.rule("R31")
def test_the_next_attempt_has_names_and_paths_of_its_own() -> None:
    """Attempt 2 runs as retry 1 under its own output folder; relaunches of attempt 1 are not carried over."""
    lab = lab_of(system_retryable_failure("Gone", "x"), BOOM, running(0))
    action = lab.submit(TYPE, metadata=retries(1))
    for _ in range(3):
        lab.reconcile(action)
    ctx = lab.plugin.handled[-1]  # type: ignore[attr-defined]  # see lab_of
    assert (ctx.attempt_number, ctx.launch, ctx.generated_name.rpartition("-")[0]) == (
        2,
        "2",
        f"{action.run}-a0-1",
    )
    assert ctx.files.outputs_uri.endswith("/a0/2/outputs.pb")


@pytest.mark.rule("R66")
def test_an_attempt_is_offered_what_the_one_before_kept() -> None:
    """The previous checkpoints are those of the last launch of the attempt before, however often either was relaunched."""
    offered = {}
    ends = iter((system_retryable_failure("Gone", "x"), BOOM, system_retryable_failure("Gone", "x"), BOOM))

    def fail(ctx: Any) -> Any:
        launch = ctx.files.prefix.partition("/a0/")[2]
        offered[launch] = ctx.previous_checkpoint_prefix.partition("/a0/")[2]
        return next(ends, success())

    lab = lab_of(fail)
    lab.submit(TYPE, metadata=retries(2))
    lab.settle()
    kept = {launch: f"{launch}/_flytecheckpoints" for launch in ("1-1", "2-1")}
    assert offered == {"1": "", "1-1": "", "2": kept["1-1"], "2-1": kept["1-1"], "3": kept["2-1"]}


# -- back-off (R33) -------------------------------------------------------------------------------------------------
@pytest.mark.rule("R33")
def test_the_next_attempt_waits_for_its_back_off() -> None:
    """The plugin is not called before the back-off is over, however often the action is woken."""
    lab = lab_of(BOOM, success())
    action = lab.submit(TYPE, metadata=retries(1, backoff=timedelta(seconds=20)))
    start = lab.clock()
    wait = lab.reconcile(action).requeue_after
    assert wait is not None
    assert 20_000 <= wait <= 22_000
    assert lab.reconcile(action) == Result(wait)
    assert lab.journal.words.count("handle") == 1
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).metadata.completed_at == start + wait


@pytest.mark.rule("R33")
@pytest.mark.parametrize(("failed_attempts", "seconds"), [(1, 10), (2, 20), (3, 40), (10, 60), (10_000, 60)])
def test_the_back_off_grows_up_to_its_limit(failed_attempts: int, seconds: int) -> None:
    """The delay is backoff * factor ** (n - 1), at most the limit, with up to a tenth added at random."""
    strategy = RetryStrategy(backoff=timedelta(seconds=10), max_backoff=timedelta(minutes=1))
    rng = random.Random(3)
    delays = [attempt_delay(strategy, failed_attempts, rng) for _ in range(20)]
    assert all(seconds * 1000 <= delay <= seconds * 1100 for delay in delays)
    assert len(set(delays)) > 1


@pytest.mark.rule("R33")
def test_without_a_back_off_there_is_no_delay() -> None:
    """No strategy and a factor below 1 never shorten or invent a delay."""
    rng = random.Random(3)
    assert attempt_delay(retry_strategy(None), 3, rng) == 0
    assert attempt_delay(RetryStrategy(backoff=timedelta(seconds=1), factor=0.1), 5, rng) >= 1000


@pytest.mark.rule("R60")
def test_the_error_of_an_earlier_attempt_is_not_that_of_the_end() -> None:
    """An end that gives no error of its own shows its own words, not the error of the attempt before."""
    last = failed(PluginPhase.PERMANENT_FAILURE, None).with_reason("gave up")
    lab = lab_of(retryable_failure("A", "first"), last)
    action = lab.submit(TYPE, metadata=retries(1))
    lab.settle()
    error = ended_error(lab.get(action))
    assert error is not None
    assert "gave up" in str(error)
    assert "first" not in str(error)
