"""The task path: validate, prepare, ask cache and plugin, and write what they say (R22)."""

from __future__ import annotations

import msgspec

from reconciler.api.action import Result
from reconciler.api.errors import ReconcilerError
from reconciler.api.phase import PluginPhase
from reconciler.api.status_conditions import Reason
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, Transition
from reconciler.controller import attempts, cache, cleanup, ending, failures, outcome
from reconciler.controller.limits import overdue, time_out, until
from reconciler.controller.overruns import RoundsAbandoned, check_rounds
from reconciler.controller.round import Round
from reconciler.core.plugin_results import check_types
from reconciler.core.validation import missing_fields, place_problems
from reconciler.plugins.registry import PluginNotFound


class UndefinedPhase(ReconcilerError):
    """A plugin answered without a phase (R20)."""


def reconcile(round: Round) -> Result:
    """Move a task one step."""
    problem = resolve(round)
    if problem is not None:
        return _reject(round, problem)
    try:
        check_rounds(round.record, round.deps.settings.step_lease)
    except RoundsAbandoned as error:
        return failures.abandoned(round, error)
    status = round.record.status
    if status.not_before > round.now:
        return _wait_out(round, status.not_before)
    try:
        round.open_context()
        hit = cache.before(round, running=status.plugin_phase == PluginPhase.RUNNING.label)
    except Exception as error:  # noqa: BLE001  # any failure of preparation is counted (R25)
        return failures.preparing(round, error)
    return _ask(round) if hit is None else _conclude(round, hit.info, asked=False)


def resolve(round: Round) -> ExecutionError | None:
    """Find the plugin of the action; return why it cannot run, if it cannot (R23)."""
    spec = round.record.spec
    text = missing_fields(spec) or "; ".join(place_problems(spec))
    if text:
        return ExecutionError(Reason.INVALID_SPEC, text, ErrorKind.USER)
    try:
        round.plugin = round.deps.plugin_registry.resolve(spec.task_type)
    except PluginNotFound as error:
        text = f'no plugin found for task type "{spec.task_type}": {error}'
        return ExecutionError(Reason.PLUGIN_NOT_FOUND, text, ErrorKind.USER)
    return None


def _reject(round: Round, problem: ExecutionError) -> Result:
    """End a rejected action like any other failed one: event, error state, labels (R23)."""
    missing = problem.code == Reason.PLUGIN_NOT_FOUND
    reason = "FailedPluginResolve" if missing else "FailedValidation"
    round.audit(reason, "ValidatingTaskAction", problem.message)
    round.drop_finalizer()
    return ending.fail(round, problem)


def _wait_out(round: Round, until_then: int) -> Result:
    """Check only the time limits, because a back-off is not over (R33)."""
    passed = overdue(round)
    if passed is None:
        return until(round, until_then)
    round.open_context()
    return time_out(round, passed)


def _ask(round: Round) -> Result:
    """Ask the plugin, and the cache after it."""
    passed = None if round.record.status.launched else overdue(round)
    if passed is not None:
        return time_out(round, passed)
    try:
        transition = _checked(round.plugin.handle(round.context), round.now)
    except Exception as error:  # noqa: BLE001  # whatever a plugin raises is a system error (R26)
        passed = overdue(round)
        return attempts.limit_passed(round, passed) if passed else failures.handling(round, error)
    try:
        transition = cache.after(round, transition)
    except Exception as error:  # noqa: BLE001  # as for the cache before
        return failures.preparing(round, error)
    return _conclude(round, transition.info, asked=True)


def _conclude(round: Round, info: PhaseInfo, *, asked: bool) -> Result:
    """Pass the phase of this round to the function that writes it."""
    if info.phase is PluginPhase.RETRYABLE_FAILURE:
        return attempts.fail(round, info)
    if info.phase is PluginPhase.PERMANENT_FAILURE and info.cleanup_on_failure:
        wait = cleanup.stop(round)
        if wait:
            return round.later(wait)
    if not info.phase.is_terminal():
        passed = overdue(round)
        if passed is not None:
            return attempts.limit_passed(round, passed)
    return outcome.store(round, info, asked=asked)


def _checked(transition: object, now: int) -> Transition:
    """Return a plugin's transition if it says something (R20). A phase without a time happened now (R17).

    Raises:
        UndefinedPhase: it is no transition, or its phase is undefined.
    """
    if not isinstance(transition, Transition):
        raise UndefinedPhase(f"handle must return a Transition, got {type(transition).__name__}")
    if transition.info.phase is PluginPhase.UNDEFINED:
        raise UndefinedPhase("handle returned an undefined phase without an error")
    check_types(transition.info)
    details = transition.info.info
    if details is None or details.occurred_at:
        return transition
    details = msgspec.structs.replace(details, occurred_at=now)
    return Transition(msgspec.structs.replace(transition.info, info=details), transition.type)
