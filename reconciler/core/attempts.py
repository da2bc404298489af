"""The attempts of an action, told from its events (R60).

Events here carry a sequence without gaps, and an event and the record it tells of are one write. So the order of events is
known, where Flyte sorts by times that clocks may confuse, and the last attempt is in the phase of the record (R19).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise, takewhile
from operator import attrgetter
from typing import TypeVar

import msgspec

from reconciler.api.event import ActionEvent, ClusterEvent, ErrorInfo, OutputReferences
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus, LogLink

replace = msgspec.structs.replace
T = TypeVar("T")
IS_SUSPENDED, GOES_ON = "suspended; waits for", "goes on"
"""How the events begin that tell of a suspension, and of the wait for a worker after it."""


class PhaseSpan(msgspec.Struct, frozen=True):
    """The time an attempt spent in a phase, from its first entry.

    Attributes:
        phase: which one.
        start: when the step that noticed it wrote it down, ms since the epoch, UTC; of RUNNING when it began, if known.
        end: when the next one began; `start` for a terminal phase, 0 for the one that goes on.
    """

    phase: ActionPhase
    start: int
    end: int = 0


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt. Only its number is certain: if its events have been forgotten, nothing else is known.

    Attributes:
        attempt: its number, from 1.
        phase: how it ended, or where it is; FAILED also of one that was tried again.
        error: why it ended.
        outputs: where its outputs and report lie, if it stored them.
        cache_status: what the cache did for it.
        cluster: where it ran.
        start: of its first event, ms since the epoch, UTC; 0 = not known.
        lined: when it came to stand in line for a worker, after all else it waited for; 0 = it never did.
        began: when its function began to run; 0 = not known, or it never did.
        suspended: how long it was suspended in all, ms: RUNNING, and without a worker.
        end: of its terminal event, never before its start; for an abort when it was asked for. 0 = it goes on.
        logs: by name; of two of one name the newer.
        log_context: the newest.
        reasons: what was told beside, in order.
        phases: each phase in the order of its first time, up to the first terminal one.
    """

    attempt: int
    phase: ActionPhase = ActionPhase.UNSPECIFIED
    error: ErrorInfo | None = None
    outputs: OutputReferences | None = None
    cache_status: CacheStatus = CacheStatus.DISABLED
    cluster: str = ""
    start: int = 0
    lined: int = 0
    began: int = 0
    suspended: int = 0
    end: int = 0
    logs: tuple[LogLink, ...] = ()
    log_context: dict[str, str] | None = None
    reasons: tuple[ClusterEvent, ...] = ()
    phases: tuple[PhaseSpan, ...] = ()


def attempts_of(events: Iterable[ActionEvent]) -> list[AttemptView]:
    """Derive the attempts from some events of one action, in order. Events may come in any order, and twice."""
    unique = {event.sequence: event for event in events}.values()
    ordered = sorted(unique, key=attrgetter("attempt", "sequence"))
    return [attempt_view(number, list(group)) for number, group in groupby(ordered, attrgetter("attempt"))]


def attempt_view(number: int, events: Sequence[ActionEvent]) -> AttemptView:
    """Derive one attempt from its events.

    Args:
        number: its number.
        events: all that is known of it, in order of their sequence.
    """
    if not events:
        return AttemptView(attempt=number)
    terminal = next((event for event in events if event.phase.is_terminal()), None)
    chosen, start = terminal or events[-1], events[0].updated_time
    logs = {link.name: link for event in events for link in event.log_info}
    return AttemptView(
        attempt=number,
        phase=chosen.phase,
        error=chosen.error_info,
        outputs=chosen.outputs or _newest(event.outputs for event in events),
        cache_status=chosen.cache_status,
        cluster=chosen.cluster,
        start=start,
        lined=_newest(event.updated_time for event in _before_running(events)) or 0,
        began=next((event.began for event in events if event.began), 0),
        suspended=_suspended(events),
        end=max(terminal.updated_time, start) if terminal else 0,
        logs=tuple(logs[name] for name in sorted(logs)),
        log_context=_newest(event.log_context for event in events),
        reasons=tuple(reason for event in events for reason in event.cluster_events),
        phases=_phases(events),
    )


def _newest(found: Iterable[T | None]) -> T | None:
    """Return the last value that is set."""
    return next((each for each in reversed(list(found)) if each is not None), None)


def _before_running(events: Sequence[ActionEvent]) -> Iterable[ActionEvent]:
    """Give the events that tell that it was queued, up to the first that tells that it ran or ended."""
    waits = takewhile(
        lambda event: event.phase is not ActionPhase.RUNNING and not event.phase.is_terminal(), events
    )
    return (event for event in waits if event.phase is ActionPhase.QUEUED)


def _suspended(events: Sequence[ActionEvent]) -> int:
    """Add up the time from each event that tells of a suspension to the next one; of one that lasts nothing is known."""
    return sum(
        after.updated_time - before.updated_time
        for before, after in pairwise(events)
        if any(told.message.startswith(IS_SUSPENDED) for told in before.cluster_events)
    )


def _phases(events: Sequence[ActionEvent]) -> tuple[PhaseSpan, ...]:
    """Find when each phase was first written; `updated_time` comes from the history, which has fewer entries."""
    spans: dict[ActionPhase, PhaseSpan] = {}
    for event in events:
        if event.began:  # also of what was over before a step saw it run
            spans.setdefault(ActionPhase.RUNNING, PhaseSpan(ActionPhase.RUNNING, event.began))
        spans.setdefault(event.phase, PhaseSpan(event.phase, event.reported_time or event.updated_time))
        if event.phase.is_terminal():
            break
    found = [*spans.values()]
    ended = [replace(span, end=after.start) for span, after in pairwise(found)]
    last = found[-1]
    return (*ended, replace(last, end=last.start) if last.phase.is_terminal() else last)
