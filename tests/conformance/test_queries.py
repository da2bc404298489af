from __future__ import annotations

import threading

import pytest
from support import (
    RUN,
    PassTime,
    claimed,
    committed,
    created,
    eventually,
    finish,
    get,
    make_action,
    phase_write,
    release_write,
    shard_of,
)

from reconciler.api.action import RunId, Signal
from reconciler.api.event import AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ErrorState
from reconciler.stores.base import ANY, Store
from reconciler.stores.counts import Asking
from reconciler.stores.ended import End

pytestmark = pytest.mark.rule("R76")


def test_a_missing_action_is_none(store: Store) -> None:
    """Unknown is not a phase."""
    assert store.get(make_action().id) is None


def test_many_records_come_in_the_order_asked(store: Store) -> None:
    """A list may mix runs, repeat itself and name what is not there."""
    one, two = make_action("one"), make_action("two", run=RunId("p", "d", "r2"))
    created(store, one, two)
    asked = [two.id, make_action("ghost").id, one.id, two.id]
    assert [record and record.id for record in store.get_many(asked)] == [two.id, None, one.id, two.id]
    assert store.get_many([]) == []


@pytest.mark.rule("R90")
def test_ends_are_those_of_the_records(store: Store) -> None:
    """Whatever the action is in, in the order asked, with the answer of a condition; what is not there has none."""
    one, two = make_action("one"), make_action("two", run=RunId("p", "d", "r2"))
    asks = make_action("asks", condition=True)
    created(store, one, two, asks)
    finish(store, one)
    store.signal(asks.id, Signal(7, "ada"))
    asked = [two.id, make_action("ghost").id, one.id, asks.id, two.id]
    records = store.get_many(asked)
    assert [record and record.phase.is_terminal() for record in records] == [False, None, True, False, False]
    for end, record in zip(store.ends(asked), records, strict=True):
        if record is None:
            assert end is None
            continue
        assert end == End(
            id=record.id,
            incarnation=record.metadata.incarnation,
            phase=record.phase,
            status=record.status,
            signal=record.signal,
        )
    assert store.ends([]) == []


def test_a_record_counts_its_children(store: Store) -> None:
    """Reading many parents gives each its own counts."""
    created(
        store,
        make_action("p1"), make_action("p2"), make_action("leaf"),
        *(make_action(f"x{n}", parent="p1") for n in range(3)),
        make_action("y", parent="p2"),
    )  # fmt: skip
    finish(store, make_action("y"), ActionPhase.FAILED)
    records = store.get_many([make_action(name).id for name in ("p1", "p2", "leaf")])
    counted = [(r.children.total, r.children.open, r.children.failed) for r in records if r is not None]
    assert counted == [(3, 3, 0), (1, 0, 1), (0, 0, 0)]


def test_actions_of_a_run_come_by_parent_and_name(store: Store) -> None:
    """A run is listed in one fixed order, roots first, without other runs."""
    created(
        store,
        make_action("b"), make_action("a"), make_action("z", parent="a"), make_action("c", parent="b"),
        make_action("d", parent="a"),
    )  # fmt: skip
    created(store, make_action("other", run=RunId("p", "d", "r10")))
    page = store.list_actions(RUN)
    assert [action.id.action for action in page.actions] == ["a", "b", "d", "z", "c"]
    assert page.next == ""


def test_children_are_direct(store: Store) -> None:
    """Listing by parent gives its children alone: no grandchildren, none of a parent with a similar name."""
    created(
        store,
        make_action("a"), make_action("ab"), make_action("a-b"), make_action("a0"),
        make_action("c2", parent="a"), make_action("c1", parent="a"), make_action("g", parent="c1"),
        make_action("x", parent="ab"), make_action("y", parent="a-b"), make_action("w", parent="a0"),
    )  # fmt: skip
    assert [a.id.action for a in store.list_actions(RUN, parent="a").actions] == ["c1", "c2"]
    assert [a.id.action for a in store.list_actions(RUN, parent="").actions] == ["a", "a-b", "a0", "ab"]
    assert store.list_actions(RUN, parent="g").actions == []
    assert store.list_actions(RunId("p", "d", "none")).actions == []


def test_numbers_in_names_count_as_numbers(store: Store) -> None:
    """`m2` stands before `m10`, of parents as of children; a page that ends between them is gone on with there."""
    created(
        store, make_action("p10"), make_action("p9"), *(make_action(f"m{n}", parent="p9") for n in range(12))
    )
    created(store, make_action("x", parent="p10"), make_action("m07", parent="p9"))
    whole = ["p9", "p10", *(f"m{n}" for n in range(7)), "m07", *(f"m{n}" for n in range(7, 12)), "x"]
    assert [action.id.action for action in store.list_actions(RUN).actions] == whole
    found, after = [], ""
    while not found or after:
        page = store.list_actions(RUN, after=after, limit=2)
        found += [action.id.action for action in page.actions]
        after = page.next
    assert found == whole


