"""Sealing, recalling and forgetting whole runs: the verbs of the archive, on both stores."""

from __future__ import annotations

import pytest
from support import PassTime, created, finish, get, make_action

from reconciler.api.action import RunId
from reconciler.stores.archiving import RawRun, SealedRun
from reconciler.stores.base import CreateOutcome, Store
from reconciler.stores.events import decode_event

pytestmark = pytest.mark.rule("R42")
RUN = RunId("p", "d", "sealed")
SEALED = [SealedRun(RUN)]


def sealed(store: Store, before: int = 0, *, limit: int = 100) -> list[SealedRun]:
    """What one pass over the run's shard seals of what ended by now."""
    found: list[SealedRun] = []
    looked = 0
    while True:
        part, count = store.seal(
            store.shard_of(RUN), before=before or store.now() + 1, limit=limit, after=looked
        )
        found += part
        looked += count
        if count < limit:
            return found


def collected(store: Store) -> list[str]:
    """Return names of what goes when only archived runs may."""
    report = store.collect(store.shard_of(RUN), before=store.now() + 1, limit=100, archived=True)
    return sorted(action.id.action for action in report.deleted)


def tree(store: Store) -> None:
    """Return a root with two children; the first child has ended."""
    created(store, make_action("a0", run=RUN))
    created(store, make_action("m1", run=RUN, parent="a0"), make_action("m2", run=RUN, parent="a0"))
    finish(store, make_action("m1", run=RUN, parent="a0"))


def test_a_run_with_a_live_action_is_not_sealed(store: Store) -> None:
    """Only a run that has ended as a whole is sealed; until then it takes new actions."""
    tree(store)
    assert sealed(store) == []
    finish(store, make_action("a0", run=RUN))
    assert sealed(store) == []
    finish(store, make_action("m2", run=RUN, parent="a0"))
    assert sealed(store) == SEALED


def test_a_root_that_ended_later_keeps_its_run_open(store: Store, pass_time: PassTime) -> None:
    """Retention counts from the end of the root, not from that of its first child."""
    tree(store)
    finish(store, make_action("m2", run=RUN, parent="a0"))
    pass_time(5)
    border = store.now()
    finish(store, make_action("a0", run=RUN))
    assert sealed(store, border) == []


def test_create_into_a_sealed_run_is_refused(store: Store) -> None:
    """Nothing new enters a sealed run, neither a root nor a child; what is there is found again."""
    old = make_action("a0", run=RUN)
    created(store, old)
    assert store.create([make_action("b0", run=RUN)]).outcomes[0].outcome is CreateOutcome.CREATED
    finish(store, old)
    finish(store, make_action("b0", run=RUN))
    assert sealed(store) == SEALED
    late = [make_action("c0", run=RUN), make_action("kid", run=RUN, parent="a0")]
    for answer in (store.would_create(late), store.create(late).outcomes):
        assert [one.outcome for one in answer] == [CreateOutcome.SEALED] * 2
    assert store.create([old]).outcomes[0].outcome is CreateOutcome.EXISTS
    assert store.get(late[0].id) is None


def test_a_sealed_run_is_named_until_it_is_archived(store: Store) -> None:
    """Who dies between seal and archive is followed by one who learns of the run again, also in pages of one."""
    tree(store)
    for name in ("m2", "a0"):
        finish(store, make_action(name, run=RUN, parent=None if name == "a0" else "a0"))
    assert sealed(store) == sealed(store) == SEALED
    assert set(sealed(store, limit=1)) == set(SEALED)
    assert collected(store) == []
    store.set_archived(store.shard_of(RUN), SEALED)
    assert sealed(store) == []
    assert collected(store) == ["a0", "m1", "m2"]
    created(store, make_action("a0", run=RUN))
    assert collected(store) == []


def test_another_incarnation_is_not_marked(store: Store) -> None:
    """Who was slow marks no later run of the same name, nor one that was never sealed."""
    created(store, make_action("a0", run=RUN))
    store.set_archived(store.shard_of(RUN), SEALED)
    finish(store, make_action("a0", run=RUN))
    store.set_archived(store.shard_of(RUN), SEALED)
    assert sealed(store) == SEALED
    store.set_archived(store.shard_of(RUN), [SealedRun(RUN, "other")])
    assert sealed(store) == SEALED


