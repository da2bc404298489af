"""The passes of a function that was suspended: what its events tell of them, for its timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.api.action import TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.core.attempts import GOES_ON, IS_SUSPENDED
from worker.dashboard.kinds import PASSES, RESTS, RUNS, WAITS, WHOLE, WHY, Bar

_SHORT = 50
"""For so long a reason is worth no bar, ms."""
_WAITING = {ActionPhase.QUEUED, ActionPhase.WAITING_FOR_RESOURCES}


def has_passes(record: TaskAction) -> bool:
    """Tell whether an action may have been suspended before, which its record alone does not draw."""
    return record.status.resumes > 0 or record.status.attempts > 1


def events_of(client: Client, record: TaskAction) -> list[ActionEvent]:
    """Read the events of an action that may have been suspended before; none of any other one."""
    if not has_passes(record):
        return []
    if not record.archived:
        return client.store.events(record.id)
    run = client.archived.find(record.id.run_id, record.metadata.incarnation)
    return run.events(record.id.action) if run is not None else []


def split(found: Sequence[Bar], events: Sequence[ActionEvent], *, went_on: int = 0) -> list[Bar]:
    """Draw each pass of what ran, each suspension, and each wait for a worker to go on.

    Args:
        found: bars, as the record tells them: one for all passes.
        events: all of the action. Without the first ones nobody knows what was before: then a bar says that it is of many
            passes, and no more.
        went_on: number of the attempt of which the record says that it went on; 0 = it did not.
    """
    if not events or [event.sequence for event in events] != list(range(1, len(events) + 1)):
        return [_blurred(bar) if bar.kind == RUNS and bar.attempt == went_on else bar for bar in found]
    return [piece for bar in found for piece in _pieces(bar, events, last=bar is found[-1])]


def reasons(found: Sequence[Bar], events: Sequence[ActionEvent]) -> list[Bar]:
    """Cut each wait where another reason for it began, as far as events tell."""
    return [piece for bar in found for piece in _waits(bar, events)]


def _waits(bar: Bar, events: Sequence[ActionEvent]) -> list[Bar]:
    found = [bar]
    if bar.kind != WAITS:
        return found
    for event in events:
        at, why = event.updated_time, event.cluster_events[0].message[:WHY] if event.cluster_events else ""
        if event.attempt != bar.attempt or event.phase not in _WAITING or not why or at < bar.start:
            continue
        before = found[-1]
        if before.end and at >= before.end:
            break
        if at - before.start < _SHORT or before.why == why:
            before.why = why
        else:
            found.append(Bar(WAITS, at, before.end, bar.attempt, why))
            before.end = at
    return found


def _blurred(bar: Bar) -> Bar:
    return Bar(PASSES, bar.start, bar.end, bar.attempt)


def _pieces(bar: Bar, events: Sequence[ActionEvent], *, last: bool) -> list[Bar]:
    if bar.kind != RUNS:
        return [bar]
    found = [Bar(RUNS, bar.start, bar.end, bar.attempt)]
    for at, kind in _marks(events, bar.attempt):
        before = found[-1]
        if at < bar.start or (bar.end and at >= bar.end) or kind == before.kind:
            continue
        before.end = at
        if before.kind == WAITS and kind == RESTS:  # its pass was over before a step saw it
            before.kind = WHOLE
        found.append(Bar(kind, at, bar.end, bar.attempt))
    if found[-1].kind == WAITS and not last:
        found[-1].kind = WHOLE
    return [piece for piece in found if piece.end != piece.start] or found[-1:]


def _marks(events: Sequence[ActionEvent], attempt: int) -> Iterator[tuple[int, str]]:
    """Find when an attempt was seen to be suspended, to wait for a worker, and to run again."""
    for event in events:
        if event.attempt != attempt or event.phase is not ActionPhase.RUNNING:
            continue
        text = event.cluster_events[0].message if event.cluster_events else ""
        if text.startswith(IS_SUSPENDED):
            yield event.updated_time, RESTS
        elif text.startswith(GOES_ON):
            yield event.updated_time, WAITS
        elif event.log_context:
            yield event.updated_time, RUNS
