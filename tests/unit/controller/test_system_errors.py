"""Errors of the platform: their own budget, never a user's attempt (R6, R26, R27, R28, R29, R31, R33)."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from control_support import MINUTE, REQUEUE, TYPE, lab_of, phases, retries

from reconciler.api.action import DONE, Result
from reconciler.api.errors import BadTaskSpecification, BlobUnavailable, CorruptedPluginState, PluginError
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.transition import (
    ExecutionError,
    failed,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
    system_retryable_failure,
)
from reconciler.controller.failures import SystemRetryableFailure
from reconciler.core.retries import causes, non_retryable_code, system_delay
from reconciler.plugins.base import StillStopping
from reconciler.testing import Lab, ScriptedPlugin

LOST = system_retryable_failure("WorkerLost", "gone")


class MetadataTooLarge(PluginError):
    """A code of the list."""

    code = "MetadataTooLarge"


def wrapped(depth: int) -> Exception:
    """Return a non-retryable error, wrapped so many times."""
    error: Exception = BadTaskSpecification("no image")
    for level in range(depth):
        outer = RuntimeError(f"level {level}")
        outer.__cause__ = error
        error = outer
    return error


# -- what is one (R26) -----------------------------------------------------------------------------------------
@pytest.mark.rule("R26")
@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (ValueError("x"), True),
        (LOST, True),
        (retryable_failure("E", "x"), False),
        (failed(PluginPhase.RETRYABLE_FAILURE, ExecutionError("E", "x")), False),
        (failed(PluginPhase.RETRYABLE_FAILURE, None), False),
        (system_failure("E", "x"), False),
    ],
    ids=["raised", "system retryable", "user", "unknown kind", "no error", "system permanent"],
)
def test_what_counts_as_a_system_error(answer: Any, counted: bool) -> None:  # noqa: FBT001  # a table
    """A raised error and a retryable failure of kind SYSTEM spend the system budget; nothing else does."""
    lab = lab_of(answer)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.get(action).status.total_system_failures == int(counted)


# -- recording (R27) -------------------------------------------------------------------------------------------
@pytest.mark.rule("R27")
def test_a_system_error_is_audited() -> None:
    """Operators see plugin and error."""
    lab = lab_of(ValueError("boom"))
    lab.reconcile(lab.submit(TYPE))
    (entry,) = lab.audit()
    assert (entry.type, entry.reason, entry.action) == ("Warning", "FailedPluginHandle", "HandlingPlugin")
    assert entry.message == 'Plugin "demo" system error: boom'


@pytest.mark.rule("R27")
def test_a_system_error_below_the_budget_changes_only_its_counters() -> None:
    """No event, no attempt, no condition, no phase: only the counts are stored."""
    lab = lab_of(ValueError("boom"))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.system_failures, status.total_system_failures) == (1, 1)
    assert (status.attempts, status.plugin_phase, status.conditions, status.phase_history) == (0, "", (), ())
    assert lab.get(action).state_json == ""
    assert phases(lab, action) == [("queued", 1, False)]


@pytest.mark.rule("R27")
def test_the_failure_after_the_budget_is_fatal() -> None:
    """With the default budget of 3 the fourth consecutive failure ends the action, by the system's fault."""
    lab = lab_of(ValueError("boom"))
    action = lab.submit(TYPE)
    results = [lab.reconcile(action) for _ in range(4)]
    assert [r == DONE for r in results] == [False, False, False, True]
    found = lab.get(action)
    error = found.status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("MaxSystemFailuresExceeded", "SYSTEM")
    assert error.message == 'plugin "demo" failed with system error 4 times: boom'
    assert found.status.system_failures == 4
    assert phases(lab, action)[-1] == ("failed", 1, True)


@pytest.mark.rule("R27", "R8")
@pytest.mark.parametrize(("configured", "rounds"), [(0, 4), (1, 2), (5, 6)])
def test_the_budget_is_configurable(configured: int, rounds: int) -> None:
    """The failure number max + 1 is fatal; 0 means 3."""
    lab = lab_of(ValueError("boom"), settings={"max_system_failures": configured})
    lab.submit(TYPE)
    lab.settle()
    assert lab.journal.words.count("handle!") == rounds


