"""Which line a worker draws from next, and who tells a queue that there is work."""

from __future__ import annotations

from collections import Counter

import pytest
from line_support import draw, head, line, pause, picked, stand, standing
from support import LINE, PassTime, launched, make_action, shard_of

from reconciler.stores.base import Store
from reconciler.stores.lines import Head, Served
from reconciler.stores.timing import AGED, AGED_EVERY, TICKET_TTL

pytestmark = [pytest.mark.rule("R81"), pytest.mark.rule("R82")]
LIFE = 60_000


def served(store: Store, name: str, *, left: int = 1, cost: float = 1.0, shard: int = 0) -> Served:
    """Return a draw from a line, just now."""
    return Served(head(store, name, shard=shard), left, cost)


# -- tickets -----------------------------------------------------------------------------------------------------------
def test_one_ticket_at_a_time(store: Store) -> None:
    """Who announces a line first sends a ticket; while that is on its way nobody else does, until a worker takes it."""
    assert not store.announce("q")
    assert store.announce("q", [head(store, LINE)])
    assert not store.announce("q", [head(store, line(9))])
    assert picked(store, first=True) == line(9)
    assert store.announce("q")
    assert not store.announce("q")


def test_a_lost_ticket_is_sent_again(store: Store, pass_time: PassTime) -> None:
    """The mark of a ticket lives for some seconds only."""
    assert store.announce("q", [head(store, LINE)])
    pass_time(TICKET_TTL + 5)
    assert store.announce("q")


def test_queues_know_nothing_of_each_other(store: Store) -> None:
    """Each has its own heads and tickets."""
    assert store.announce("q", [head(store, LINE)])
    assert store.announce("other", [head(store, line(queue="other"))])
    assert picked(store, queue="other") == line(queue="other")
    assert standing(store.pick("third")) == ("", 0)


def test_a_paused_queue_gets_no_ticket_and_no_choice(store: Store) -> None:
    """What waits there waits until it goes on."""
    store.announce("q", [head(store, LINE)])
    pause(store, "q", paused=True)
    assert standing(store.pick("q", first=True)) == ("", 1)
    assert not store.announce("q", [head(store, line(9))])
    pause(store, "q", paused=False)
    assert store.announce("q")
    assert picked(store) == line(9)


# -- who is next -------------------------------------------------------------------------------------------------------
def test_the_highest_level_goes_first(store: Store) -> None:
    """Whoever came first: a relaunch, then the priorities from nine down."""
    levels = [0, 5, 9, 10, 3]
    store.announce("q", [head(store, line(level), place=1000 + level) for level in levels])
    order, last = [], ()
    for _ in levels:
        name = picked(store, *last)
        order.append(name)
        last = (served(store, name, left=0),)
    assert order == [line(level) for level in (10, 9, 5, 3, 0)]
    assert standing(store.pick("q", served=last)) == ("", 0)


def turns(store: Store, count: int, weights: dict[str, float]) -> Counter[str]:
    """Count how often lines of these fair keys are picked, each served one launch by its weight."""
    found: Counter[str] = Counter()
    last: tuple[Served, ...] = ()
    for _ in range(count):
        name = picked(store, *last)
        fair = name.split("/")[2]
        found[fair] += 1
        last = (served(store, name, left=9, cost=1 / weights.get(fair, 1)),)
    return found


def test_keys_take_turns(store: Store) -> None:
    """One with many launches does not keep another waiting; one that comes later neither catches up nor waits."""
    store.announce("q", [head(store, line(fair=fair)) for fair in ("big", "small")])
    assert turns(store, 20, {}) == {"big": 10, "small": 10}
    store.announce("q", [head(store, line(fair="new"))])
    found = turns(store, 30, {})
    assert all(9 <= count <= 11 for count in found.values()), found


def test_turns_are_weighted(store: Store) -> None:
    """One of weight three gets three turns for one of another's."""
    store.announce("q", [head(store, line(fair=fair)) for fair in ("etl", "web")])
    assert turns(store, 40, {"etl": 3}) == {"etl": 30, "web": 10}


