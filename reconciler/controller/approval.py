"""The condition path: an action that waits for a person's signal (R53). No plugin, no finalizer, no output files."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.action import DONE, Result, TaskAction
from reconciler.api.approval import ConditionSpec
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.reading import read_json
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState, Reason
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo
from reconciler.controller import webhook
from reconciler.controller.round import Round
from reconciler.core.status_conditions import action_phase, append_history, set_condition
from reconciler.core.times import span

CONDITION_TIMED_OUT = "ConditionTimedOut"


def reconcile(round: Round) -> Result:
    """Move a condition one step. A stored signal wins over an expired deadline and over a malformed spec."""
    action = round.record
    if action.signal is not None:
        return _signalled(round, action.signal.by)
    try:
        spec = _spec(action)
    except ValueError as error:
        _conditions(round, ConditionType.FAILED, Reason.INVALID_SPEC, str(error))
        return _fail(round, Reason.INVALID_SPEC, str(error))
    deadline = deadline_of(action, spec)
    if deadline and round.now >= deadline:
        return _timed_out(round)
    if action_phase(action.status) is not ActionPhase.PAUSED:
        _pause(round, spec)
    elif webhook.owes_call(action, round.now):
        news = webhook.call(round, spec, deadline)
        if news:
            _publish(round, PhaseInfo(phase=PluginPhase.UNDEFINED, reason=news), final=False)
    times = [at for at in (deadline, action.status.webhook_due) if at]
    return Result(max(0, min(times) - round.now)) if times else DONE


def _pause(round: Round, spec: ConditionSpec) -> None:
    """Wait from now on. A later round calls the webhook, so that whoever answers at once finds the condition paused."""
    text, now, record = "waiting for signal", round.now, round.record
    progressing = ConditionType.PROGRESSING
    status = set_condition(record.status, progressing, ConditionStatus.TRUE, Reason.PAUSED, text, now)
    record.status = append_history(status, Reason.PAUSED, text, now)
    record.set_status(webhook_due=now if spec.webhook else 0)
    _publish(round, PhaseInfo(phase=PluginPhase.UNDEFINED, reason=text), final=False)


def _signalled(round: Round, by: str) -> Result:
    text = f'condition signalled by "{by}"'
    _conditions(round, ConditionType.SUCCEEDED, Reason.SIGNALED, text)
    round.record.status = append_history(round.record.status, Reason.SIGNALED, text, round.now)
    return _end(round, PhaseInfo(phase=PluginPhase.SUCCESS, reason=text), actor=by)


def _timed_out(round: Round) -> Result:
    text = f"condition timed out after {_age(round.record, round.now)} without a signal"
    _conditions(round, ConditionType.FAILED, Reason.TIMED_OUT, text)
    round.record.status = append_history(round.record.status, Reason.TIMED_OUT, text, round.now)
    return _fail(round, CONDITION_TIMED_OUT, text)


def _fail(round: Round, code: str, text: str) -> Result:
    round.record.set_status(error_state=ErrorState(code, "USER", text))
    error = ExecutionError(code, text, ErrorKind.USER)
    return _end(round, PhaseInfo(phase=PluginPhase.PERMANENT_FAILURE, err=error, reason=text))


def _conditions(round: Round, kind: ConditionType, reason: Reason, text: str) -> None:
    now, progressing = round.now, ConditionType.PROGRESSING
    status = set_condition(round.record.status, progressing, ConditionStatus.FALSE, reason, text, now)
    round.record.status = set_condition(status, kind, ConditionStatus.TRUE, reason, text, now)


def _end(round: Round, info: PhaseInfo, *, actor: str = "") -> Result:
    round.record.set_status(webhook_due=0)
    _publish(round, info, final=True, actor=actor)
    return round.end()


def _publish(round: Round, info: PhaseInfo, *, final: bool, actor: str = "") -> None:
    """Publish the event of a condition: it announces itself like any other action (R53), in the phase of its status."""
    round.publish(info, final=final, actor=actor, phase=action_phase(round.record.status))


def _spec(action: TaskAction) -> ConditionSpec:
    if not action.spec.condition_spec:
        raise ValueError(f'condition action "{action.id.action}" has empty conditionSpec')
    try:
        return read_json(action.spec.condition_spec, ConditionSpec)
    except msgspec.DecodeError as error:
        raise ValueError(f"failed to unmarshal conditionSpec: {error}") from error


def deadline_of(action: TaskAction, spec: ConditionSpec) -> int:
    """Return when the condition times out, ms; 0 = never."""
    if spec.timeout is None or spec.timeout <= timedelta(0):
        return 0
    return action.metadata.may_begin_at + int(spec.timeout.total_seconds() * 1000)


def _age(action: TaskAction, now: int) -> str:
    return span(round((now - action.metadata.may_begin_at) / 1000) * 1000)
