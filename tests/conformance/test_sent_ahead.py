"""A commit and a claim sent ahead of their answers do what both do alone, whatever becomes of the connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from support import RUN, claimed, created, make_action, success_write

from reconciler.api.action import TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.settings import Settings
from reconciler.stores.base import ClaimReport, CommitOutcome
from reconciler.stores.redis.store import RedisStore

pytestmark = [pytest.mark.rule("R2"), pytest.mark.servers]


@pytest.fixture
def redis_store(valkey_url: str) -> Iterator[RedisStore]:
    """A store of its own."""
    store = RedisStore(
        Settings(redis_url=valkey_url, key_prefix="ahead", shards=4, step_lease=timedelta(seconds=10))
    )
    yield store
    store.client.flushdb()
    store.close()


@pytest.fixture
def shard(redis_store: RedisStore) -> int:
    """The shard of four actions."""
    created(redis_store, *(make_action(f"a{n}") for n in range(4)))
    return redis_store.shard_of(RUN)


def names(claim: ClaimReport) -> list[str]:
    """Return the actions of a claim."""
    return [action.id.action for action in claim.actions]


def first_of(store: RedisStore) -> TaskAction:
    """Return the first action, claimed."""
    return claimed(store, make_action("a0"))


def test_both_are_done(redis_store: RedisStore, shard: int) -> None:
    """The claim finds what is due once the commit is done, and each answer is the one of its verb."""
    turn = redis_store.begin(shard, [success_write(first_of(redis_store))], 2)
    report, claim = turn.answers()
    assert report is not None
    assert report.outcomes == (CommitOutcome.DONE,)
    assert names(claim) == ["a1", "a2"]
    found = redis_store.get(make_action("a0").id)
    assert found is not None
    assert found.phase is ActionPhase.SUCCEEDED


def test_without_writes_it_is_a_claim(redis_store: RedisStore, shard: int) -> None:
    """The first turn of a step has nothing to commit."""
    report, claim = redis_store.begin(shard, [], 9).answers()
    assert report is None
    assert names(claim) == ["a0", "a1", "a2", "a3"]


def test_a_server_that_knows_no_script_loses_nothing(redis_store: RedisStore, shard: int) -> None:
    """A script the server has forgotten is sent with its text; what the other one claimed is not lost."""
    write = success_write(first_of(redis_store))
    redis_store.client.script_flush()
    report, claim = redis_store.begin(shard, [write], 9).answers()
    assert report is not None
    assert report.outcomes == (CommitOutcome.DONE,)
    assert names(claim) == ["a1", "a2", "a3"]


def test_a_broken_connection_is_no_failure(redis_store: RedisStore, shard: int) -> None:
    """Both are sent again over a new connection: a write that was done says so by being superseded, and stands."""
    write = success_write(first_of(redis_store))
    turn = redis_store.begin(shard, [write], 0)
    turn._sent._connection.disconnect()
    report, _ = turn.answers()
    assert report is not None
    assert report.outcomes[0] in {CommitOutcome.DONE, CommitOutcome.SUPERSEDED}
    found = redis_store.get(write.action.id)
    assert found is not None
    assert found.phase is ActionPhase.SUCCEEDED


def test_answers_nobody_reads_reach_nobody(redis_store: RedisStore, shard: int) -> None:
    """What is given up leaves no answer on a connection somebody else uses."""
    redis_store.begin(shard, [], 1).give_up()
    assert redis_store.now() > 0


def test_a_refusal_is_an_outage(redis_store: RedisStore, shard: int) -> None:
    """A server that refuses the write is unavailable, and the connection is good for nobody else."""
    write = success_write(first_of(redis_store))
    redis_store.client.delete(redis_store.keys.due(shard))
    redis_store.client.set(redis_store.keys.due(shard), "foreign")
    turn = redis_store.begin(shard, [write], 1)
    with pytest.raises(StoreUnavailable):
        turn.answers()
    assert redis_store.now() > 0


def test_a_claim_that_is_sent_ahead_arms_nothing(redis_store: RedisStore, shard: int) -> None:
    """What it leaves due is the lease of a batch whose commit is to come: no message is sent for that."""
    assert len(redis_store.begin(shard, [], 9).answers()[1].actions) == 4
    _, claim = redis_store.begin(shard, [], 9).answers()
    assert (claim.actions, claim.arm) == ([], False)
    assert redis_store.claim(shard, owner="step", limit=9).arm
