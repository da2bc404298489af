"""What changes the turn of a launch that stands in line: a priority, another queue, a pause, its time that has passed."""

from __future__ import annotations

import msgspec
import pytest
from line_support import HOUR, RUN, draw, everything, given_back, line, many, names, picked, stand
from support import (
    LINE,
    PassTime,
    claimed,
    committed,
    created,
    due_time,
    get,
    launched,
    make_action,
    phase_write,
    release_write,
    reported,
    shard_of,
)

from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.api.audit import Ruling, Who
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Store
from reconciler.stores.lines import QueueState

RETURNED = AttemptOutcome(ended="returned")


def planned(action: TaskAction, **plan: int) -> TaskAction:
    """Return an action that was submitted with a plan."""
    action.metadata = msgspec.structs.replace(action.metadata, **plan)
    return action


# -- priority ----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R78")
def test_another_priority_moves_the_launch(store: Store) -> None:
    """To the line of that level, in its place; the line that was empty is told."""
    first, second, third = many(3)
    stand(store, [first, second, third], line(5))
    changed, opened = store.prioritize([third.id, second.id], 9, incarnation=third.metadata.incarnation)
    assert (changed, [head.line for head in opened]) == (2, [line(9)])
    assert everything(store, first, line(9)) == ["a01", "a02"]
    assert everything(store, first, line(5)) == ["a00"]
    assert get(store, third).metadata.priority == 9
    assert store.prioritize([third.id], 9) == (1, ())


@pytest.mark.rule("R78")
def test_what_ended_or_lives_another_life_keeps_its_priority(store: Store) -> None:
    """As does what nobody knows; whoever waits for no worker is changed without a line."""
    ended, waits = make_action("ended"), make_action("waits")
    launched(store, ended)
    reported(store, ended, RETURNED)
    committed(store, phase_write(claimed(store, ended), ActionPhase.SUCCEEDED))
    created(store, waits)
    unknown = make_action("unknown")
    assert store.prioritize([ended.id, waits.id, unknown.id], 7) == (1, ())
    assert store.prioritize([waits.id], 8, incarnation="another") == (0, ())
    assert [get(store, one).metadata.priority for one in (ended, waits)] == [5, 7]


@pytest.mark.rule("R78")
def test_a_relaunch_stays_ahead(store: Store) -> None:
    """Its level is above all priorities, whatever its action is given."""
    action = make_action()
    stand(store, [action], line(10))
    assert store.prioritize([action.id], 0) == (1, ())
    assert everything(store, action, line(10)) == ["a0"]


@pytest.mark.rule("R78")
def test_a_priority_given_while_a_step_decides_counts(store: Store) -> None:
    """The line is chosen by the record of the claim; the launch enters that of the priority given meanwhile."""
    action = make_action()
    created(store, action)
    held = claimed(store, action)
    store.prioritize([action.id], 9)
    due = store.now() + HOUR
    report = store.commit(
        shard_of(store, action), [phase_write(held, ActionPhase.RUNNING, due=due, launch=("1", line(5)))]
    )
    assert [head.line for head in report.opened] == [line(9)]
    assert everything(store, action, line(9)) == ["a0"]


@pytest.mark.rule("R78")
def test_a_priority_given_while_it_is_drawn_counts(store: Store) -> None:
    """A launch that is given back goes to the line of the priority it was given meanwhile."""
    action = make_action()
    stand(store, [action], line(5))
    (record,) = draw(store, action, line(5)).actions
    assert store.prioritize([action.id], 2) == (1, ())
    opened = given_back(store, record, name=line(5))
    assert [head.line for head in opened] == [line(2)]
    assert everything(store, action, line(2)) == ["a0"]


# -- queues ------------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R85")
def test_what_waits_moves_to_another_queue(store: Store) -> None:
    """Whole lines, in their places, beside what stands there; nothing of other queues."""
    first, second = many(2)
    stand(store, [first, second], line(5))
    stand(store, [make_action("b", run=RUN)], line(5, queue="other"))
    stand(store, [make_action("c", run=RUN)], line(5, queue="q2"))
    moved, opened = store.move("q", "other")
    assert (moved, opened) == (2, ())
    assert everything(store, first, line(5)) == []
    assert everything(store, first, line(5, queue="other")) == ["a00", "a01", "b"]
    assert store.launches_waiting() == {"q2": 1}
    moved, opened = store.move("q2", "q")
    assert (moved, [head.line for head in opened]) == (1, [line(5)])
    assert store.move("nobody", "q") == (0, ())