@pytest.mark.parametrize("parent", [None, "top"])
def test_pages_together_are_the_list(store: Store, parent: str | None) -> None:
    """Following `next` gives every action once, in order, and ends."""
    created(store, make_action("top"), *(make_action(f"c{n}", parent="top") for n in range(6, 15)))
    created(store, make_action("g", parent="c10"))
    whole = [action.id for action in store.list_actions(RUN, parent=parent).actions]
    found, after, pages = [], "", 0
    while pages == 0 or after:
        page = store.list_actions(RUN, parent=parent, after=after, limit=3)
        found += [action.id for action in page.actions]
        after, pages = page.next, pages + 1
    assert found == whole
    assert pages == len(whole) // 3 + 1


def test_runs_come_newest_first(store: Store, pass_time: PassTime) -> None:
    """The list of runs starts with the newest, goes across shards, and can be continued."""
    runs = [RunId("p", "d", f"run{n}") for n in range(5)]
    for run in runs:
        created(store, make_action(run=run))
        pass_time(2)
    created(store, make_action("later", run=runs[0]))
    summaries = store.list_runs()
    assert [summary.id for summary in summaries] == runs[::-1]
    assert summaries[0].counts.phases == {ActionPhase.QUEUED: 1}
    assert summaries[4].counts.total == 2
    assert [summary.id for summary in store.list_runs(2)] == [runs[4], runs[3]]
    before = summaries[1].created_at
    assert [summary.id for summary in store.list_runs(2, before)] == [runs[2], runs[1]]


def test_a_run_knows_the_codes_of_its_errors(store: Store) -> None:
    """Of all actions that ended, however they did; one that goes on is not looked at, and no code comes twice."""
    names = ("a", "b", "well", "late", "open")
    created(store, make_action("top"), *(make_action(name, parent="top") for name in names))
    for name, code, phase in (
        ("a", "ValueError", ActionPhase.FAILED),
        ("b", "ValueError", ActionPhase.FAILED),
        ("late", "GaveUp", ActionPhase.ABORTED),
        ("well", "Mended", ActionPhase.SUCCEEDED),
        ("open", "GoesOn", ActionPhase.RUNNING),
    ):
        write = phase_write(claimed(store, make_action(name)), phase)
        write.action.set_status(error_state=ErrorState(code, "USER", "text"))
        committed(store, write)
    finish(store, make_action("top"), ActionPhase.FAILED)
    [summary] = store.list_runs()
    assert summary.codes == {"ValueError", "GaveUp", "Mended"}
    assert summary.counts.total == 6


def test_no_run_of_one_millisecond_is_left_out(store: Store) -> None:
    """A list is gone on with behind its last run, though many were created in the same millisecond."""
    runs = [RunId("p", "d", f"run{n}") for n in range(20)]
    store.create([make_action(run=run) for run in runs])
    seen: list[RunId] = []
    page = store.list_runs(3)
    while page:
        seen += [summary.id for summary in page]
        page = store.list_runs(3, page[-1])
    assert sorted(seen) == sorted(runs)


def test_who_waits_for_a_person_is_listed(store: Store, pass_time: PassTime) -> None:
    """Those that began last first, across shards, with the number of all; whoever is answered or aborted is not."""
    asking = [make_action(run=RunId("p", "d", f"run{n}")) for n in range(4)]
    created(store, make_action("b"), *asking)
    for action in asking:
        write = phase_write(claimed(store, action), ActionPhase.PAUSED)
        committed(store, write)
        pass_time(2)
    assert store.list_asking() == Asking(tuple(action.id for action in asking[::-1]), 4)
    assert store.list_asking(2) == Asking((asking[3].id, asking[2].id), 4)
    finish(store, asking[3], ActionPhase.SUCCEEDED)
    finish(store, asking[0], ActionPhase.ABORTED)
    assert store.list_asking() == Asking((asking[2].id, asking[1].id), 2)
    committed(store, phase_write(claimed(store, asking[2]), ActionPhase.PAUSED))
    assert store.list_asking(0) == Asking((), 2)


