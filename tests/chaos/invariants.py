"""What must hold after any fault, checked offline over store and events."""

from __future__ import annotations

from collections import Counter

from reconciler.api.action import RunId
from reconciler.api.event import ActionEvent
from reconciler.api.phase import TRANSITIONS, ActionPhase
from reconciler.client import Client


def check_run(client: Client, run: RunId) -> Counter[ActionPhase]:
    """Check all actions of a run; returns how many ended in which phase."""
    phases: Counter[ActionPhase] = Counter()
    for action in client.actions(run):
        check_events(client.events(action.id), action.phase)
        assert action.phase.is_terminal(), f"{action.id} never ended: {action.phase}"
        assert action.token == 0, f"{action.id} ended and is still claimed"
        phases[action.phase] += 1
    counts = client.counts(run)
    assert {p: n for p, n in counts.phases.items() if n} == dict(phases), (
        "the counters differ from the records"
    )
    return phases


def check_events(events: list[ActionEvent], phase: ActionPhase) -> None:
    """Gapless, legal, with exactly one terminal event, the last one, which agrees with the record."""
    who = events[0].id
    assert [e.sequence for e in events] == list(range(1, len(events) + 1)), f"{who}: gaps in the events"
    assert [e.final for e in events].count(True) == 1, f"{who}: not exactly one terminal event"
    assert events[-1].final, f"{who}: an event after the end"
    assert events[-1].phase is phase, f"{who}: the record says {phase}, its last event {events[-1].phase}"
    current = ActionPhase.QUEUED
    for event in events[1:]:
        moved = ActionPhase.QUEUED if event.phase is ActionPhase.FAILED and not event.final else event.phase
        assert moved is current or moved in TRANSITIONS[current], (
            f"{who}: {current} → {moved} is no legal move"
        )
        current = moved


def check_due_index(client: Client) -> None:
    """Nothing that ended is still due."""
    for shard in range(client.store.shards):
        for action, _ in client.store.due(shard):
            record = client.store.get(action)
            assert record is not None, f"{action} is due and does not exist"
            assert not record.phase.is_terminal(), f"{action} has ended and is still due"
