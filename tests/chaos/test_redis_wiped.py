"""What other people do to a Redis server: empty it, forget its scripts, write over our keys."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis_load import RECOVERY, Load, check_all, pids, resumes, until

from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, StoreUnavailable
from reconciler.client import Client
from reconciler.client.submission import key_name
from reconciler.embedded.stack import Stack
from reconciler.stores.redis.keys import Keys

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Left as it was found."""
    return shared_stack


@pytest.fixture
def server(stack: Stack) -> Iterator[redis.Redis]:
    """A connection past everything of ours."""
    with redis.Redis.from_url(stack.servers.redis_url) as connection:
        yield connection


@pytest.fixture
def keys(client: Client) -> Keys:
    """Names of our keys."""
    return Keys("cr", client.store.shards)


def test_others_may_break_what_they_like(
    stack: Stack, client: Client, server: redis.Redis, keys: Keys, tmp_path: Path
) -> None:
    """Forgotten scripts cost nothing; foreign data stops what it hides and is named; an emptied server takes new work."""
    before = pids(stack)
    forget_scripts(client, server, tmp_path / "forgotten")
    hide_a_record(client, server, keys, tmp_path / "hidden")
    hide_a_shard(client, server, keys, tmp_path / "shard")
    empty(client, server, tmp_path / "emptied")
    assert pids(stack) == before, "a worker ended"


def forget_scripts(client: Client, server: redis.Redis, tally: Path) -> None:
    """SCRIPT FLUSH, again and again under load."""
    with Load(client, tally) as load:
        for _ in range(30):
            load.more(1)
            server.script_flush()
    count = check_all(client, (one.run.id for one in load.accepted))
    executions = len(tally.read_text().split())
    print(f"30 times SCRIPT FLUSH: {count} accepted and succeeded, {executions - count} extra executions")
    assert not load.refused
    assert executions == count


def hide_a_record(client: Client, server: redis.Redis, keys: Keys, tally: Path) -> None:
    """Put a string where the record of a running action was."""
    with Load(client, tally, seconds=0.5, open_calls=12) as load:
        load.more(12)
        victim = load.accepted[-1].run
        server.set(keys.action(victim.action), "foreign")
        load.more(12)
        with pytest.raises(StoreUnavailable, match=r"foreign data under our keys.*RECONCILER_KEY_PREFIX"):
            client.get(victim.action)
    others = [one.run.id for one in load.accepted if one.run.id != victim.id]
    neighbours = [run for run in others if keys.shard_of(run) == keys.shard_of(victim.id)]
    for run in others:
        until(lambda run=run: client.counts(run).ended == 1, f"{run} ends beside a broken record")  # type: ignore[misc]  # mypy cannot infer it
    print(f"a foreign record: {len(others)} others ended, {len(neighbours)} of them in its shard")
    server.delete(keys.action(victim.action))
    server.zadd(
        keys.due(keys.shard_of(victim.id)), {str(victim.action): 1}
    )  # else in an hour: it stood in a line
    until(lambda: not client.store.due(keys.shard_of(victim.id)), "a step forgets the record that is gone")


def hide_a_shard(client: Client, server: redis.Redis, keys: Keys, tally: Path) -> None:
    """Put a string where the due index of one shard was."""
    with Load(client, tally) as load:
        load.more(3)
        victim = keys.shard_of(load.accepted[-1].run.id)
    check_all(client, (one.run.id for one in load.accepted))
    server.set(keys.due(victim), "foreign")
    took = []
    for number in range(8):
        probe = Load(client, tally, seconds=0)
        names = (f"shard-{number}-{i}" for i in itertools.count())
        run = probe.submit(next(key for key in names if shard_of(keys, key) != victim))
        took.append(until(lambda run=run: run.phase.is_terminal(), "another shard works"))  # type: ignore[misc]  # as above
    server.delete(keys.due(victim))
    print(f"a foreign due index: 8 calls in other shards took at most {max(took):.1f} s")
    assert max(took) < RECOVERY


def shard_of(keys: Keys, idempotency_key: str) -> int:
    """Where a submission with this key goes."""
    return keys.shard_of(RunId("default", "development", key_name(idempotency_key)))


def empty(client: Client, server: redis.Redis, tally: Path) -> None:
    """FLUSHALL under load."""
    with Load(client, tally) as load:
        load.more(10)
        server.flushall()
        load.more(1)
        lost = load.accepted[0].run
        with pytest.raises(ActionNotFound):
            client.get(lost.action)
        load.more(10)
    assert not load.refused
    took = resumes(client, tally)
    print(f"FLUSHALL: new work ran after {took:.1f} s")
    assert took < RECOVERY
