from __future__ import annotations

import pytest
from support import (
    LINE,
    RUN,
    PassTime,
    claimed,
    committed,
    created,
    due_time,
    finish,
    get,
    make_action,
    phase_write,
    settle,
    shard_of,
    success_write,
)

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CreateOutcome, Store
from reconciler.stores.garbage import Collected
from reconciler.stores.memory import MemoryStore
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.rule("R42")


def collect(store: Store, run: RunId = RUN, *, limit: int = 100) -> Collected:
    """Collect everything of a run's shard that has ended by now."""
    return store.collect(store.shard_of(run), before=store.now() + 1, limit=limit)


def names(report: Collected) -> list[str]:
    """Return names of the forgotten actions."""
    return sorted(action.id.action for action in report.deleted)


def remains(store: Store, run: RunId) -> list[str]:
    """Return everything a store keeps that carries the name of a run."""
    if isinstance(store, RedisStore):
        return [key.decode() for key in store.client.scan_iter(f"{store.keys.prefix}:*{run}*", count=1000)]
    assert isinstance(store, MemoryStore)
    shard = store._shards[store.shard_of(run)]
    indexes = (shard.tree, shard.counters, shard.incarnations, shard.runs)
    paths = [path for index in (shard.records, shard.due, shard.done) for path in index if str(run) in path]
    return paths + [str(run) for index in indexes if run in index]


def test_what_ended_before_is_forgotten(store: Store, pass_time: PassTime) -> None:
    """An action goes when its retention is over, and is handed back whole; a younger one stays."""
    old, young, live = make_action("old"), make_action("young"), make_action("live")
    created(store, old, young, live)
    finish(store, old)
    pass_time(5)
    border = store.now()
    finish(store, young)
    report = store.collect(shard_of(store, old), before=border, limit=100)
    assert (names(report), report.already_gone, report.kept) == (["old"], 0, 0)
    assert report.deleted[0].phase is ActionPhase.SUCCEEDED
    assert report.deleted[0].spec == old.spec
    assert store.get(old.id) is None
    assert get(store, young).is_terminal
    assert get(store, live).phase is ActionPhase.QUEUED


def test_the_border_itself_is_kept(store: Store) -> None:
    """Retention is never cut short, not by a millisecond."""
    action = make_action()
    created(store, action)
    finish(store, action)
    assert store.collect(shard_of(store, action), before=1, limit=100).deleted == ()
    ended = get(store, action).metadata.creation_timestamp
    assert store.collect(shard_of(store, action), before=ended, limit=100) == Collected((), 0, 0)


@pytest.mark.rule("R39")
def test_owed_clean_up_keeps_an_action_and_is_asked_for(store: Store) -> None:
    """An ended action with a finalizer stays, and a step is woken to finalize it."""
    action = make_action()
    created(store, action)
    committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now() + 3_600_000))
    report = collect(store)
    assert (report.deleted, report.kept) == ((), 1)
    at = due_time(store, action)
    assert at is not None
    assert at <= store.now()


@pytest.mark.rule("R42")
def test_open_children_keep_their_parent(store: Store) -> None:
    """No action goes while a child of it lives; when all have ended the family goes."""
    family = [make_action("top"), make_action("x", parent="top"), make_action("y", parent="top")]
    created(store, *family)
    finish(store, family[0])
    settle(store, family[0])
    finish(store, family[1])
    report = collect(store)
    assert (names(report), report.kept) == (["x"], 1)
    finish(store, family[2])
    assert names(collect(store)) == ["top", "y"]


@pytest.mark.rule("R42")
def test_what_stays_below_keeps_what_is_above(store: Store) -> None:
    """Who submits a map again while a member still owes clean-up finds its root: no second one counts that member."""
    root, done, owes = make_action("a0"), make_action("m0", parent="a0"), make_action("m1", parent="a0")
    created(store, root, done, owes)
    finish(store, done)
    committed(store, success_write(claimed(store, owes), keep_finalizer=True, due=store.now() + 3_600_000))
    finish(store, root)
    report = collect(store)
    assert (names(report), report.kept) == (["m0"], 2)
    again = store.create([root, done, owes])
    assert [answer.outcome for answer in again.outcomes] == [
        CreateOutcome.EXISTS,
        CreateOutcome.PARENT_ENDED,
        CreateOutcome.EXISTS,
    ]
    settle(store, owes)
    assert names(collect(store)) == ["a0", "m1"]
    assert remains(store, RUN) == []


@pytest.mark.rule("R42")
def test_a_tree_that_ended_from_above_goes_at_once(store: Store, pass_time: PassTime) -> None:
    """Of an aborted tree the top ends first; one pass forgets all levels."""
    family = [make_action("top"), make_action("x", parent="top"), make_action("y", parent="x")]
    created(store, *family)
    for action in family:
        finish(store, action, ActionPhase.ABORTED)
        pass_time(5)
    for action in family[:2]:
        settle(store, action)
    assert names(collect(store)) == ["top", "x", "y"]
    assert remains(store, RUN) == []


