"""Records as JSON for programs: names instead of numbers, ISO 8601 instead of milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.api.action import RunId, TaskAction
from reconciler.api.attempt import Progress
from reconciler.api.audit import Ruling, Who
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState
from reconciler.api.template import Redaction
from reconciler.core.attempts import AttemptView, attempts_of
from reconciler.core.documents import Document
from reconciler.core.events import observed_attempts
from reconciler.core.redaction import redaction_of
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import iso
from reconciler.core.why import Reason, Why
from reconciler.stores.counts import RunCounts

NOT_SEEN = "no worker has looked at it yet"
"""Why a new action waits."""


def waiting_reason(record: TaskAction, now: int = 0) -> str:
    """Say what an action waits for; empty when it has ended, or runs and says nothing.

    Args:
        record: of the action.
        now: time of the store, ms; 0 = not known.
    """
    if record.phase.is_terminal():
        return ""
    if record.metadata.deletion is not None:
        return "is being aborted"
    for condition in record.status.conditions:
        if condition.type is ConditionType.PROGRESSING and condition.status is ConditionStatus.TRUE:
            return condition.message or ("" if record.phase is ActionPhase.RUNNING else condition.reason)
    starts = record.metadata.not_before
    return f"may begin at {iso(starts)}" if starts > now else NOT_SEEN


def waiting_text(record: TaskAction, why: Why | None, now: int = 0) -> str:
    """Say what an action waits for, as `reconciler describe` does; empty when it has ended, or runs and says nothing.

    Args:
        record: of the action.
        why: what was found out by a look around it; None = nobody looked, so the last step has the word.
        now: time of the store, ms; 0 = not known.
    """
    if why is None or why.reason is Reason.PLUGIN:
        return waiting_reason(record, now)
    if why.reason is Reason.RUNNING:  # a lease shows it before a step writes it
        return waiting_reason(record, now) if record.phase is ActionPhase.RUNNING else ""
    if why.reason is Reason.STEP and not record.status.conditions:
        return waiting_reason(record, now)
    return why.text


def log_uri(record: TaskAction, events: list[ActionEvent]) -> str:
    """Return where the log of the last attempt that stored one lies; empty when none did."""
    for event in reversed(events):
        if event.log_info:
            return event.log_info[-1].uri
    return record.attempt.outcome.log_uri if record.attempt.outcome else ""


def counts_document(counts: RunCounts) -> Document:
    """Write the number of actions by phase."""
    return {str(phase): number for phase, number in sorted(counts.phases.items())}


def error_of(record: TaskAction) -> ErrorState | None:
    """Choose the error to show. An action that succeeded has none, although an earlier attempt may have failed."""
    return None if record.phase.has_outputs() else record.status.error_state


def error_part(record: TaskAction) -> Document | None:
    """Write the last error; None when there was none, or when it was overcome."""
    error = error_of(record)
    return None if error is None else {"code": error.code, "kind": error.kind, "message": error.message}


def summary_document(record: TaskAction, why: Why | None = None) -> Document:
    """Write one action as it is in a list; `why` as for `waiting_text`."""
    return {
        "action": str(record.id),
        "parent": record.spec.parent_action_name or None,
        "type": record.spec.task_type or record.spec.action_type,
        "name": record.spec.short_name,
        "phase": str(record.phase),
        "attempts": observed_attempts(record),
        "created_at": iso(record.metadata.creation_timestamp),
        "ended_at": iso(terminal_time(record.status)),
        "waiting": waiting_text(record, why) or None,
        "error": error_part(record),
        "archived": record.archived,
    }


def action_document(
    record: TaskAction,
    events: list[ActionEvent],
    made_into: Sequence[RunId] = (),
    why: Why | None = None,
) -> Document:
    """Write all that is known of one action; of a root also the runs that were made of its run."""
    status = record.status
    return {
        **summary_document(record, why),
        "incarnation": record.metadata.incarnation,
        "launches": status.launches,
        "resumes": status.resumes,
        "system_failures": status.total_system_failures,
        "not_before": iso(status.not_before),
        "may_begin_at": iso(record.metadata.not_before),
        "expires_at": iso(record.metadata.expires_at),
        "priority": record.metadata.priority,
        "fair_key": record.metadata.fair_key or None,
        "conditions": [
            {
                "type": str(c.type),
                "status": str(c.status),
                "reason": c.reason,
                "message": c.message,
                "since": iso(c.last_transition_time),
            }
            for c in status.conditions
        ],
        "history": [
            {"phase": h.phase, "at": iso(h.occurred_at), "message": h.message} for h in status.phase_history
        ],
        "cache": status.cache_status.name.lower(),
        "attempt": _attempt_part(record),
        "attempts_told": [_told_part(each) for each in attempts_of(events)],
        "children": msgspec.structs.asdict(record.children),
        "never_asked_for": list(status.unasked),
        "outputs": _outputs_part(record),
        "redacted": _redacted_part(record),
        "log_uri": log_uri(record, events) or None,
        "deletion": _deletion_part(record),
        "signal": _signal_part(record),
        "submitted": _who_part(record.metadata.submitted),
        "prioritized": _ruling_part(record.metadata.prioritized),
        "priorities": [_ruling_part(one) for one in record.metadata.priorities],
        "made_by": _lineage_part(record),
        "made_into": [str(run) for run in made_into],
        "cleanup_error": status.cleanup_error or None,
        "labels": record.labels,
        "events": record.events,
    }


def _attempt_part(record: TaskAction) -> Document | None:
    attempt = record.attempt
    if not attempt.launch:
        return None
    return {
        "launch": attempt.launch,
        "sent_at": iso(attempt.sent_at),
        "worker": attempt.owner or None,
        "started_at": iso(attempt.started_at),
        "lease_until": iso(attempt.lease_until),
        "stop": attempt.stop or None,
        "progress": _progress_part(attempt.progress),
    }


def _progress_part(said: Progress | None) -> Document | None:
    return {"state": said.state, "meta": said.meta, "at": iso(said.at)} if said else None


def _told_part(told: AttemptView) -> Document:
    """Write what the events say of one attempt."""
    return {
        "attempt": told.attempt,
        "phase": str(told.phase),
        "error": msgspec.structs.asdict(told.error) if told.error else None,
        "outputs_uri": told.outputs.output_uri if told.outputs else None,
        "cache": told.cache_status.name.lower(),
        "started_at": iso(told.start),
        "in_line_at": iso(told.lined),
        "began_at": iso(told.began),
        "ended_at": iso(told.end),
        "logs": {link.name: link.uri for link in told.logs},
        "log_context": told.log_context,
        "reasons": [{"at": iso(each.occurred_at), "message": each.message} for each in told.reasons],
        "phases": [
            {"phase": str(each.phase), "from": iso(each.start), "to": iso(each.end)} for each in told.phases
        ],
    }


def _outputs_part(record: TaskAction) -> Document | None:
    ref = record.status.outputs
    if ref is None:
        return None
    hidden = redaction_of(record).outputs  # of a short value a digest tells as much as the value
    return {"uri": ref.uri, "size": ref.size, "sha256": None if hidden else ref.sha256}


def _redacted_part(record: TaskAction) -> Document | None:
    redaction = redaction_of(record)
    if redaction == Redaction():
        return None
    return {"inputs": list(redaction.inputs), "outputs": redaction.outputs}


def _deletion_part(record: TaskAction) -> Document | None:
    deletion = record.metadata.deletion
    if deletion is None:
        return None
    return {"at": iso(deletion.at), "reason": deletion.reason, "actor": deletion.actor, "door": deletion.door}


def _who_part(by: Who | None) -> Document | None:
    return None if by is None else {"actor": by.actor, "door": by.door}


def _ruling_part(by: Ruling | None) -> Document | None:
    return None if by is None else {"what": by.what, "actor": by.actor, "door": by.door, "at": iso(by.at)}


def _lineage_part(record: TaskAction) -> Document | None:
    lineage = record.metadata.lineage
    if lineage is None:
        return None
    return {"verb": lineage.verb, "source": lineage.source, "changed": lineage.changed}


def _signal_part(record: TaskAction) -> Document | None:
    signal = record.signal
    return (
        None
        if signal is None
        else {"value": signal.value, "by": signal.by, "door": signal.door, "at": iso(signal.at)}
    )
