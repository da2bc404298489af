"""A server that passed the check at start knows the scripts of every action before the first one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from reconciler.settings import Settings
from reconciler.stores.base import Look
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.scripts import SELDOM, VERBS, script
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers


@pytest.fixture
def store(url: str) -> Iterator[RedisStore]:
    """Records on a server that knows no script."""
    with closing(RedisStore(Settings(redis_url=url))) as opened:
        opened.client.script_flush()
        yield opened


def known(store: RedisStore) -> int:
    """Count how many scripts the server has."""
    return int(store.client.info("memory")["number_of_cached_scripts"])


def test_a_good_server_is_given_the_scripts_of_every_action(store: RedisStore) -> None:
    """The check at start loads them, under the digests they are called by: no action's first call has to send a text."""
    assert store_problems(store) == []
    often = set(VERBS) - SELDOM
    assert known(store) == len(often) + 1  # and the one that tries the rights
    for verb in often:
        store.client.script_load(script(verb).text)
    assert known(store) == len(often) + 1  # and the one that tries the rights


def test_scripts_a_server_forgot_are_given_again(store: RedisStore) -> None:
    """After a SCRIPT FLUSH or a restart, the first call of a verb brings its script back."""
    assert store_problems(store) == []
    store.client.script_flush()
    assert store.look(0) == Look()
    assert known(store) == 1


def test_a_user_who_may_load_no_script_is_told_so(store: RedisStore) -> None:
    """A server that refuses scripts is found at the start, not by the first action."""
    store.client.acl_setuser(
        "poor", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-script"]
    )
    with closing(RedisStore(Settings(redis_url=store.url.replace("redis://", "redis://poor:x@")))) as poor:
        [problem] = store_problems(poor)
    assert "`ACL SETUSER … +script|load`" in problem
    with redis.Redis.from_url(store.url) as client:
        client.acl_deluser("poor")
