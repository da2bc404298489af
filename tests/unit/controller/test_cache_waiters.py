"""The whole engine on the in-memory catalog: waiters are woken, overrides replace, keys are made at submit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cache_lab import INTERFACE, returning

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import BrokerUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskMetadata, Timeouts
from reconciler.api.transition import CacheStatus, failure, running
from reconciler.controller.cache_put import wake_waiters
from reconciler.stores.catalog import CatalogCorrupt
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.timing import PENDING_TTL
from reconciler.testing import Lab, ScriptedPlugin

LONG = 8


class Line(Lab):
    """A lab with the in-memory catalog and one task that is cached."""

    def __init__(self, *answers: Any) -> None:
        self.plugin = ScriptedPlugin("cached", *answers)
        super().__init__([self.plugin])
        self.shelf = MemoryCatalog(self.settings, clock=self.clock)
        self.reconciler.catalog = self.shelf

    def call(self, x: Any = 1, **policy: Any) -> ActionId:
        """Submit one call."""
        metadata = TaskMetadata(discoverable=True, **policy)
        return self.submit("cached", metadata=metadata, interface=INTERFACE, inputs={"x": x})

    def due(self, action: ActionId) -> int:
        """When an action is looked at next."""
        return dict(self.store.due(self.store.shard_of(action.run_id)))[action]

    def owner_and_waiters(self, waiters: int) -> list[ActionId]:
        """Return one action that runs and holds the reservation, and others that wait for it."""
        actions = [self.call(cache_serializable=True) for _ in range(waiters + 1)]
        for action in actions:
            self.reconcile(action)
            self.clock.advance(timedelta(milliseconds=1))
        for action in actions[1:]:
            self.reconcile(action)
            assert self.get(action).phase is ActionPhase.WAITING_FOR_RESOURCES
            assert self.due(action) > self.clock()
        return actions


def test_the_put_wakes_all_who_wait() -> None:
    """When the owner has filled the key, all that wait are due at once and take the hit."""
    lab = Line(running(0), returning())
    owner, *waiters = lab.owner_and_waiters(3)
    lab.reconcile(owner)
    assert [lab.due(action) for action in waiters] == [lab.clock()] * 3
    woken = {lab.store.shard_of(action.run_id) for action in waiters}
    assert woken <= {wake.shard for wake in lab.messenger.wakes}
    lab.step()
    assert {lab.get(action).status.cache_status for action in waiters} == {CacheStatus.HIT}


def test_a_failed_owner_wakes_the_first_who_waits() -> None:
    """When the owner gives the key back unfilled, the one who waits longest is due at once, the others later."""
    lab = Line(running(0), failure("Broken", "broken"), running(0))
    owner, first, second = lab.owner_and_waiters(2)
    lab.reconcile(owner)
    assert lab.due(first) == lab.clock() < lab.due(second)
    lab.reconcile(first)
    assert lab.get(first).phase is ActionPhase.RUNNING


def test_an_aborted_waiter_leaves_the_line() -> None:
    """An action that is aborted while it waits is not the one who is woken."""
    lab = Line(running(0), failure("Broken", "broken"), running(0))
    owner, first, second = lab.owner_and_waiters(2)
    lab.client.abort(first)
    lab.reconcile(first)
    lab.reconcile(owner)
    assert lab.get(first).phase is ActionPhase.ABORTED
    assert lab.due(second) == lab.clock()


def test_a_waiter_whose_time_is_over_leaves_the_line() -> None:
    """An action that times out while it waits is not the one who is woken."""
    lab = Line(running(0))
    owner = lab.call(cache_serializable=True)
    first = lab.call(cache_serializable=True, timeouts=Timeouts(queued=timedelta(seconds=5)))
    second = lab.call(cache_serializable=True)
    for action in (owner, first, first, second, second):
        lab.clock.advance(timedelta(milliseconds=1))
        lab.reconcile(action)
    lab.clock.advance(timedelta(seconds=6))
    lab.reconcile(first)
    assert lab.get(first).phase is ActionPhase.TIMED_OUT
    lab.plugin.answers = [failure("Broken", "broken")]
    lab.reconcile(owner)
    assert lab.due(second) == lab.clock()


def test_waiters_look_by_themselves_when_nobody_can_tell_them() -> None:
    """A broker that is away fails no put: the owner succeeds, and those who wait take the hit later."""
    lab = Line(running(0), returning())
    owner, waiter = lab.owner_and_waiters(1)
    asked: list[int] = []

    def away(shard: int) -> None:
        asked.append(shard)
        raise BrokerUnavailable(f"no broker for shard {shard}")

    lab.reconciler.announce = away
    lab.clock.advance(PENDING_TTL)  # the message of the submission is through: another one is needed
    lab.reconcile(owner)
    assert asked == [lab.store.shard_of(waiter.run_id)]
    assert lab.get(owner).status.cache_status is CacheStatus.POPULATED
    lab.settle()
    assert lab.get(waiter).status.cache_status is CacheStatus.HIT


def test_owners_that_are_no_actions_wake_nobody() -> None:
    """A plugin may reserve under names of its own; they are not looked for among actions."""
    lab = Line(returning())
    action = lab.call()
    wake_waiters(lab.reconciler, ["somebody", "flyte/not/an/action", f"flyte/{action}"])
    assert lab.due(action) == lab.clock()


@pytest.mark.parametrize("serializable", [False, True])
def test_an_override_runs_and_replaces(serializable: bool) -> None:  # noqa: FBT001  # a parameter
    """A task that overrides is never served from the cache; its outputs take the place of the entry."""
    lab = Line(returning(b'{"o0":1}'), returning(b'{"o0":2}'))
    lab.call()
    lab.settle()
    action = lab.call(cache_override=True, cache_serializable=serializable)
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED
    later = lab.call()
    lab.settle()
    assert lab.get(later).status.cache_status is CacheStatus.HIT
    assert (lab.client.result(action), lab.client.result(later)) == (2, 2)


def test_a_damaged_entry_is_replaced() -> None:
    """An entry the catalog cannot decode is a failed lookup, and the outputs of the run take its place."""
    lab = Line(returning())
    get = lab.shelf.get

    def damaged(key: Any) -> Any:
        entry = get(key)
        if entry.source.run == first.run:
            raise CatalogCorrupt("damaged")
        return entry

    first = lab.call()
    lab.settle()
    lab.shelf.get = damaged  # type: ignore[method-assign]  # a fault of the server's data
    second = lab.call()
    lab.settle()
    third = lab.call()
    lab.settle()
    assert lab.get(second).status.cache_status is CacheStatus.POPULATED
    assert lab.get(third).status.cache_status is CacheStatus.HIT


# -- the hash of the inputs (R49) -------------------------------------------------------------------------------------


def spec_of(lab: Line, action: ActionId) -> ActionSpec:
    """Return the stored spec."""
    return lab.get(action).spec


@pytest.mark.rule("R49")
@pytest.mark.parametrize("x", [1, "y" * 5000], ids=["in the record", "in S3"])
def test_inputs_are_hashed_when_they_are_submitted(x: object) -> None:
    """A cached task is stored with the hash of its inputs, so that no round reads them for its key."""
    lab = Line(returning())
    action = lab.call(x)
    assert spec_of(lab, action).inputs_hash
    lab.blobs.get = _unread  # type: ignore[method-assign]  # nobody may read
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


def _unread(uri: str, **how: object) -> bytes:
    raise AssertionError(f"{uri} is read {how}")


@pytest.mark.rule("R49")
def test_the_hash_at_submit_gives_the_same_key() -> None:
    """With the hash in its spec or without it, an action has the same key."""
    lab = Line(returning())
    lab.call("y" * 5000, cache_ignore_input_vars=("z",))
    lab.settle()
    for strip in (False, True):
        action = lab.call("y" * 5000, cache_ignore_input_vars=("z",))
        record = lab.get(action)
        if strip:
            record.spec = msgspec.structs.replace(record.spec, inputs_hash="")
        config = lab.reconciler.cache_config(record)
        assert config is not None
        assert lab.shelf.get(config.key).source.task == "cached"


def test_a_task_that_is_not_cached_has_no_hash() -> None:
    """Hashing is for cached tasks alone."""
    lab = Line(returning())
    assert not spec_of(lab, lab.submit("cached", inputs={"x": 1})).inputs_hash


def test_a_foreign_hash_is_not_believed() -> None:
    """A spec that comes with inputs and another hash gets the hash of its inputs."""
    lab = Line(returning())
    known = spec_of(lab, lab.call(1))
    copy = msgspec.structs.replace(known, run_name="", run_output_base="", inputs=b'{"x":2}')
    again = spec_of(lab, lab.run(copy).action)
    assert again.inputs_hash not in {"", known.inputs_hash}


# -- steps -----------------------------------------------------------------------------------------------------------


def test_rounds_that_ask_the_cache_run_side_by_side() -> None:
    """The slow catalog of one action does not hold up the others of its batch."""
    lab = Line(returning())
    actions = [lab.call(index) for index in range(LONG)]
    run_in: set[str] = set()
    lookup: Callable[..., Any] = lab.shelf.get

    def noted(key: Any) -> Any:

        run_in.add(threading.current_thread().name)
        return lookup(key)

    lab.shelf.get = noted  # type: ignore[method-assign]  # notes its thread
    lab.settle()
    assert {lab.get(action).phase for action in actions} == {ActionPhase.SUCCEEDED}
    assert all(name.startswith("handle") for name in run_in)
