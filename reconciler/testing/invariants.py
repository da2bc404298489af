"""Check what must hold after any fault, offline, over store and events. Each check raises `AssertionError`."""

from __future__ import annotations

from collections import Counter

from reconciler.api.action import FINALIZER, RunId
from reconciler.api.event import ActionEvent
from reconciler.api.phase import TRANSITIONS, ActionPhase
from reconciler.client import Client
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.testing.lab import Lab


def check_settled(lab: Lab) -> Counter[ActionPhase]:
    """Check that every action of a lab ended well-formed and left nothing behind; count the ended ones by phase.

    After a death it moves the clock past every lease first: what the worker held is free once that has run out.

    Raises:
        AssertionError: says what is wrong, and where workers died.
    """
    try:
        if lab.deaths:
            lab.clock.advance(lab.quotas.lease + int(lab.settings.step_lease.total_seconds() * 1000))
            lab.settle()
        phases: Counter[ActionPhase] = Counter()
        for run in lab.client.runs(limit=10_000):
            phases += check_run(lab.client, run.id)
            for action in lab.client.actions(run.id):
                assert FINALIZER not in action.metadata.finalizers, f"{action.id} still owes its clean-up"
                assert not action.status.quota_leases, f"{action.id} ended and holds units of a quota"
        check_due_index(lab.client)
        assert lab.quotas.held() == [], f"units of quotas were not given back: {lab.quotas.held()}"
        if isinstance(lab.catalog, MemoryCatalog):
            reserved = lab.catalog.reserved()
            assert reserved == [], f"cache keys are still reserved by {reserved}"
    except AssertionError as error:
        error.add_note(repr(lab))
        raise
    return phases


def check_run(client: Client, run: RunId) -> Counter[ActionPhase]:
    """Check all actions of a run; return how many ended in which phase."""
    phases: Counter[ActionPhase] = Counter()
    for action in client.actions(run):
        assert action.phase.is_terminal(), f"{action.id} never ended: {action.phase}"
        check_events(client.events(action.id), action.phase)
        assert action.token == 0, f"{action.id} ended and is still claimed"
        phases[action.phase] += 1
    counts = client.counts(run)
    assert {p: n for p, n in counts.phases.items() if n} == dict(phases), (
        "the counters differ from the records"
    )
    return phases


def check_events(events: list[ActionEvent], phase: ActionPhase) -> None:
    """Check that events are gapless and legal, with one terminal event, the last, which agrees with the record."""
    who = events[0].id
    assert [e.sequence for e in events] == list(range(1, len(events) + 1)), f"{who}: gaps in the events"
    assert [e.final for e in events].count(True) == 1, f"{who}: not exactly one terminal event"
    assert events[-1].final, f"{who}: an event after the end"
    assert events[-1].phase is phase, f"{who}: the record says {phase}, its last event {events[-1].phase}"
    current = ActionPhase.QUEUED
    for event in events[1:]:
        between = event.phase in {ActionPhase.FAILED, ActionPhase.TIMED_OUT} and not event.final
        moved = ActionPhase.QUEUED if between else event.phase
        assert moved is current or moved in TRANSITIONS[current], (
            f"{who}: {current} → {moved} is no legal move"
        )
        current = moved


def check_due_index(client: Client) -> None:
    """Check that nothing which has ended is still due."""
    for shard in range(client.store.shards):
        for action, _ in client.store.due(shard):
            record = client.store.get(action)
            assert record is not None, f"{action} is due and does not exist"
            assert not record.phase.is_terminal(), f"{action} has ended and is still due"