@pytest.mark.rule("R27")
def test_user_attempts_are_never_consumed() -> None:
    """System errors leave the attempt number alone, whatever retries the task has."""
    lab = lab_of(LOST, LOST, running(0), success())
    action = lab.submit(TYPE, metadata=retries(2))
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).status.attempts == 1


@pytest.mark.rule("R27")
def test_no_recorder_is_needed() -> None:
    """Without an audit sink the failure is counted all the same."""
    lab = lab_of(ValueError("boom"))
    lab.reconciler.recorder = None
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(REQUEUE)
    assert lab.get(action).status.system_failures == 1


@pytest.mark.rule("R1")
def test_a_failing_recorder_affects_nothing() -> None:
    """An audit sink that raises anything does not change the round."""

    class Broken:
        def event(self, entry: Any) -> None:
            raise RuntimeError(f"disk full, cannot keep {entry.reason}")

    lab = lab_of(ValueError("boom"))
    lab.reconciler.recorder = Broken()
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(REQUEUE)
    assert lab.get(action).status.system_failures == 1


@pytest.mark.rule("R15")
def test_a_huge_error_is_cut_for_the_audit_too() -> None:
    """A megabyte of error text is not kept a thousand times."""
    lab = lab_of(ValueError("x" * 1_000_000))
    lab.reconcile(lab.submit(TYPE))
    assert len(lab.audit()[0].message) <= 4096


@pytest.mark.rule("R6")
def test_every_failure_is_counted_in_the_store() -> None:
    """Each count reaches the record under the claim, also when a change of others falls between."""
    lab = lab_of(ValueError("boom"))
    action = lab.submit(TYPE)
    for expected in (1, 2, 3):
        lab.store.wake([action])
        lab.reconcile(action)
        assert lab.get(action).status.system_failures == expected


# -- codes no retry can help (R28) -----------------------------------------------------------------------------
@pytest.mark.rule("R28")
@pytest.mark.parametrize(
    ("error", "code", "kind", "text"),
    [
        (BadTaskSpecification("no image"), "BadTaskSpecification", "USER", "no image"),
        (MetadataTooLarge("huge"), "MetadataTooLarge", "USER", "huge"),
        (CorruptedPluginState("bad bytes"), "CorruptedPluginState", "SYSTEM", "bad bytes"),
        (wrapped(1), "BadTaskSpecification", "USER", "level 0"),
        (wrapped(5), "BadTaskSpecification", "USER", "level 4"),
    ],
    ids=["spec", "metadata", "state", "wrapped", "wrapped deep"],
)
def test_what_no_retry_can_help_ends_at_once(error: Exception, code: str, kind: str, text: str) -> None:
    """A listed code anywhere in the cause chain fails the action at once, uncounted.

    By the user's fault; a corrupted state is the platform's.
    """
    lab = lab_of(error)
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == DONE
    status = lab.get(action).status
    assert status.error_state is not None
    assert (status.error_state.code, status.error_state.kind, status.error_state.message) == (
        code,
        kind,
        text,
    )
    assert status.system_failures == 0
    assert lab.audit() == []


@pytest.mark.rule("R28")
@pytest.mark.parametrize("answer", [system_retryable_failure, retryable_failure])
def test_a_listed_code_matches_as_a_phase_too(answer: Any) -> None:
    """A failure phase with a listed code is never retried, whatever budget is left."""
    lab = lab_of(answer("CorruptedPluginState", "bad bytes"))
    action = lab.submit(TYPE, metadata=retries(5))
    assert lab.reconcile(action) == DONE
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("CorruptedPluginState", "SYSTEM")
    assert "bad bytes" in error.message


