"""Another program wrote over our keys: what it hid waits and is named, and all the rest goes on."""

from __future__ import annotations

import pytest
import redis
from structlog.testing import capture_logs

from reconciler.api.action import ActionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.client import Client, Run
from reconciler.settings import Settings
from reconciler.stores.base import Write
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
    """Return a run of two members and their root, all due now."""
    return client.submit_many([ActionSpec(task_type="core-sleep", inputs=b"{}") for _ in range(2)])


def overwrite(store: RedisStore, key: str) -> None:
    """Put a string in place of what was there."""
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
        found = [one.shard for one in store.look(0).late]
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
def test_a_launch_without_its_record_holds_up_no_line(client: Client, store: RedisStore, fate: str) -> None:
    """It is not given to a worker, and leaves its line; who stands behind it is drawn."""
    line = "q/5-/default/shop.greet"
    victim, other_action = [action.id for action in client.actions(naps(client).id, parent="a0")]
    shard = store.shard_of(victim.run_id)
    with redis.Redis.from_url(store.url) as other:
        for place, action in enumerate((victim, other_action)):
            other.zadd(store.keys.line(shard, line), {str(action): place})
            other.hset(store.keys.action(action), "nl", line)
        other.sadd(store.keys.lines(shard), line)
        if fate == "gone":
            other.delete(store.keys.action(victim))
    if fate == "hidden":
        overwrite(store, store.keys.action(victim))
    assert line in [head.line for head in store.look(0).lines]
    drawn = store.draw(shard, line, owner="w", limit=10, lease=1000)
    assert [action.id for action in drawn.actions] == [other_action]
    assert drawn.left == 0
    assert line not in [head.line for head in store.look(0).lines]


def test_a_field_nobody_can_read_harms_no_neighbour_of_a_draw(client: Client, store: RedisStore) -> None:
    """Of launches drawn together the others are given, the log names the one, and its lease ends by itself."""
    template = encode_template(TaskTemplate(type="function", custom={"function": "f"}))
    spec = ActionSpec(task_type="function", task_template=template, inputs=b"{}")
    run = client.submit_many([spec] * 12)
    line, shard = "attempts/5-/p/f", store.shard_of(run.id)
    claimed = [a for a in store.claim(shard, owner="step", limit=100).actions if a.id.action != "a0"]
    store.commit(
        shard, [Write(action=action, original=action.copy(), launch=("1", line)) for action in claimed]
    )
    store.client.hset(store.keys.action(claimed[1].id), "as", "never")
    store.client.hset(store.keys.action(claimed[1].id), "t", "no JSON")
    with capture_logs() as logs:
        drawn = store.draw(shard, line, owner="w", limit=3, lease=6000)
    assert [action.id for action in drawn.actions] == [claimed[0].id, claimed[2].id]
    assert [entry["action"] for entry in logs if entry["event"] == "line.foreign_record"] == [
        str(claimed[1].id)
    ]