def test_within_a_key_age_decides(store: Store) -> None:
    """Of lines of one fair key, in whatever shard, that goes first whose first launch has stood longest."""
    now = store.now()
    heads = [
        Head(shard, line(function=f), now - age, now * 1000)
        for shard, f, age in ((1, "f", 5), (2, "g", 9), (3, "f", 7))
    ]
    store.announce("q", heads)
    pick = store.pick("q")
    assert (pick.shard, pick.line, pick.lines) == (2, line(function="g"), 3)


def test_after_a_draw_the_place_is_that_of_what_is_left(store: Store) -> None:
    """A line whose next launch is young stands behind one whose first is old."""
    now = store.now()
    store.announce("q", [Head(1, LINE, now - 9, now * 1000), Head(2, LINE, now - 5, now * 1000)])
    assert store.pick("q").shard == 1
    assert store.pick("q", served=[Served(Head(1, LINE, now, now * 1000), 3, 1)]).shard == 2


def test_what_has_stood_long_goes_first_now_and_then(store: Store) -> None:
    """Every tenth choice is for the launch that has stood longest, if that is long: nobody starves."""
    old = head(store, line(0), place=store.now() - AGED - 1_000)
    store.announce("q", [old, head(store, line(9))])
    order = [picked(store) for _ in range(2 * AGED_EVERY)]
    assert [n for n, name in enumerate(order, 1) if name == line(0)] == [AGED_EVERY, 2 * AGED_EVERY]


