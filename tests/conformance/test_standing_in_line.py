"""Launches stand in lines, and are drawn from them: by one worker each, in their order, with leases of their own."""

from __future__ import annotations

import math

import pytest
from line_support import (
    HOUR,
    RUN,
    back,
    draw,
    everything,
    given_back,
    line,
    many,
    names,
    stand,
)
from support import (
    ATTEMPT_LEASE,
    GRACE,
    LINE,
    STEP_LEASE,
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
    started,
    success_write,
)

from reconciler.api.action import AttemptOutcome, Children, Deletion, RunId
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Finished, StartRefused, Store
from reconciler.stores.lines import GivenBack, Turn
from reconciler.stores.timing import APART, PART

pytestmark = [pytest.mark.rule("R78"), pytest.mark.rule("R79"), pytest.mark.rule("R80")]
RETURNED = AttemptOutcome(ended="returned")


# -- entering ----------------------------------------------------------------------------------------------------------
def test_a_commit_puts_a_launch_into_its_line(store: Store) -> None:
    """The commit that launches tells the line it opened, with the place of the launch; a claim sees it standing."""
    action = make_action()
    report = launched(store, action)
    (opened,) = report.opened
    assert (opened.shard, opened.line) == (shard_of(store, action), LINE)
    assert opened.place == report.now
    assert claimed(store, action).attempt.in_line


def test_a_line_is_opened_once(store: Store) -> None:
    """Only the commit that finds a line empty has to announce it; one commit of many opens it once."""
    assert len(stand(store, many(3)).opened) == 1
    other = make_action("later")
    assert launched(store, other).opened == ()
    assert len(everything(store, other)) == 4
    assert len(launched(store, make_action("again")).opened) == 1


def test_sent_again_it_stands_once_and_keeps_its_place(store: Store, pass_time: PassTime) -> None:
    """A launch that is sent while it stands in line neither stands twice nor loses its turn."""
    first, second = many(2)
    stand(store, [first, second])
    pass_time(APART * 3)
    committed(store, release_write(claimed(store, first), due=store.now() + HOUR, launch=("1", LINE)))
    assert everything(store, first) == ["a00", "a01"]


def test_sent_to_another_line_it_leaves_the_first(store: Store) -> None:
    """A launch stands in one line."""
    action, other = make_action(), line(9)
    launched(store, action)
    committed(store, release_write(claimed(store, action), due=store.now() + HOUR, launch=("1", other)))
    assert everything(store, action) == []
    assert everything(store, action, other) == ["a0"]


def test_launches_of_a_run_stand_apart(store: Store) -> None:
    """A run of many lets one pass that came after it: its launches stand 100 ms apart, from where it began."""
    other = next(
        run
        for run in (RunId("p", "d", f"late{n}") for n in range(99))
        if store.shard_of(run) == store.shard_of(RUN)
    )
    stand(store, many(20))
    late = make_action("late", run=other)
    launched(store, late)
    order = everything(store, late)
    assert [name for name in order if name != "late"] == [f"a{n:02d}" for n in range(20)]
    assert order.index("late") < 12, order  # loading may make it stand behind more than the first


# -- drawing -----------------------------------------------------------------------------------------------------------
def test_each_launch_is_drawn_once(store: Store) -> None:
    """With owner, lease, start and the number that was drawn; it stands in no line any more."""
    actions = many(8)
    stand(store, actions)
    before = store.now()
    drawn = draw(store, actions[0], limit=2)
    assert names(drawn) == ["a00", "a01"]
    assert (drawn.left, drawn.head.line, drawn.head.shard) == (6, LINE, shard_of(store, actions[0]))
    for record in drawn.actions:
        found = get(store, record)
        attempt = found.attempt
        assert attempt == record.attempt
        assert (attempt.owner, attempt.launch, attempt.drawn_with) == ("w1", "1", 2)
        assert before <= attempt.started_at == record.now
        assert attempt.lease_until == attempt.started_at + ATTEMPT_LEASE
        assert due_time(store, record) == attempt.lease_until + GRACE
        assert not claimed(store, record).attempt.in_line
        assert record.spec == found.spec
    assert names(draw(store, actions[0], limit=1, owner="w2")) == ["a02"]


def test_one_that_is_drawn_alone_says_so(store: Store) -> None:
    """Where one was drawn nobody shared its fate."""
    action = make_action()
    launched(store, action)
    assert draw(store, action, limit=9).actions[0].attempt.drawn_with == 0