def test_a_child_that_vanished_keeps_nobody(store: Store) -> None:
    """A record that vanished, as by eviction, does not hold the one above it for ever."""
    top, child = make_action("top"), make_action("x", parent="top")
    created(store, top, child)
    finish(store, child)
    finish(store, top)
    if isinstance(store, RedisStore):
        store.client.delete(store.keys.action(child.id))
    else:
        assert isinstance(store, MemoryStore)
        del store._shards[shard_of(store, child)].records[str(child.id)]
    assert names(collect(store)) == ["top"]


@pytest.mark.rule("R42")
def test_a_live_parent_keeps_its_ended_children(store: Store) -> None:
    """A parent that still runs may read its children's results."""
    family = [make_action("top"), make_action("x", parent="top")]
    created(store, *family)
    finish(store, family[1])
    assert collect(store) == Collected((), 0, 1)
    finish(store, family[0])
    assert names(collect(store)) == ["top", "x"]


@pytest.mark.rule("R42")
def test_a_tree_is_kept_as_long_as_its_top(store: Store, pass_time: PassTime) -> None:
    """Results below an ended action stay readable until its own retention is over, however long ago they were made."""
    family = [make_action("top"), make_action("x", parent="top"), make_action("y", parent="x")]
    created(store, *family)
    finish(store, family[2])
    finish(store, family[1])
    pass_time(5)
    border = store.now()
    pass_time(5)
    finish(store, family[0])
    assert store.collect(shard_of(store, family[0]), before=border, limit=100) == Collected((), 0, 2)
    assert names(collect(store)) == ["top", "x", "y"]


def test_the_last_action_takes_its_run_along(store: Store) -> None:
    """When the last action of a run is collected nothing that carries the run's name is left behind."""
    run = RunId("p", "d", "gone")
    family = [
        make_action("top", run=run), make_action("x", run=run, parent="top", template=b"other"),
        make_action("y", run=run, parent="x"),
    ]  # fmt: skip
    created(store, *family)
    committed(store, phase_write(claimed(store, family[2]), ActionPhase.RUNNING, launch=("1", LINE)))
    for action in reversed(family):
        finish(store, action)
    report = collect(store, run)
    assert names(report) == ["top", "x", "y"]
    assert {action.id.action: action.spec.task_template for action in report.deleted} == {
        "top": b"template", "x": b"other", "y": b"template",
    }  # fmt: skip
    assert remains(store, run) == []
    assert store.counts(run) is None
    assert store.list_runs() == []
    assert store.list_actions(run).actions == []
    assert store.due(store.shard_of(run)) == []


def test_a_run_with_live_actions_stays_listed(store: Store) -> None:
    """Counts go down with what was collected, and the run is still there."""
    created(store, make_action("a"), make_action("b"))
    finish(store, make_action("a"))
    collect(store)
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.QUEUED: 1}
    assert [summary.id for summary in store.list_runs()] == [RUN]
    assert [action.id.action for action in store.list_actions(RUN).actions] == ["b"]


def test_a_forgotten_identity_is_free_again(store: Store) -> None:
    """After collection the same name is a new action, with a fresh history."""
    action = make_action()
    created(store, action)
    finish(store, action)
    collect(store)
    assert store.create([make_action(template=b"new")]).outcomes[0].outcome is CreateOutcome.CREATED
    record = get(store, action)
    assert (record.spec.task_template, record.version, record.phase) == (b"new", 1, ActionPhase.QUEUED)
    assert [e.sequence for e in store.events(action.id)] == [1]
    assert claimed(store, action).token == 1


def test_collecting_twice_is_harmless(store: Store) -> None:
    """Two collectors do no more than one."""
    created(store, make_action())
    finish(store, make_action())
    assert names(collect(store)) == ["a0"]
    assert collect(store) == Collected((), 0, 0)


def test_an_entry_without_its_record_is_cleared(store: Store) -> None:
    """A record that vanished, as by eviction, is counted as already gone and forgotten."""
    action = make_action()
    created(store, action)
    finish(store, action)
    if isinstance(store, RedisStore):
        store.client.delete(store.keys.action(action.id))
    else:
        assert isinstance(store, MemoryStore)
        del store.shard(action.id).records[str(action.id)]
    assert collect(store) == Collected((), 1, 0)
    assert collect(store) == Collected((), 0, 0)


def test_pages_reach_everything(store: Store) -> None:
    """Small pages, full of actions that must stay, do not hide those behind them."""
    kept = [make_action(f"k{n}") for n in range(5)]
    free = [make_action(f"f{n}") for n in range(7)]
    created(store, *kept, *free)
    for action in kept:
        committed(store, success_write(claimed(store, action), keep_finalizer=True, due=store.now()))
    for action in free:
        finish(store, action)
    report = collect(store, limit=2)
    assert (names(report), report.kept) == ([f"f{n}" for n in range(7)], 5)
