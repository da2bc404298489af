"""Conditions: actions that wait for a person's signal (spec 18). No plugin, no finalizer, no output files."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.action import DONE, Result, TaskAction
from reconciler.api.condition import ConditionSpec
from reconciler.api.conditions import ConditionStatus, ConditionType, ErrorState, Reason
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo
from reconciler.controller.ending import EndingSteps
from reconciler.core.conditions import action_phase, append_history, set_condition, status_changed
from reconciler.core.events import build_event

CONDITION_TIMED_OUT = "ConditionTimedOut"


class ConditionSteps(EndingSteps):
    """The human-in-the-loop machine: created, paused, then signalled, timed out or aborted."""

    def reconcile_condition(self, action: TaskAction, original: TaskAction) -> Result:
        """One round of a condition. A stored signal wins over an expired deadline and over a malformed spec."""
        now = self.now(action)
        if action.signal is not None:
            text = f'condition signalled by "{action.signal.by}"'
            self._conditions(action, ConditionType.SUCCEEDED, Reason.SIGNALED, text)
            action.status = append_history(action.status, Reason.SIGNALED, text, now)
            return self._finalize_condition(action, PluginPhase.SUCCESS, text, actor=action.signal.by)
        try:
            deadline = self._deadline(action)
        except ValueError as error:
            self._conditions(action, ConditionType.FAILED, Reason.INVALID_SPEC, str(error))
            return self._fail_condition(action, Reason.INVALID_SPEC, str(error))
        if deadline and now >= deadline:
            age = round((now - action.metadata.creation_timestamp) / 1000)
            text = f"condition timed out after {timedelta(seconds=age)} without a signal"
            self._conditions(action, ConditionType.FAILED, Reason.TIMED_OUT, text)
            action.status = append_history(action.status, Reason.TIMED_OUT, text, now)
            return self._fail_condition(action, CONDITION_TIMED_OUT, text)
        text = "waiting for signal"
        action.status = set_condition(
            action.status, ConditionType.PROGRESSING, ConditionStatus.TRUE, Reason.PAUSED, text, now
        )
        action.status = append_history(action.status, Reason.PAUSED, text, now)
        if status_changed(original.status, action.status):
            self._publish_condition(action, PhaseInfo(phase=PluginPhase.UNDEFINED, reason=text), final=False)
        return Result(deadline - now) if deadline else DONE

    def _deadline(self, action: TaskAction) -> int:
        if not action.spec.condition_spec:
            raise ValueError(f'condition action "{action.id.action}" has empty conditionSpec')
        try:
            spec = msgspec.json.decode(action.spec.condition_spec, type=ConditionSpec)
        except msgspec.DecodeError as error:
            raise ValueError(f"failed to unmarshal conditionSpec: {error}") from error
        if spec.timeout is None or spec.timeout <= timedelta(0):
            return 0
        return action.metadata.creation_timestamp + int(spec.timeout.total_seconds() * 1000)

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
        with self.writing(action):
            self._publish_condition(
                action, PhaseInfo(phase=phase, err=err, reason=text), final=True, actor=actor
            )
            self.ensure_terminal_labels(action)
        return DONE

    def _publish_condition(
        self, action: TaskAction, info: PhaseInfo, *, final: bool, actor: str = ""
    ) -> None:
        """Conditions announce themselves like any other action (spec W-30); their phase is that of the status."""
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