@pytest.mark.rule("R86")
def test_what_is_drawn_knows_its_children(store: Store) -> None:
    """Who calls a function again learns with the draw how many children earlier passes have started."""
    parent, alone = make_action("a0"), make_action("b0")
    stand(store, [parent, alone])
    created(store, make_action("m0", parent="a0"), make_action("m1", parent="a0"))
    found = {record.id: record.children for record in draw(store, parent, limit=2).actions}
    found |= {record.id: record.children for record in draw(store, parent, limit=2).actions}
    assert found == {parent.id: Children(2, 2, 0), alone.id: Children()}


@pytest.mark.rule("R27")
def test_one_that_is_drawn_alone_after_it_was_handed_back_says_so(store: Store, pass_time: PassTime) -> None:
    """Who was drawn with it before does not matter: if its worker is lost now, it is charged."""
    actions = many(8)
    stand(store, actions)
    first = draw(store, actions[0], limit=2).actions[0]
    assert store.decline_attempt(first.id, "1", owner="w1", why="lacks it", delay=1)
    pass_time(2)
    committed(store, release_write(claimed(store, first), due=store.now() + HOUR, launch=("1", LINE)))
    again = draw(store, first, limit=1, owner="w2").actions[0]
    assert (again.id, again.attempt.owner, again.attempt.drawn_with) == (first.id, "w2", 0)
    assert get(store, first).attempt.drawn_with == 0


def test_a_draw_takes_a_part_of_a_long_line(store: Store) -> None:
    """At most the limit, and at most a quarter of what stands: the others are for others."""
    actions = many(20)
    stand(store, actions)
    assert len(draw(store, actions[0], limit=3).actions) == 3
    assert len(draw(store, actions[0], limit=99).actions) == math.ceil(17 / PART)
    assert draw(store, actions[0], limit=99).left == 12 - math.ceil(12 / PART)
    assert draw(store, actions[0], limit=5, least=7).left == 4
    assert draw(store, actions[0], limit=99, least=7).left == 0


def test_an_empty_line_gives_nothing(store: Store) -> None:
    """Neither does one nobody has heard of."""
    drawn = draw(store, make_action(), line(3), limit=5)
    assert (drawn.actions, drawn.left) == ([], 0)


def test_the_order_is_that_of_places(store: Store) -> None:
    """Who came first is drawn first, however the names sort."""
    for name in ("z", "m", "a"):
        launched(store, make_action(name))
    assert everything(store, make_action()) == ["z", "m", "a"]


def test_what_has_ended_is_not_drawn(store: Store) -> None:
    """The commit of an end takes the launch out of its line: an abort of what waits leaves nothing behind."""
    first, second = many(2)
    stand(store, [first, second])
    store.request_abort(first.id, Deletion(reason="no"))
    committed(store, phase_write(claimed(store, first), ActionPhase.ABORTED))
    drawn = draw(store, first, limit=5)
    assert (names(drawn), drawn.left) == (["a01"], 0)


def test_what_is_being_aborted_is_not_drawn(store: Store) -> None:
    """Before the step that ends it has looked, the launch is skipped and leaves the line."""
    actions = many(3)
    stand(store, actions)
    store.request_abort(actions[0].id, Deletion(reason="no"))
    store.stop_attempt(actions[1].id, "slow")
    drawn = draw(store, actions[0], limit=1)
    assert (names(drawn), drawn.left) == (["a02"], 0)
    assert not claimed(store, actions[0]).attempt.in_line


def test_what_a_draw_left_out_comes_back_into_no_line(store: Store) -> None:
    """A priority that is given to an action whose launch was skipped moves nothing: it stands nowhere any more."""
    (action,) = many(1)
    stand(store, [action])
    store.request_abort(action.id, Deletion(reason="no"))
    assert names(draw(store, action)) == []
    assert store.prioritize([action.id], 9) == (1, ())
    assert store.launches_waiting() == {}
    assert store.turn(action.id).line == ""


def test_what_was_replaced_is_not_drawn(store: Store) -> None:
    """A later launch stands in its own line, and the earlier one in none."""
    action, ahead = make_action(), line(10)
    launched(store, action)
    committed(store, release_write(claimed(store, action), due=store.now() + HOUR, launch=("1-1", ahead)))
    assert draw(store, action, limit=5).actions == []
    (record,) = draw(store, action, ahead, limit=5).actions
    assert record.attempt.launch == "1-1"


