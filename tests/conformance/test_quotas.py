"""Quotas: leases instead of counters, first come first served, caps, and who is woken (R70, R37)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from catalog_support import MoveTime
from support import QUOTA_LEASE as LEASE

from reconciler.api.action import ActionId
from reconciler.api.errors import BadTaskSpecification, InvalidSpec
from reconciler.core.holders import Place
from reconciler.plugins.managers import Allocation, Answer, Constraints, QuotaUnknown, ResourceManager
from reconciler.stores.memory.quotas import MemoryQuotas
from reconciler.stores.quotas import Holder
from reconciler.stores.redis.quotas import RedisQuotas

pytestmark = pytest.mark.rule("R70")
GPU = "gpu"
short = pytest.mark.parametrize("quota_lease", [LEASE])
GRANTED, EXHAUSTED = Allocation.GRANTED, Allocation.EXHAUSTED
CAPPED = Allocation.NAMESPACE_QUOTA_EXCEEDED


def who(name: str, project: str = "p", domain: str = "d") -> ActionId:
    """Return an action; its name is its token too."""
    return ActionId(project, domain, "r", name)


def ask(quotas: ResourceManager, name: str, units: int = 1, **scope: str) -> Allocation:
    """Ask for units of `gpu` without caps."""
    return quotas.allocate(GPU, name, who(name, **scope), Constraints(), units).allocation


def answer(quotas: ResourceManager, name: str) -> Answer:
    """Return the whole answer."""
    return quotas.allocate(GPU, name, who(name))


def test_no_more_than_the_quota_is_granted(quotas: ResourceManager) -> None:
    """As many tokens as there are units are granted; the next one is told that they are exhausted, and when to ask."""
    quotas.register_quota(GPU, 2)
    assert [ask(quotas, name) for name in "abc"] == [GRANTED, GRANTED, EXHAUSTED]
    assert answer(quotas, "a") == Answer(GRANTED)
    assert answer(quotas, "c").look_at > 0


def test_a_token_is_counted_once(quotas: ResourceManager) -> None:
    """The same token asking again is granted again and takes no second unit."""
    quotas.register_quota(GPU, 2)
    assert [ask(quotas, "a") for _ in range(5)] == [GRANTED] * 5
    assert ask(quotas, "b") is GRANTED
    assert ask(quotas, "c") is EXHAUSTED


def test_at_the_same_time_no_more_are_granted(quotas: ResourceManager) -> None:
    """Many who ask at once get together exactly what there is."""
    quotas.register_quota(GPU, 5)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: ask(quotas, f"t{n}"), range(40)))
    assert answers.count(GRANTED) == 5


def test_resources_are_apart(quotas: ResourceManager) -> None:
    """A used-up resource says nothing about another one, nor about its sub-resources."""
    for name in (GPU, "gpu:a100"):
        quotas.register_quota(name, 1)
    assert ask(quotas, "a") is GRANTED
    assert quotas.allocate("gpu:a100", "a", who("a")).allocation is GRANTED
    assert ask(quotas, "b") is EXHAUSTED


def test_released_units_are_free(quotas: ResourceManager) -> None:
    """A released unit can be granted at once; releasing it again frees nothing."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    assert quotas.release(GPU, "a") == ()
    assert ask(quotas, "b") is GRANTED
    assert quotas.release(GPU, "a") == ()
    assert ask(quotas, "c") is EXHAUSTED


@short
def test_holders_are_told(quotas: ResourceManager, move_time: MoveTime) -> None:
    """With the units each action holds by all its tokens; neither who waits, nor whose lease has ended."""
    assert isinstance(quotas, (MemoryQuotas, RedisQuotas))
    quotas.register_quota(GPU, 4)
    assert quotas.holders(GPU) == ()
    assert [ask(quotas, "b"), ask(quotas, "a", 2)] == [GRANTED, GRANTED]
    assert quotas.allocate(GPU, "a-2", who("a")).allocation is GRANTED
    assert ask(quotas, "c") is EXHAUSTED
    assert quotas.holders(GPU) == (Holder(who("a"), 3), Holder(who("b"), 1))
    quotas.release(GPU, "b")
    assert quotas.holders(GPU) == (Holder(who("a"), 3),)
    move_time(LEASE + 1)
    assert quotas.holders(GPU) == ()