def test_who_has_not_stood_long_has_no_such_right(store: Store) -> None:
    """A young launch of low priority waits for those before it."""
    store.announce("q", [head(store, line(0), place=store.now() - AGED // 2), head(store, line(9))])
    assert {picked(store) for _ in range(2 * AGED_EVERY)} == {line(9)}


# -- who can run it ----------------------------------------------------------------------------------------------------
def test_a_worker_gets_what_it_knows(store: Store) -> None:
    """A line is not for a worker that lacks its function while another one has it; what nobody knows anybody takes."""
    store.tell_functions("w1", "q", {"f": "1"}, LIFE)
    store.tell_functions("w2", "q", {"g": "1"}, LIFE)
    store.announce("q", [head(store, line(9, function="g")), head(store, line(5, function="f"))])
    assert picked(store, worker="w1") == line(5, function="f")
    assert picked(store, worker="w2") == line(9, function="g")
    assert picked(store, worker="") == line(9, function="g")
    store.announce("q", [head(store, line(7, function="unheard.of"))])
    assert picked(store, worker="w1") == line(7, function="unheard.of")


def test_a_worker_without_the_secrets_of_a_function_is_not_asked_for_it(store: Store) -> None:
    """While another one has them; when none has, it takes the word for it, to say so."""
    store.tell_functions("w1", "q", {"!f": "db"}, LIFE)
    store.tell_functions("w2", "q", {"f": "1"}, LIFE)
    store.announce("q", [head(store, LINE)])
    assert picked(store, worker="w1") == ""
    assert picked(store, worker="w2") == LINE
    store.tell_functions("w2", "q", {"!f": "db"}, LIFE)
    assert picked(store, worker="w1") == LINE


def test_who_does_not_know_a_function_does_not_speak_of_its_secrets(store: Store) -> None:
    """One that knows it and lacks its secrets says what is missing: an older release would say something else."""
    store.tell_functions("new", "q", {"!f": "db"}, LIFE)
    store.tell_functions("old", "q", {"g": "1"}, LIFE)
    store.announce("q", [head(store, LINE)])
    assert picked(store, worker="old") == ""
    assert picked(store, worker="new") == LINE
    store.tell_functions("new", "q", {}, 0)
    assert picked(store, worker="old") == LINE


def test_one_without_work_for_it_is_told_what_stands(store: Store) -> None:
    """A worker that can run nothing of what waits hears that something waits for others."""
    store.tell_functions("w1", "q", {}, LIFE)
    store.tell_functions("w2", "q", {"f": "1"}, LIFE)
    store.announce("q", [head(store, LINE)])
    assert standing(store.pick("q", worker="w1")) == ("", 1)


def test_the_dead_know_nothing(store: Store, pass_time: PassTime) -> None:
    """When the last worker that knew a function is gone, others take it, to say so."""
    store.tell_functions("w1", "q", {"g": "1"}, LIFE)
    store.tell_functions("w2", "q", {"f": "1"}, 200)
    store.announce("q", [head(store, LINE)])
    assert picked(store, worker="w1") == ""
    pass_time(250)
    assert picked(store, worker="w1") == LINE


def test_an_aged_line_is_not_for_who_lacks_its_function(store: Store) -> None:
    """Not even with the tenth choice."""
    store.tell_functions("w1", "q", {"g": "1"}, LIFE)
    store.tell_functions("w2", "q", {"f": "1"}, LIFE)
    old = head(store, LINE, place=store.now() - AGED - 1_000)
    store.announce("q", [old, head(store, line(1, function="g"))])
    assert {picked(store, worker="w1") for _ in range(2 * AGED_EVERY)} == {line(1, function="g")}


def test_an_aged_line_of_others_takes_nobodys_turn(store: Store) -> None:
    """While what has stood longest of all waits for a worker that is busy, another one still serves its own oldest."""
    store.tell_functions("w1", "q", {"g": "1"}, LIFE)
    store.tell_functions("w2", "q", {"f": "1"}, LIFE)
    long_ago, old = store.now() - 3 * AGED, line(0, function="g")
    store.announce("q", [head(store, line(0), place=long_ago), head(store, line(9, function="g"))])
    store.announce("q", [head(store, old, place=long_ago + AGED)])
    assert [picked(store, worker="w1") for _ in range(AGED_EVERY)].count(old) == 1


def test_choices_in_step_starve_nobody(store: Store) -> None:
    """Two workers choose in turn, so each tenth choice is of the same one: the other's oldest is served all the same."""
    store.tell_functions("w1", "q", {"f": "1"}, LIFE)
    store.tell_functions("w2", "q", {"g": "1"}, LIFE)
    old = line(0)
    store.announce("q", [head(store, old, place=store.now() - 2 * AGED), head(store, line(9))])
    store.announce("q", [head(store, line(9, function="g"))])
    order = [picked(store, worker=worker) for _ in range(AGED_EVERY) for worker in ("w1", "w2")]
    assert old in order


# -- heads are derived -------------------------------------------------------------------------------------------------
def test_an_emptied_line_is_forgotten(store: Store) -> None:
    """Until somebody announces it again."""
    store.announce("q", [head(store, LINE)])
    assert standing(store.pick("q", served=[served(store, LINE, left=0)], choose=False)) == ("", 0)
    assert picked(store) == ""
    store.announce("q", [head(store, LINE)])
    assert picked(store) == LINE


def test_what_came_after_the_draw_is_not_forgotten(store: Store) -> None:
    """A line that was drawn empty, and opened again before the worker says so, keeps its head: in the same ms, too."""
    first, second = make_action("a"), make_action("b")
    store.announce("q", launched(store, first).opened)
    drawn = draw(store, first)
    assert drawn.left == 0
    opened = launched(store, second).opened
    assert len(opened) == 1
    store.announce("q", opened)
    pick = store.pick("q", served=[Served(drawn.head, drawn.left, 1)])
    assert (pick.shard, pick.line) == (shard_of(store, first), LINE)


def test_a_head_without_a_line_costs_one_look(store: Store) -> None:
    """One that was wrong is forgotten by the draw that finds nothing."""
    shard = shard_of(store, make_action())
    stale = make_action()
    store.announce("q", stand(store, [stale]).opened)
    draw(store, stale)
    assert picked(store) == LINE
    empty = draw(store, stale)
    assert (empty.actions, empty.head.shard) == ([], shard)
    assert standing(store.pick("q", served=[Served(empty.head, empty.left)])) == ("", 0)


def test_a_look_makes_lost_heads_again(store: Store) -> None:
    """What the look at all shards tells can be announced as it is."""
    action = make_action()
    launched(store, action)
    assert picked(store) == ""
    assert store.announce("q", store.look(0).lines)
    pick = store.pick("q")
    assert (pick.shard, pick.line) == (shard_of(store, action), LINE)
