"""Durability `safe` beside a replica: what was accepted is there after a failover, and nothing else counts as accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from valkey_pair import ValkeyPair

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.errors import InvalidSettings, StoreUnavailable
from reconciler.settings import Settings
from reconciler.stores.base import CreateOutcome
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ValkeyPair]:
    """A primary with a replica."""
    with ValkeyPair(tmp_path, appendfsync="always") as servers:
        yield servers


def store_on(pair: ValkeyPair, **settings: object) -> RedisStore:
    """Return a store on the primary, which waits a fifth of its time limit for replicas."""
    given = {"durability": "safe", "socket_timeout": timedelta(seconds=5), **settings}
    return RedisStore(Settings(redis_url=pair.primary.url, **given))  # type: ignore[arg-type]  # fields of Settings


def action(name: str) -> TaskAction:
    """Return an action to be stored."""
    return TaskAction(ActionId("p", "d", "r", name), ActionSpec(task_type="sleep"))


def test_an_acknowledged_submission_survives_a_failover(pair: ValkeyPair) -> None:
    """What `create` returned for is found on the replica once that is promoted."""
    store = store_on(pair)
    for number in range(50):
        store.create([action(f"a{number}")])
    pair.fail_over()
    promoted = store_on(pair, durability="fast")
    found = promoted.get_many([action(f"a{number}").id for number in range(50)])
    assert all(record is not None for record in found)
    store.close()
    promoted.close()


def test_a_write_no_replica_confirms_is_not_accepted(pair: ValkeyPair) -> None:
    """A frozen replica makes `create` fail in time, also when it is repeated; after its return the same call succeeds."""
    store = store_on(pair)
    store.create([action("before")])
    pair.freeze_replica()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(
            StoreUnavailable, match=r"0 of 1 replicas confirmed it within 1 s.*repeat the call"
        ):
            store.create([action("late")])
    assert time.monotonic() - began < 30
    pair.thaw_replica()
    assert store.create([action("late")]).outcomes[0].outcome is CreateOutcome.EXISTS
    store.close()


def test_a_replica_that_went_away_still_counts(pair: ValkeyPair) -> None:
    """A process that has seen a replica does not go on without it: the lost one may be promoted."""
    store = store_on(pair)
    store.create([action("before")])
    pair.replica.process.kill()
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        store.create([action("alone")])
    store.close()


def test_without_a_replica_safe_waits_for_none(pair: ValkeyPair) -> None:
    """A single server in `safe` relies on its append-only file."""
    pair.replica.process.kill()
    pair.primary.client.config_set("repl-timeout", 1)
    deadline = time.monotonic() + 20
    while pair.primary.client.info("replication")["connected_slaves"]:  # type: ignore[index]  # redis-py says it may be awaited
        assert time.monotonic() < deadline
    store = store_on(pair)
    assert store.create([action("alone")]).outcomes[0].outcome is CreateOutcome.CREATED
    assert store_problems(store) == []
    demanding = store_on(pair, confirm_replicas=1)
    assert "RECONCILER_CONFIRM_REPLICAS=1" in store_problems(demanding)[0]
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        demanding.create([action("demanding")])
    store.close()
    demanding.close()


def test_wrong_settings_are_refused() -> None:
    """A number of replicas without `safe`, or below 0, is a mistake that is named."""
    with pytest.raises(InvalidSettings, match="DURABILITY=safe only"):
        Settings.from_env({"RECONCILER_CONFIRM_REPLICAS": "1"})
    with pytest.raises(InvalidSettings, match="CONFIRM_REPLICAS must not be negative, got -1"):
        Settings.from_env({"RECONCILER_CONFIRM_REPLICAS": "-1", "RECONCILER_DURABILITY": "safe"})