def test_a_named_start_leaves_the_line(store: Store) -> None:
    """A worker that starts a launch by its name takes it out of the line; one that was drawn cannot be started again."""
    first, second = many(2)
    stand(store, [first, second])
    assert started(store, first).attempt.drawn_with == 0
    assert everything(store, first) == ["a01"]
    again = store.start_attempt(second.id, "1", owner="w2", lease=9)
    assert again is StartRefused.TAKEN


def test_a_draw_during_a_step_is_watched_after_it(store: Store) -> None:
    """A step that holds the action, and knows nothing of the draw, cannot put the look behind the end of the lease."""
    action = make_action()
    launched(store, action)
    held = claimed(store, action)
    (record,) = draw(store, action).actions
    assert due_time(store, action) == held.now + STEP_LEASE
    committed(store, release_write(held, due=store.now() + HOUR))
    assert due_time(store, action) == record.attempt.lease_until + GRACE


def test_one_sent_again_while_it_is_drawn_is_not_drawn_twice(store: Store) -> None:
    """A step that saw it standing, and sends it again, finds that a worker has it."""
    action = make_action()
    launched(store, action)
    held = claimed(store, action)
    draw(store, action)
    report = committed(store, release_write(held, due=store.now() + HOUR, launch=("1", LINE)))
    assert report.opened == ()
    assert draw(store, action, owner="w2").actions == []
    assert reported(store, action, RETURNED)


# -- giving back -------------------------------------------------------------------------------------------------------
def test_one_given_back_stands_where_it_stood(store: Store) -> None:
    """It has its place and its due time as before the draw, no owner, and nothing is spent."""
    actions = many(8)
    stand(store, actions)
    due = due_time(store, actions[1])
    before = get(store, actions[1]).attempt
    drawn = draw(store, actions[0], limit=2).actions
    assert given_back(store, drawn[1]) == ()
    assert due_time(store, actions[1]) == due
    assert get(store, actions[1]).attempt == before
    assert claimed(store, actions[1]).attempt.in_line
    assert everything(store, actions[0]) == [f"a{n:02d}" for n in range(1, 8)]


def test_giving_back_may_open_a_line(store: Store) -> None:
    """A line that was drawn empty has to be announced again."""
    action = make_action()
    place = launched(store, action).opened[0].place
    (record,) = draw(store, action).actions
    (opened,) = given_back(store, record)
    assert (opened.line, opened.place) == (LINE, place)
    assert names(draw(store, action, owner="w2")) == ["a0"]


def test_without_a_due_time_before_there_is_none_after(store: Store) -> None:
    """What nobody looked at before the draw is looked at by nobody after it."""
    action = make_action()
    launched(store, action)
    (record,) = draw(store, action).actions
    assert due_time(store, action) is not None
    given_back(store, record)
    assert due_time(store, action) is None


def test_a_wake_up_survives_the_giving_back(store: Store) -> None:
    """Who asked for a look while a worker had the launch gets it: an abort does not wait for an hour."""
    actions = many(2)
    stand(store, actions)
    drawn = [*draw(store, actions[0]).actions, *draw(store, actions[0]).actions]
    store.request_abort(actions[0].id, Deletion(reason="no"))
    soon = store.now() + 30_000
    store.wake([actions[1].id], soon)
    given_back(store, *drawn)
    at = due_time(store, actions[0])
    assert at is not None
    assert at <= store.now()
    assert due_time(store, actions[1]) == soon
    assert names(draw(store, actions[0], owner="w2", limit=5)) == ["a01"]


def test_while_a_step_holds_it_the_step_writes_the_due_time(store: Store) -> None:
    """Given back during a step it stays held; the step that commits knows no lease to watch."""
    action = make_action()
    launched(store, action)
    (record,) = draw(store, action).actions
    held = claimed(store, action)
    given_back(store, record)
    assert due_time(store, action) == held.now + STEP_LEASE
    at = store.now() + HOUR
    committed(store, release_write(held, due=at))
    assert due_time(store, action) == at
    assert everything(store, action) == ["a0"]