def test_an_unknown_run_has_no_counts(store: Store) -> None:
    """No run, no counts: not a run with nothing in it."""
    assert store.counts(RUN) is None
    created(store, make_action(), make_action("b"))
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.phases == {ActionPhase.QUEUED: 2}
    assert (counts.total, counts.ended) == (2, 0)


def test_waiters_are_called_on_a_commit(store: Store) -> None:
    """Whoever subscribed to a run is called when something of it was committed."""
    action = make_action()
    created(store, action)
    record = claimed(store, action)
    called = threading.Event()
    with store.subscribe(RUN, called.set):
        assert not called.is_set()
        committed(store, phase_write(record, ActionPhase.RUNNING))
        assert called.wait(10)


def test_waiters_are_called_on_a_new_action(store: Store) -> None:
    """A new action of the run is news too."""
    called = threading.Event()
    with store.subscribe(RUN, called.set):
        created(store, make_action())
        assert called.wait(10)


def test_waiters_hear_of_their_run_alone(store: Store) -> None:
    """News of another run, and a release without a change, call nobody."""
    mine, other = make_action(), make_action(run=RunId("p", "d", "r2"))
    created(store, mine, other)
    calls: list[str] = []
    done = threading.Event()
    with store.subscribe(RUN, lambda: calls.append("mine")), store.subscribe(other.id.run_id, done.set):
        committed(store, release_write(claimed(store, mine)))
        finish(store, other)
        assert done.wait(10)
    assert calls == []


def test_who_waits_for_one_end_hears_of_it_alone(store: Store) -> None:
    """Of a run of many, whoever waits for the end of one action is called by that, and by nothing before it."""
    mine, other, last = make_action("m1"), make_action("m10"), make_action("m2")
    created(store, mine, other, last)
    calls: list[str] = []
    done = threading.Event()
    any_end = threading.Event()
    with (
        store.subscribe(RUN, lambda: calls.append("m1"), end_of="m1"),
        store.subscribe(RUN, any_end.set, end_of=ANY),
    ):
        with store.subscribe(RUN, done.set, end_of="m2"):
            created(store, make_action("m3"))
            committed(store, phase_write(claimed(store, mine), ActionPhase.RUNNING))
            assert not any_end.is_set()
            finish(store, other)
            finish(store, last)
            assert done.wait(10)
        assert calls == []
        assert any_end.wait(10)
        finish(store, mine)
        eventually(lambda: calls == ["m1"])


def test_several_waiters_of_a_run_are_all_called(store: Store) -> None:
    """One waiter that leaves does not take the others along; after all have left, a new one is served."""
    action = make_action()
    created(store, action)
    first, second, third = threading.Event(), threading.Event(), threading.Event()
    with store.subscribe(RUN, first.set):
        with store.subscribe(RUN, second.set):
            committed(store, phase_write(claimed(store, action), ActionPhase.RUNNING, due=store.now()))
            assert first.wait(10)
            assert second.wait(10)
        first.clear()
        second.clear()
        finish(store, action)
        assert first.wait(10)
        assert not second.is_set()
    with store.subscribe(RUN, third.set):
        created(store, make_action("b"))
        assert third.wait(10)


def entry(number: int) -> AuditEntry:
    """Return a warning."""
    return AuditEntry(id=make_action().id, reason="R", action="A", message=f"m{number}", at=number)


def test_warnings_are_kept_in_order(store: Store) -> None:
    """Warnings of a shard are read oldest first, and are not those of another shard."""
    elsewhere = AuditEntry(
        id=make_action(run=RunId("p", "d", "late")).id, reason="R", action="A", message="x"
    )
    assert store.shard_of(elsewhere.id.run_id) != shard_of(store, make_action())
    store.record_audit([entry(1), entry(2), elsewhere])
    store.record_audit([entry(3)])
    store.record_audit([])
    assert store.audit(shard_of(store, make_action())) == [entry(1), entry(2), entry(3)]


def test_only_the_newest_thousand_warnings_stay(store: Store) -> None:
    """Warnings are bounded."""
    store.record_audit([entry(n) for n in range(1010)])
    kept = store.audit(shard_of(store, make_action()))
    assert (len(kept), kept[0], kept[-1]) == (1000, entry(10), entry(1009))


def test_the_clock_moves_on(store: Store, pass_time: PassTime) -> None:
    """The store's time is milliseconds since the epoch."""
    before = store.now()
    assert before > 1_700_000_000_000
    pass_time(3)
    assert store.now() >= before + 3


def test_reading_is_not_claiming(store: Store) -> None:
    """A record that was only read has no lease, and its token is that of the last claim."""
    created(store, make_action())
    assert get(store, make_action()).token == 0
    assert claimed(store, make_action()).token == 1
