"""Conditions: actions that wait for a person's signal (R53). No plugin, no finalizer, no output files."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.action import DONE, Result, TaskAction
from reconciler.api.condition import ConditionSpec
from reconciler.api.conditions import ConditionStatus, ConditionType, ErrorState, Reason
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.reading import read_json
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo
from reconciler.controller.webhook import WebhookSteps
from reconciler.core.conditions import action_phase, append_history, set_condition
from reconciler.core.events import build_event
from reconciler.core.times import span

CONDITION_TIMED_OUT = "ConditionTimedOut"


class ConditionSteps(WebhookSteps):
    """The human-in-the-loop machine: created, paused, then signalled, timed out or aborted."""

    def reconcile_condition(self, action: TaskAction) -> Result:
        """One round of a condition. A stored signal wins over an expired deadline and over a malformed spec."""
        now = self.now(action)
        if action.signal is not None:
            text = f'condition signalled by "{action.signal.by}"'
            self._conditions(action, ConditionType.SUCCEEDED, Reason.SIGNALED, text)
            action.status = append_history(action.status, Reason.SIGNALED, text, now)
            return self._finalize_condition(action, PluginPhase.SUCCESS, text, actor=action.signal.by)
        try:
            spec = _spec(action)
        except ValueError as error:
            self._conditions(action, ConditionType.FAILED, Reason.INVALID_SPEC, str(error))
            return self._fail_condition(action, Reason.INVALID_SPEC, str(error))
        deadline = _deadline(action, spec)
        if deadline and now >= deadline:
            age = round((now - action.metadata.creation_timestamp) / 1000) * 1000
            text = f"condition timed out after {span(age)} without a signal"
            self._conditions(action, ConditionType.FAILED, Reason.TIMED_OUT, text)
            action.status = append_history(action.status, Reason.TIMED_OUT, text, now)
            return self._fail_condition(action, CONDITION_TIMED_OUT, text)
        if action_phase(action.status) is not ActionPhase.PAUSED:
            self._pause(action, spec, now)
        elif self.owes_webhook(action):
            news = self.call_webhook(action, spec, deadline)
            if news:
                self._publish_condition(
                    action, PhaseInfo(phase=PluginPhase.UNDEFINED, reason=news), final=False
                )
        times = [at for at in (deadline, action.status.webhook_due) if at]
        return Result(max(0, min(times) - now)) if times else DONE

    def _pause(self, action: TaskAction, spec: ConditionSpec, now: int) -> None:
        """Wait from now on. The webhook is called by a later round: who answers at once finds it paused."""
        text = "waiting for signal"
        status = set_condition(
            action.status, ConditionType.PROGRESSING, ConditionStatus.TRUE, Reason.PAUSED, text, now
        )
        action.status = append_history(status, Reason.PAUSED, text, now)
        action.set_status(webhook_due=now if spec.webhook else 0)
        self._publish_condition(action, PhaseInfo(phase=PluginPhase.UNDEFINED, reason=text), final=False)

    def _conditions(self, action: TaskAction, kind: ConditionType, reason: Reason, text: str) -> None:
        now = self.now(action)
        status = set_condition(
            action.status, ConditionType.PROGRESSING, ConditionStatus.FALSE, reason, text, now
        )
        action.status = set_condition(status, kind, ConditionStatus.TRUE, reason, text, now)

    def _fail_condition(self, action: TaskAction, code: str, text: str) -> Result:
        action.set_status(error_state=ErrorState(code, "USER", text))
        return self._finalize_condition(action, PluginPhase.PERMANENT_FAILURE, text, code=code)

    def _finalize_condition(
        self, action: TaskAction, phase: PluginPhase, text: str, *, code: str = "", actor: str = ""
    ) -> Result:
        err = ExecutionError(code, text, ErrorKind.USER) if code else None
        action.set_status(webhook_due=0)
        with self.writing(action):
            self._publish_condition(
                action, PhaseInfo(phase=phase, err=err, reason=text), final=True, actor=actor
            )
            self.ensure_terminal_labels(action)
        return DONE

    def _publish_condition(
        self, action: TaskAction, info: PhaseInfo, *, final: bool, actor: str = ""
    ) -> None:
        """Conditions announce themselves like any other action (R53); their phase is that of the status."""
        with self.writing(action) as write:
            event = build_event(action, info, self.now(action), self.settings.cluster, final=final)
            write.events.append(
                msgspec.structs.replace(
                    event,
                    phase=action_phase(action.status),
                    sequence=action.events + len(write.events) + 1,
                    actor=actor,
                )
            )
            write.status = True


def _spec(action: TaskAction) -> ConditionSpec:
    if not action.spec.condition_spec:
        raise ValueError(f'condition action "{action.id.action}" has empty conditionSpec')
    try:
        return read_json(action.spec.condition_spec, ConditionSpec)
    except msgspec.DecodeError as error:
        raise ValueError(f"failed to unmarshal conditionSpec: {error}") from error


def _deadline(action: TaskAction, spec: ConditionSpec) -> int:
    """When the condition times out, ms; 0 = never."""
    if spec.timeout is None or spec.timeout <= timedelta(0):
        return 0
    return action.metadata.creation_timestamp + int(spec.timeout.total_seconds() * 1000)
