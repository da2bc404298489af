"""Another program wrote over our keys: what it hid waits and is named, and all the rest goes on."""

from __future__ import annotations

import pytest
import redis
from structlog.testing import capture_logs

from reconciler.api.action import ActionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.client import Client, Run
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.collect import collect

pytestmark = pytest.mark.servers


@pytest.fixture
def client(url: str, request: pytest.FixtureRequest) -> Client:
    """A client of an installation of its own."""
    prefix = f"t{abs(hash(request.node.name)) % 10**6}"
    return Client.from_settings(Settings(redis_url=url, key_prefix=prefix))


@pytest.fixture
def store(client: Client) -> RedisStore:
    """Its records."""
    assert isinstance(client.store, RedisStore)
    return client.store


def naps(client: Client) -> Run[object]:
    """A run of two members and their root, all due now."""
    return client.submit_many([ActionSpec(task_type="core-sleep", inputs=b"{}") for _ in range(2)])


def overwrite(store: RedisStore, key: str) -> None:
    """A string in place of what was there."""
    with redis.Redis.from_url(store.url) as other:
        other.set(key, "foreign")


def test_a_foreign_record_does_not_stop_its_shard(client: Client, store: RedisStore) -> None:
    """The other due actions are claimed, the log names the hidden one, and it is looked at again after a lease."""
    run = naps(client)
    members = [action.id for action in client.actions(run.id, parent="a0")]
    overwrite(store, store.keys.action(members[0]))
    shard = store.shard_of(run.id)
    with capture_logs() as logs:
        claim = store.claim(shard, owner="step", limit=10)
    assert {action.id.action for action in claim.actions} == {"a0", "m1"}
    assert [(entry["event"], entry["actions"]) for entry in logs] == [
        ("claim.foreign_record", [str(members[0])])
    ]
    assert dict(store.due(shard))[members[0]] > claim.now
    with pytest.raises(StoreUnavailable, match="foreign data under our keys"):
        store.get(members[0])


def test_a_foreign_due_index_does_not_stop_other_shards(client: Client, store: RedisStore) -> None:
    """The resync sweep still finds what is due in the other shards, and names the index that is hidden."""
    runs = {store.shard_of(run.id): run for run in (naps(client) for _ in range(4))}
    hidden, *others = runs
    assert others, "all runs fell into one shard"
    overwrite(store, store.keys.due(hidden))
    with capture_logs() as logs:
        found = [entry[0] for entry in store.look(0)]
    assert found == sorted(others)
    assert [(entry["event"], entry["shard"]) for entry in logs] == [("look.foreign_index", hidden)]


def test_a_foreign_record_does_not_stop_the_collector(client: Client, store: RedisStore) -> None:
    """What ended beside it is forgotten, and the foreign key stays: it is not ours to delete."""
    ended = [client.submit(ActionSpec(task_type="core-sleep", inputs=b"{}")).action for _ in range(2)]
    with redis.Redis.from_url(store.url) as other:
        for action in ended:
            other.zadd(f"{store.keys.base(store.shard_of(action.run_id))}done", {str(action): 1})
    overwrite(store, store.keys.action(ended[0]))
    collect(store, store.settings)
    with redis.Redis.from_url(store.url) as other:
        assert other.get(store.keys.action(ended[0])) == b"foreign"
    assert store.get(ended[1]) is None


@pytest.mark.parametrize("fate", ["hidden", "gone"])
def test_a_waiting_launch_without_its_record_is_looked_at(
    client: Client, store: RedisStore, fate: str
) -> None:
    """Its due time may be an hour away; when it is missed in its queue, a claim tells of it, or drops what has no record."""
    victim = client.submit(ActionSpec(task_type="core-sleep", inputs=b"{}")).action
    shard, now = store.shard_of(victim.run_id), store.now()
    base = store.keys.base(shard)
    with redis.Redis.from_url(store.url) as other:
        other.zadd(store.keys.due(shard), {str(victim): now + 3_600_000})
        other.zadd(f"{base}sent:q", {str(victim): 1})
        other.hset(f"{base}queues", "q", f"{now} {now}")
        if fate == "gone":
            other.delete(store.keys.action(victim))
    if fate == "hidden":
        overwrite(store, store.keys.action(victim))
    assert shard in [entry[0] for entry in store.look(0)]
    with capture_logs() as logs:
        assert not store.claim(shard, owner="step", limit=10).actions
    assert [entry["event"] for entry in logs] == ([] if fate == "gone" else ["claim.foreign_record"])
    assert (victim in dict(store.due(shard))) is (fate == "hidden")