def test_giving_back_is_fenced(store: Store) -> None:
    """Another owner, launch or life, one that ended or has reported, a ghost: nothing changes."""
    actions = many(3)
    stand(store, actions)
    first, second, third = (draw(store, actions[0]).actions[0] for _ in range(3))
    shard = shard_of(store, first)

    def give(one: GivenBack, owner: str = "w1") -> None:
        assert store.give_back(shard, LINE, owner=owner, launches=[one]) == ()

    give(back(first), owner="w2")
    give(GivenBack(first.id, "1-1", ""))
    give(GivenBack(first.id, "1", "another"))
    give(GivenBack(make_action("ghost").id, "1", ""))
    assert get(store, first).attempt.owner == "w1"
    assert reported(store, second, RETURNED)
    give(back(second))
    committed(store, success_write(claimed(store, third), keep_finalizer=True))
    give(back(third))
    assert everything(store, first) == []
    assert get(store, second).attempt.outcome is not None


def test_given_back_it_reports_no_more(store: Store) -> None:
    """Who gave a launch back has nothing to say of it, and somebody else runs it."""
    action = make_action()
    launched(store, action)
    (record,) = draw(store, action).actions
    given_back(store, record)
    assert not reported(store, action, RETURNED)
    assert not store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE).alive
    draw(store, action, owner="w2")
    assert not reported(store, action, RETURNED)
    assert reported(store, action, RETURNED, owner="w2")


def test_one_that_was_given_up_is_nobodys(store: Store) -> None:
    """Once a step has counted a relaunch, and before it sends that, the late worker can neither give back nor report."""
    action = make_action()
    launched(store, action)
    (record,) = draw(store, action).actions
    held = claimed(store, action)
    write = release_write(held, due=store.now() + HOUR)
    write.status = True
    write.action.set_status(attempts=1, launches=1)
    committed(store, write)
    assert given_back(store, record) == ()
    assert not reported(store, action, RETURNED)
    assert not store.heartbeat(action.id, "1", owner="w1", lease=ATTEMPT_LEASE).alive
    assert everything(store, action) == []
    assert due_time(store, action) is not None


def test_given_back_twice_it_stands_once(store: Store) -> None:
    """Said again because the answer got lost, it changes nothing."""
    action = make_action()
    launched(store, action)
    (record,) = draw(store, action).actions
    given_back(store, record)
    assert given_back(store, record) == ()
    assert everything(store, action) == ["a0"]


# -- reporting ---------------------------------------------------------------------------------------------------------
def test_many_are_reported_in_one_call(store: Store) -> None:
    """Each by its own fence: one that was superseded does not hold up the others."""
    actions = many(12)
    stand(store, actions)
    drawn = draw(store, actions[0], limit=3).actions
    assert len(drawn) == 3
    later, again = store.now() + HOUR, ("1-1", line(10))
    committed(store, release_write(claimed(store, drawn[1]), due=later, launch=again))
    shard = shard_of(store, actions[0])
    told = [Finished(r.id, "1", RETURNED, r.metadata.incarnation) for r in drawn]
    assert store.finish_attempts(shard, "w1", told) == (True, False, True)
    assert [get(store, r).attempt.outcome is not None for r in drawn] == [True, False, True]
    for record in (drawn[0], drawn[2]):
        at = due_time(store, record)
        assert at is not None
        assert at <= store.now()
    assert store.finish_attempts(shard, "w2", told) == (False, False, False)
    assert store.finish_attempts(shard, "w1", told) == (True, False, True)


# -- what a look tells -------------------------------------------------------------------------------------------------
def test_a_look_tells_lines(store: Store) -> None:
    """Every line that has launches, with the place of its first one; an empty one is left out."""
    first, other = make_action(), line(2)
    opened = launched(store, first).opened
    (second,) = launched(store, make_action("b"), line=other).opened
    found = {head.line: (head.shard, head.place) for head in store.look(0).lines}
    shard = shard_of(store, first)
    assert found == {LINE: (shard, opened[0].place), other: (shard, second.place)}
    draw(store, first)
    assert [head.line for head in store.look(0).lines] == [other]


# -- looking -----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R78")
def test_a_launch_tells_its_turn(store: Store) -> None:
    """Its line, how many stand before it, and when a step looks; what stands in none tells the last alone."""
    first, second = many(2)
    new = make_action("new")
    stand(store, [first, second])
    created(store, new)
    turns = [store.turn(action.id) for action in (first, second)]
    assert [(turn.line, turn.ahead) for turn in turns] == [(LINE, 0), (LINE, 1)]
    assert turns[1].due == due_time(store, second)
    assert store.turn(new.id) == Turn(due=due_time(store, new))
    draw(store, first)
    assert store.turn(first.id).line == ""
    assert store.turn(second.id).ahead == 0
    assert store.turn(make_action("unknown").id) == Turn()
