"""Actions as rows of a list, and as bars of a timeline. Times are ms since the epoch; 0 = not yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from reconciler.api.action import TaskAction
from reconciler.api.event import ActionEvent, ErrorInfo
from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import ErrorState, PhaseTransition, Reason
from reconciler.api.template import template_or_none
from reconciler.cli.documents import error_of
from reconciler.core.documents import Document
from reconciler.core.events import observed_attempts
from reconciler.core.naming import task_name
from reconciler.core.status_conditions import terminal_time
from reconciler.core.why import told
from worker.dashboard.kinds import (
    ASKS,
    ERRED,
    FAILED,
    LOST,
    PASSES,
    RESTS,
    RUNS,
    TAKEN,
    WAITS,
    WHOLE,
    WHY,
    Bar,
)
from worker.dashboard.passes import reasons, split

_KINDS = {
    Reason.QUEUED: WAITS,
    Reason.INITIALIZING: WAITS,
    Reason.EXECUTING: RUNS,
    Reason.PAUSED: ASKS,
}
_ENDS = {
    Reason.COMPLETED, Reason.RETRYABLE_FAILURE, Reason.PERMANENT_FAILURE, Reason.ABORTED, Reason.PLUGIN_NOT_FOUND,
    Reason.INVALID_SPEC, Reason.SIGNALED, Reason.TIMED_OUT,
}  # fmt: skip
_ERROR = 300
"""Characters of an error in a row."""
_WHEN_FAILED = {RUNS: ERRED, WAITS: FAILED}
_RAN = {ActionPhase.SUCCEEDED, ActionPhase.FAILED, ActionPhase.TIMED_OUT}


def task_of(record: TaskAction) -> str:
    """Return what an action runs: the name of its function or task, else its type."""
    template = template_or_none(record)
    function = template.custom.get("function") if template else None
    return str(function) if function else task_name(record)


def row(record: TaskAction, events: Sequence[ActionEvent] = ()) -> Document:
    """Write one action of a run: what a tree and a timeline show; with its events also each pass of one that went on."""
    error, attempt, drawn = error_of(record), record.attempt, bars(record, events)
    return {
        "name": record.id.action,
        "parent": record.spec.parent_action_name or "",
        "task": task_of(record),
        "phase": str(record.phase),
        "attempt": observed_attempts(record),
        "launches": record.status.launches,
        "resumes": record.status.resumes,
        "created": record.metadata.creation_timestamp,
        "began": _began(drawn),
        "ended": terminal_time(record.status),
        "worker": attempt.owner,
        "children": record.children.total,
        "aborting": record.metadata.deletion is not None and not record.phase.is_terminal(),
        "error": error_text(error),
        "cache": record.status.cache_status.name.lower(),
        "bars": drawn,
    }


def error_text(error: ErrorState | ErrorInfo | None) -> str:
    """Write an error for one line: of a long one the beginning, and the end, where a chain of actions has its cause."""
    text = f"[{error.code}] {error.message}" if error else ""
    return text if len(text) <= _ERROR else f"{text[: _ERROR // 2]} … {text[3 - _ERROR // 2 :]}"


def _began(drawn: list[Bar]) -> int:
    """Return when the last attempt began to run; 0 = it did not, or nobody knows."""
    return next(
        (bar.start for bar in drawn if bar.kind in {RUNS, PASSES} and bar.attempt == drawn[-1].attempt), 0
    )


def bars(record: TaskAction, events: Sequence[ActionEvent] = ()) -> list[Bar]:
    """Write the timeline of an action from its history; the last launch begins when its worker says.

    Of one that was suspended and went on the history tells one long run; its passes are told by `events`.
    """
    ended, began = terminal_time(record.status), record.attempt.started_at
    if record.phase is ActionPhase.RECOVERED:  # its end was written before it was created
        return [Bar(TAKEN, ended, ended)]
    found = _told(record.status.phase_history, record.metadata.creation_timestamp)
    if ended and not found[-1].end:
        found[-1].end = ended
    found = split(found, events, went_on=observed_attempts(record) if record.status.resumes else 0)
    found = _failures(reasons(found, events), record.status.phase_history)
    last = found[-1]
    if last.kind in {WAITS, FAILED} and began > last.start and (not last.end or began <= last.end):
        found.append(Bar(RUNS, began, last.end, last.attempt))
        last.kind, last.end = WAITS, began
    elif last.kind == WAITS and record.phase in _RAN:
        last.kind = WHOLE
    elif last.kind == WAITS and not last.end:
        last.why = told(record)[:WHY]
    return [*found, *_suspended(record, found[-1])]


def _failures(found: list[Bar], history: Sequence[PhaseTransition]) -> list[Bar]:
    """Mark what ran and failed or was lost, as the history tells."""
    failed = [entry.message for entry in history if entry.phase == Reason.RETRYABLE_FAILURE]
    for number, why in enumerate(failed, 1):
        last = next((bar for bar in reversed(found) if bar.attempt == number), None)
        if last is not None:
            last.kind, last.why = _WHEN_FAILED.get(last.kind, last.kind), why[:WHY]
    for bar, after in pairwise(found):
        if bar.kind == RUNS and after.kind == WAITS and bar.end in _lost(history):
            bar.kind = LOST
    return found


def _lost(history: Iterable[PhaseTransition]) -> set[int]:
    """Find when launches that had run were made again."""
    return {
        after.occurred_at
        for before, after in pairwise(history)
        if before.phase == Reason.EXECUTING and after.phase == Reason.QUEUED
    }


def _suspended(record: TaskAction, last: Bar) -> Iterable[Bar]:
    """Draw the bar of a function that is suspended now; the bar before it ends where this one begins."""
    outcome = record.attempt.outcome
    since = outcome.at if outcome is not None and record.attempt.suspended else 0
    if record.phase.is_terminal() or last.kind == RESTS or last.end or since < last.start:
        return
    last.end = since
    yield Bar(RESTS, since, 0, last.attempt)


def _told(history: Iterable[PhaseTransition], created: int) -> list[Bar]:
    found, attempt = [Bar(WAITS, created)], 1
    for entry in history:
        last = found[-1]
        if entry.began and last.kind == WAITS and not last.end:
            last.end = max(entry.began, last.start)
            last = Bar(RUNS, last.end, 0, attempt)
            found.append(last)
        if entry.phase in _ENDS:
            last.end = entry.occurred_at
            if entry.phase == Reason.RETRYABLE_FAILURE:
                last.kind = last.kind if last.kind == RUNS else FAILED
                attempt += 1
        elif entry.phase in _KINDS:
            kind = _KINDS[Reason(entry.phase)]
            if kind == last.kind and not last.end:
                last.why = last.why or (entry.message[:WHY] if kind == WAITS else "")
                continue
            last.end = last.end or entry.occurred_at
            found.append(
                Bar(kind, entry.occurred_at, 0, attempt, entry.message[:WHY] if kind == WAITS else "")
            )
    return [bar for bar in found if bar.end != bar.start] or found[-1:]