def raised_while_handling(*, cut: bool) -> RuntimeError:
    """Return an error raised while a non-retryable one was handled; `cut` as by `from None`."""
    error = RuntimeError("outer")
    error.__context__ = BadTaskSpecification("inner")
    error.__suppress_context__ = cut
    return error


@pytest.mark.rule("R28")
@pytest.mark.parametrize(("cut", "code"), [(True, ""), (False, "BadTaskSpecification")])
def test_a_chain_that_was_cut_is_not_searched(cut: bool, code: str) -> None:  # noqa: FBT001  # a table
    """`raise … from None` says that the earlier error is not the cause; without it the earlier one is searched."""
    assert non_retryable_code(raised_while_handling(cut=cut)) == code


@pytest.mark.rule("R28")
def test_a_circle_of_causes_ends() -> None:
    """Two errors that name each other as cause are each looked at once."""
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]


@pytest.mark.rule("R26")
def test_the_text_of_a_reported_system_failure() -> None:
    """A reported failure is recorded as `[code] message`, or by name when it has no error."""
    assert str(SystemRetryableFailure(LOST.err)) == "[WorkerLost] gone"
    assert str(SystemRetryableFailure(None)) == "system retryable failure"
    assert SystemRetryableFailure(LOST.err).error_code == "WorkerLost"


# -- resetting (R29) -------------------------------------------------------------------------------------------
@pytest.mark.rule("R29")
def test_a_relaunch_shares_no_name_and_no_path() -> None:
    """After a system failure the same attempt is launched under another name, path and fencing token."""
    lab = lab_of(LOST, running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    first, second = lab.plugin.handled  # type: ignore[attr-defined]  # see lab_of
    assert (second.attempt_number, second.launch) == (1, "1-1")
    assert second.generated_name.startswith(f"{first.action.metadata.name}-0-1-")
    assert second.files.outputs_uri != f"s3://{first.action.spec.run_output_base}/a0/1/outputs.pb"
    assert second.files.outputs_uri.endswith("/a0/1-1/outputs.pb")


@pytest.mark.rule("R31")
def test_nothing_is_forgotten_before_the_abort_succeeded() -> None:
    """While abort fails the launch keeps its number and the failure is not counted yet."""
    lab = lab_of(LOST, on_abort=[OSError("busy"), None])
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(REQUEUE)
    status = lab.get(action).status
    assert (status.launches, status.system_failures, status.cleanup_tries) == (0, 0, 1)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.launches, status.system_failures, status.cleanup_tries) == (1, 1, 0)


@pytest.mark.rule("R31")
def test_an_abort_that_never_succeeds_holds_nothing_up_for_ever() -> None:
    """After the last try the clean-up is given up, said so, finalize is still called, and the action goes on."""
    lab = lab_of(LOST, LOST, success(), on_abort=[OSError("busy")], settings={"max_cleanup_tries": 2})
    action = lab.submit(TYPE)
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.SUCCEEDED
    assert "OSError: busy" in found.status.cleanup_error
    assert [e.reason for e in lab.audit()].count("CleanupFailed") == 1
    words = lab.journal.words
    assert words.index("finalize") == words.index("abort!", words.index("abort!") + 1) + 1


@pytest.mark.rule("R31")
def test_a_finalize_that_fails_too_is_given_up_with_it() -> None:
    """When neither abort nor finalize can succeed the action ends all the same."""
    broken = OSError("busy")
    lab = lab_of(LOST, success(), on_abort=[broken], on_finalize=[broken], settings={"max_cleanup_tries": 1})
    action = lab.submit(TYPE)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).metadata.finalizers == ()


@pytest.mark.rule("R29")
def test_an_abort_that_still_stops_is_asked_again_at_its_time() -> None:
    """An attempt that needs time to stop costs no try; the round comes back when it said."""
    lab = lab_of(LOST, on_abort=[StillStopping(1_700_000_000_000 + 500), None])
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(500)
    assert lab.get(action).status.cleanup_tries == 0
    lab.clock.advance(500)
    lab.reconcile(action)
    assert lab.get(action).status.launches == 1