def test_a_run_is_recalled_as_a_whole(store: Store) -> None:
    """All records and all events of a run come as they are stored, in the order of names."""
    tree(store)
    created(store, *(make_action(f"m{n}", run=RUN, parent="a0") for n in range(3, 12)))
    run = store.recall(RUN)
    assert isinstance(run, RawRun)
    assert [action.name for action in run.actions] == ["a0", *(f"m{n}" for n in range(1, 12))]
    first = run.actions[1]
    assert first.ended
    assert not run.actions[2].ended
    assert first.fields["r"] == "a0"
    assert first.fields["h"] in run.shared
    events = store.events(RUN.action("m1"))
    assert [decode_event(event.encode()) for event in first.events] == events
    assert len(events) == 2
    assert run.created_at == get(store, make_action("a0", run=RUN)).metadata.creation_timestamp


def test_events_that_were_trimmed_are_left_out(store: Store, pass_time: PassTime) -> None:
    """A run is recalled also when the channel has forgotten its events; one that is gone is none."""
    tree(store)
    pass_time(5)
    store.trim_events(store.now())
    run = store.recall(RUN)
    assert run is not None
    assert [action.events for action in run.actions] == [[], [], []]
    assert store.recall(RunId("p", "d", "nobody")) is None


def test_old_events_of_stored_runs_are_told(store: Store, pass_time: PassTime) -> None:
    """Events older than a time are told page by page, but only those of runs that are stored; each is told of once."""
    tree(store)
    gone = RunId("p", "d", "gone")
    shard = store.shard_of(RUN)
    while store.shard_of(gone) != shard:
        gone = RunId("p", "d", f"{gone.run}x")
    created(store, make_action("a0", run=gone))
    finish(store, make_action("a0", run=gone))
    pass_time(5)
    border = store.now()
    store.collect(shard, before=border, limit=100)
    assert store.get(gone.action("a0")) is None
    created(store, make_action("later", run=RUN))
    told: list[str] = []
    while True:
        page = store.old_events(shard, before=border, limit=2)
        told += [event for _, event in page.events]
        store.set_spilled(shard, page.last)
        if not page.more:
            break
    mine = [event for name in ("a0", "m1", "m2") for event in store.events(RUN.action(name))]
    assert sorted(decode_event(event.encode()).sequence for event in told) == sorted(e.sequence for e in mine)
    assert {decode_event(event.encode()).id for event in told} == {event.id for event in mine}
    assert page.oldest == get(store, make_action("a0", run=RUN)).metadata.creation_timestamp
    assert store.old_events(shard, before=border, limit=2).events == []
    again = store.old_events(shard, before=border, limit=2, after="0-1")
    assert len(again.events) == 2
    assert again.more


def test_an_event_at_the_border_is_told_the_next_time(store: Store, pass_time: PassTime) -> None:
    """What happens at the very time is not looked at, and not passed over either."""
    created(store, make_action("a0", run=RUN))
    shard = store.shard_of(RUN)
    at = store.events(RUN.action("a0"))[0].updated_time
    page = store.old_events(shard, before=at, limit=10)
    assert page.events == []
    store.set_spilled(shard, page.last)
    store.set_spilled(shard, "1-0")
    pass_time(5)
    assert len(store.old_events(shard, before=at + 1, limit=10).events) == 1


def test_events_are_kept_until_they_are_spilled(store: Store, pass_time: PassTime) -> None:
    """With an archive nothing is trimmed that was not looked through, and nothing younger than asked for."""
    created(store, make_action("a0", run=RUN))
    shard = store.shard_of(RUN)
    pass_time(5)
    border = store.now()
    assert store.trim_events(border, spilled=True) == 0
    store.set_spilled(shard, store.old_events(shard, before=border, limit=10).last)
    assert store.trim_events(1, spilled=True) == 0
    assert store.trim_events(border, spilled=True) == 1


def test_a_data_set_has_one_name(store: Store) -> None:
    """Whoever asks is told the same."""
    assert store.installation() == store.installation() != ""


def test_a_turn_is_taken_once(store: Store, pass_time: PassTime) -> None:
    """One caller gets the turn; the next one when its time is over."""
    assert store.take_turn("collect", 60_000)
    assert not store.take_turn("collect", 60_000)
    assert store.take_turn("expire", 20)
    pass_time(50)
    assert store.take_turn("expire", 20)