def test_places_in_line_are_told(quotas: ResourceManager, move_time: MoveTime) -> None:
    """Of who waits, in the order of the first request; in a line of its own below the cap of a project."""
    assert isinstance(quotas, (MemoryQuotas, RedisQuotas))
    quotas.register_quota(GPU, 1)
    assert quotas.place(GPU, "a") is None
    assert ask(quotas, "a") is GRANTED
    for name in ("b", "c", "d"):
        assert ask(quotas, name) is EXHAUSTED
        move_time(2)
    places = [quotas.place(GPU, name) for name in ("a", "b", "c", "d")]
    assert places == [None, Place(0, 2), Place(1, 1), Place(2, 0)]
    quotas.release(GPU, "b")
    assert quotas.place(GPU, "d") == Place(1, 0)
    quotas.allocate(GPU, "e", who("e"), Constraints(project_scope=0))
    assert quotas.place(GPU, "e") == Place(0, 0)
    assert quotas.place("nothing", "a") is None


def test_unknown_releases_are_fine(quotas: ResourceManager) -> None:
    """Releasing what nobody holds, of a resource nobody knows, does nothing."""
    assert quotas.release("nothing", "a") == ()


@short
def test_leases_end(quotas: ResourceManager, move_time: MoveTime) -> None:
    """A unit whose holder is silent for the length of the lease goes to another one, and not back by a late release."""
    quotas.register_quota(GPU, 1)
    assert ask(quotas, "a") is GRANTED
    move_time(LEASE + 1)
    assert ask(quotas, "b") is GRANTED
    assert quotas.release(GPU, "a") == ()
    assert ask(quotas, "c") is EXHAUSTED


@short
def test_asking_again_renews(quotas: ResourceManager, move_time: MoveTime) -> None:
    """A holder that asks again in time keeps its unit beyond the first lease."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    move_time(LEASE * 55 // 100)
    assert ask(quotas, "a") is GRANTED
    move_time(LEASE * 55 // 100)
    assert ask(quotas, "b") is EXHAUSTED


@short
def test_what_is_in_use_is_renewed_whatever_the_quota_says(
    quotas: ResourceManager, move_time: MoveTime
) -> None:
    """Renewing what runs counts it again after its lease ended, beyond the quota too: nothing new is granted then."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    move_time(LEASE + 1)
    assert ask(quotas, "b") is GRANTED
    quotas.renew(GPU, "a", who("a"))
    quotas.release(GPU, "b")
    assert ask(quotas, "c") is EXHAUSTED
    quotas.release(GPU, "a")
    assert ask(quotas, "c") is GRANTED


def test_a_quota_can_change(quotas: ResourceManager) -> None:
    """A larger quota is in force at once; a smaller one takes nothing away, and grants nothing until it is fallen below."""
    quotas.register_quota(GPU, 1)
    assert [ask(quotas, name) for name in "ab"] == [GRANTED, EXHAUSTED]
    quotas.register_quota(GPU, 3)
    assert [ask(quotas, name) for name in "bc"] == [GRANTED, GRANTED]
    quotas.register_quota(GPU, 1)
    quotas.release(GPU, "a")
    assert [ask(quotas, name) for name in "bd"] == [GRANTED, EXHAUSTED]


def test_a_quota_of_nothing_lets_everybody_wait(quotas: ResourceManager) -> None:
    """With 0 units nothing is granted and nothing is refused for good."""
    quotas.register_quota(GPU, 0)
    assert ask(quotas, "a") is EXHAUSTED


def test_units_are_granted_all_or_none(quotas: ResourceManager) -> None:
    """Who asks for several units gets all of them or waits, holding none."""
    quotas.register_quota(GPU, 3)
    assert ask(quotas, "a", 2) is GRANTED
    assert ask(quotas, "b", 2) is EXHAUSTED
    quotas.release(GPU, "b")
    assert ask(quotas, "c") is GRANTED
    assert ask(quotas, "d") is EXHAUSTED
    quotas.release(GPU, "a")
    quotas.release(GPU, "c")
    assert ask(quotas, "d", 1) is GRANTED
    assert ask(quotas, "e", 2) is GRANTED