@pytest.mark.rule("R85")
def test_a_queue_is_paused_and_limited(store: Store) -> None:
    """What is not said stays; a paused one gives nothing and needs no ticket, resumed it needs one."""
    assert store.set_queue("q") == QueueState()
    assert store.queues_with_rules() == set()
    assert store.set_queue("q", pause=True, limit=0) == QueueState(paused=True, limit=0)
    assert store.set_queue("q", limit=7) == QueueState(paused=True, limit=7)
    opened = stand(store, [make_action()]).opened
    queue = LINE.partition("/")[0]
    store.set_queue(queue, pause=True)
    assert not store.announce(queue, opened)
    assert picked(store, queue=queue) == ""
    store.set_queue(queue, pause=False)
    assert store.announce(queue)
    assert picked(store, queue=queue) == LINE
    assert store.queues_with_rules() == {"q"}
    store.set_queue("other", pause=True)
    assert store.set_queue("q", limit=-1) == QueueState()
    assert store.queues_with_rules() == {"other"}


# -- time --------------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R83")
def test_an_action_is_due_when_it_may_begin(store: Store) -> None:
    """Delays count from acceptance by the store's clock; what expires earlier is looked at then."""
    plans = {
        "later": (-60_000, 0),
        "far": (store.now() + HOUR, 0),
        "ends": (-60_000, -30_000),
        "now": (0, -30_000),
    }
    for name, (start, ends) in plans.items():
        action = planned(make_action(name), not_before=start, expires_at=ends)
        created(store, action)
        kept = get(store, action).metadata
        accepted = kept.creation_timestamp
        wanted = {"later": accepted + 60_000, "far": start, "ends": accepted + 30_000, "now": accepted}
        assert due_time(store, action) == wanted[name]
        assert kept.not_before == (accepted - start if start < 0 else start)
        assert kept.expires_at == (accepted - ends if ends < 0 else ends)


@pytest.mark.rule("R84")
def test_what_expired_in_line_is_not_drawn(store: Store, pass_time: PassTime) -> None:
    """It leaves the line, and a step is woken to end it."""
    stale, fresh = planned(make_action("a"), expires_at=-50), make_action("b")
    stand(store, [stale, fresh])
    pass_time(100)
    assert names(draw(store, fresh, limit=2)) == ["b"]
    assert due_time(store, stale) <= store.now()
    assert not claimed(store, stale).attempt.in_line


@pytest.mark.rule("R84")
def test_what_began_in_time_does_not_expire_in_line(store: Store, pass_time: PassTime) -> None:
    """The launch of a later attempt is drawn, however late."""
    action = planned(make_action(), expires_at=-50)
    launched(store, action)
    draw(store, action)
    reported(store, action, RETURNED)
    committed(store, release_write(claimed(store, action), due=store.now() + HOUR, launch=("2", LINE)))
    pass_time(100)
    assert names(draw(store, action)) == ["a0"]


def test_notes_of_a_queue_are_kept(store: Store) -> None:
    """Who did what is noted with the change, at the store's time; the newest 100 stay."""
    assert store.rulings("noted") == []
    before = store.now()
    store.set_queue("noted", pause=True, note=Ruling("pause", "ada", "cli", at=1))
    store.set_queue("noted")
    [one] = store.rulings("noted")
    assert (one.what, one.actor, one.door) == ("pause", "ada", "cli")
    assert before <= one.at <= store.now()
    for number in range(100):
        store.set_queue("noted", limit=number, note=Ruling(f"limit {number}"))
    assert [note.what for note in store.rulings("noted")] == [f"limit {number}" for number in range(100)]


def test_who_prioritized_is_kept(store: Store) -> None:
    """The record says who gave it which priority, the newest 20; where nobody says who he is, what was there stays."""
    action = make_action()
    created(store, action)
    store.prioritize([action.id], 3)
    assert get(store, action).metadata.prioritized is None
    store.prioritize([action.id], 7, by=Who("ada", "cli"))
    found = get(store, action).metadata.prioritized
    assert found is not None
    assert (found.what, found.actor, found.door) == ("priority 7", "ada", "cli")
    assert found.at <= store.now()
    assert get(store, action).metadata.priorities == (found,)
    names = ["]", '"},\n{', *(f"p{number}" for number in range(20))]
    for number, name in enumerate(names):
        store.prioritize([action.id], number % 10, by=Who(name, "flower"))
        metadata = get(store, action).metadata
        given = ["ada", *names[: number + 1]][-20:]
        assert [one.actor for one in metadata.priorities] == given
        last = metadata.priorities[-1]
        assert last == metadata.prioritized
        assert last.what == f"priority {metadata.priority}" == f"priority {number % 10}"
    store.prioritize([action.id], 1)
    assert len(get(store, action).metadata.priorities) == 20


def test_who_submitted_is_kept(store: Store) -> None:
    """With the record, and in its first event."""
    action = make_action()
    action.set_metadata(submitted=Who("ada", "client"))
    created(store, action)
    assert get(store, action).metadata.submitted == Who("ada", "client")
    assert store.events(action.id)[0].actor == "ada"