@pytest.mark.rule("R29")
def test_a_stop_without_a_time_is_still_waited_for() -> None:
    """An abort that says "still stopping" without a time is not taken for done."""
    lab = lab_of(LOST, on_abort=[StillStopping(0), None])
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(500), "not in a hot loop either"
    assert lab.get(action).status.launches == 0


# -- forgiving (R27) -------------------------------------------------------------------------------------
@pytest.mark.rule("R27")
def test_a_relaunch_forgives_nothing() -> None:
    """Failures with nothing but a relaunch between them are consecutive: they use up the budget."""
    lab = lab_of(*[queued(0, 0, "again"), LOST] * 10)
    action = lab.submit(TYPE)
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.FAILED
    assert found.status.system_failures == 4


@pytest.mark.rule("R27")
@pytest.mark.parametrize(("after", "failures"), [(MINUTE - 1, 1), (MINUTE, 0)])
def test_sustained_running_forgives(after: int, failures: int) -> None:
    """A minute of running clears the consecutive count, less does not; the total stays."""
    lab = lab_of(LOST, running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    lab.clock.advance(after)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.system_failures, status.total_system_failures) == (failures, 1)


@pytest.mark.rule("R27")
def test_success_forgives() -> None:
    """An action that succeeds in the end has no consecutive failures."""
    lab = lab_of(LOST, success())
    action = lab.submit(TYPE)
    lab.settle()
    assert lab.get(action).status.system_failures == 0


@pytest.mark.rule("R27")
def test_the_total_is_capped() -> None:
    """Failing once an hour for ever ends too: the total over the life of the action has its own cap."""
    hour = 60 * MINUTE
    lab = lab_of(
        *[lambda ctx: running(0, requeue_at=ctx.now + hour), running(0, requeue_at=1), LOST] * 30,
        settings={"max_total_system_failures": 5},
    )
    action = lab.submit(TYPE)
    for _ in range(60):
        if lab.reconcile(action) == DONE:
            break
        lab.clock.advance(hour)
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.message == 'plugin "demo" failed with system error 6 times: [WorkerLost] gone'
    assert lab.get(action).status.system_failures == 1


# -- back-off (R30) -------------------------------------------------------------------------------------------------
@pytest.mark.rule("R30")
def test_the_first_failure_waits_exactly_the_requeue_duration() -> None:
    """One failure is no reason to wait longer."""
    assert system_delay(REQUEUE, 1, random.Random(1)) == REQUEUE


@pytest.mark.rule("R30")
@pytest.mark.parametrize(("failures", "base"), [(2, 20_000), (3, 40_000), (6, 300_000), (1000, 300_000)])
def test_further_failures_back_off_with_jitter(failures: int, base: int) -> None:
    """Each further failure doubles the wait up to 5 minutes, and up to a tenth is added at random."""
    rng = random.Random(7)
    delays = {system_delay(REQUEUE, failures, rng) for _ in range(50)}
    assert min(delays) >= base
    assert max(delays) <= base * 1.1
    assert len(delays) > 40


@pytest.mark.rule("R27")
def test_a_plugin_may_say_when_to_try_again() -> None:
    """A reported failure that names a time is tried again then, without back-off."""
    lab = lab_of(msgspec.structs.replace(LOST, requeue_at=1_700_000_000_000 + 300))
    assert lab.reconcile(lab.submit(TYPE)) == Result(300)


@pytest.mark.rule("R25")
def test_an_outage_spends_no_budget() -> None:
    """An hour in which a server does not answer ends no action; when it is back the action goes on."""
    outage = BlobUnavailable("S3 does not answer")
    plugin = ScriptedPlugin("task", *[outage] * 300, success())
    lab = Lab([plugin])
    action = lab.submit("task")
    lab.settle(timedelta(minutes=45))
    waiting = lab.get(action)
    assert (waiting.phase, waiting.status.system_failures) == (ActionPhase.QUEUED, 0)
    assert any("S3 does not answer" in entry.message for entry in lab.audit())
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