def test_the_longest_waiting_is_served_first(quotas: ResourceManager, move_time: MoveTime) -> None:
    """A freed unit goes to who came first, even if another one asks before it; the release names who to wake."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    for name in ("second", "third"):
        move_time(2)
        assert ask(quotas, name) is EXHAUSTED
    assert quotas.release(GPU, "a") == (who("second"),)
    assert ask(quotas, "third") is EXHAUSTED
    assert ask(quotas, "newcomer") is EXHAUSTED
    assert ask(quotas, "second") is GRANTED


def test_a_large_request_is_not_starved(quotas: ResourceManager, move_time: MoveTime) -> None:
    """While the first in line needs more than is free, smaller requests behind it wait."""
    quotas.register_quota(GPU, 2)
    ask(quotas, "a")
    assert ask(quotas, "large", 2) is EXHAUSTED
    move_time(2)
    assert ask(quotas, "small") is EXHAUSTED
    assert quotas.release(GPU, "a") == (who("large"),)
    assert ask(quotas, "large", 2) is GRANTED


def test_who_leaves_the_line_lets_the_next_one_in(quotas: ResourceManager, move_time: MoveTime) -> None:
    """When a waiting token is given up, those whom it held up are named to be woken."""
    quotas.register_quota(GPU, 2)
    ask(quotas, "a")
    ask(quotas, "large", 2)
    move_time(2)
    ask(quotas, "small")
    assert quotas.release(GPU, "large") == (who("small"),)
    assert ask(quotas, "small") is GRANTED


@short
def test_who_does_not_come_back_loses_its_place(quotas: ResourceManager, move_time: MoveTime) -> None:
    """A token that has not asked for three leases holds up nobody, and is not woken."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    ask(quotas, "dead")
    move_time(LEASE * 2)
    quotas.renew(GPU, "a", who("a"))
    ask(quotas, "alive")
    move_time(LEASE + 100)
    assert quotas.release(GPU, "a") == (who("alive"),)
    assert ask(quotas, "alive") is GRANTED


@pytest.mark.parametrize("scope", ["project_scope", "namespace_scope"])
def test_caps_hold_for_their_scope_alone(quotas: ResourceManager, scope: str) -> None:
    """A project at its cap is told so, while others go on; the cap of a domain does not count other domains."""
    quotas.register_quota(GPU, 10)
    caps = Constraints(**{scope: 1})

    def capped(name: str, project: str, domain: str) -> Allocation:
        return quotas.allocate(GPU, name, who(name, project, domain), caps).allocation

    assert capped("a", "p", "d") is GRANTED
    assert capped("b", "p", "d") is CAPPED
    assert capped("c", "p", "other") is (CAPPED if scope == "project_scope" else GRANTED)
    assert capped("d", "other", "d") is GRANTED
    assert capped("e", "p2", "d") is GRANTED


def test_a_cap_holds_up_nobody_else(quotas: ResourceManager, move_time: MoveTime) -> None:
    """A token that waits for the cap of its project is no obstacle to later ones, and is woken by its project's release."""
    quotas.register_quota(GPU, 3)
    caps = Constraints(project_scope=1)
    assert quotas.allocate(GPU, "a", who("a"), caps).allocation is GRANTED
    assert quotas.allocate(GPU, "b", who("b"), caps).allocation is CAPPED
    move_time(2)
    assert ask(quotas, "x", project="q") is GRANTED
    assert quotas.release(GPU, "x") == ()
    assert quotas.release(GPU, "a") == (who("b"),)
    assert quotas.allocate(GPU, "b", who("b"), caps).allocation is GRANTED


@short
def test_next_in_line_looks_when_a_lease_may_end(quotas: ResourceManager, move_time: MoveTime) -> None:
    """The next in line is told the end of the first lease; who is behind more than there are units has more time."""
    quotas.register_quota(GPU, 1)
    ask(quotas, "a")
    move_time(LEASE // 2)
    first, second = answer(quotas, "b"), answer(quotas, "c")
    assert first.look_at + LEASE // 4 < second.look_at
    move_time(LEASE // 2 + 1)
    assert ask(quotas, "b") is GRANTED


def test_unregistered_resources_are_refused(quotas: ResourceManager) -> None:
    """A resource without a quota is an error that names the setting."""
    with pytest.raises(QuotaUnknown, match="RECONCILER_QUOTAS"):
        ask(quotas, "a")


@pytest.mark.parametrize("units", [0, -1, 3])
def test_impossible_requests_are_refused(quotas: ResourceManager, units: int) -> None:
    """More units than there are, or none, can never be granted: an error no retry can help."""
    quotas.register_quota(GPU, 2)
    with pytest.raises(BadTaskSpecification, match="from 1 to 2"):
        ask(quotas, "a", units)


@pytest.mark.parametrize(("name", "units"), [("a{b}", 1), ("", 1), ("a b", 1), ("x" * 129, 1), (GPU, -1)])
def test_bad_quotas_are_refused(quotas: ResourceManager, name: str, units: int) -> None:
    """A name that could reach into another key, and a negative number, are refused."""
    with pytest.raises(InvalidSpec):
        quotas.register_quota(name, units)
