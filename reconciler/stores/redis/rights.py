"""Tries every command, key and channel that the records need.

On names that hold nothing, so that a user who lacks a right is told at the door: a worker that learns of it later dies, or
connects anew for ever. tests/integration/test_rights.py compares the lists with the scripts and with what a server was sent.
"""

from __future__ import annotations

import hashlib
import uuid

from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import pack
from reconciler.trials import Words, refused, unheard

_SCRIPT = """
local refused = {}
for _, words in ipairs(cmsgpack.unpack(ARGV[1])) do
  local answer = redis.pcall(unpack(words))
  if type(answer) == 'table' and answer.err then refused[#refused + 1] = answer.err end
end
return refused
"""
"""Runs the commands of ARGV[1] (msgpack) as our scripts do; returns the errors."""
_LIFE = 60_000
"""How long what a trial stores stays at most, ms, should it be killed."""


def missing_rights(core: RedisCore) -> list[str]:
    """List what the user of the records may not do, as an ACL writes it (`+time`, `~cr:*`, `&cr:*`); empty: nothing.

    Raises:
        RedisError: the server does not answer, or takes no writes.
    """
    prefix, mark = core.keys.prefix, f"trial-{uuid.uuid4().hex}"
    base = f"{core.keys.base(0)}{mark}:"
    rights = refused(core.client, [*sent(base), *_families(core, mark)], prefix)
    channels = (f"{core.keys.base(0)}n:{mark}", core.keys.ear(mark))
    return sorted(rights.union(*(unheard(core.client, channel, prefix) for channel in channels)))


def in_scripts(base: str) -> list[Words]:
    """List every command of the scripts."""
    h, m, n, q, s, x, z = (f"{base}{kind}" for kind in ("h", "m", "n", "q", "s", "x", "z"))
    return [
        ("TIME",),
        ("SET", s, "1", "PX", _LIFE), ("GET", s), ("EXISTS", s), ("PERSIST", s), ("PEXPIRE", s, _LIFE),
        ("HSET", h, "a", "1"), ("HSETNX", h, "b", "1"), ("HGET", h, "a"), ("HMGET", h, "a"), ("HGETALL", h),
        ("HEXISTS", h, "a"), ("HVALS", h), ("HKEYS", h), ("HINCRBY", h, "a", "1"), ("HDEL", h, "b"), ("PEXPIRE", h, _LIFE),
        ("INCR", n), ("RPUSH", q, "a"), ("SADD", m, "a"), ("SMEMBERS", m), ("SRANDMEMBER", m, "1"), ("SREM", m, "a"),
        ("ZADD", z, "1", "a", "2", "b"), ("ZSCORE", z, "a"), ("ZRANK", z, "a"), ("ZCARD", z), ("ZCOUNT", z, "0", "1"),
        ("ZRANGE", z, "0", "-1"), ("ZRANGEBYSCORE", z, "0", "1"), ("ZPOPMIN", z), ("ZREM", z, "b"),
        ("XADD", x, "*", "a", "1"), ("XRANGE", x, "-", "+"), ("PEXPIRE", x, _LIFE), ("PUBLISH", f"{base}n", "1"),
        ("PUBSUB", "NUMSUB", f"{base}n"), ("DEL", h, m, n, q, s, x, z),
    ]  # fmt: skip


def sent(base: str) -> list[Words]:
    """List every command that is sent directly, and those that run scripts."""
    h, m, q, s, x, z = (f"{base}{kind}" for kind in ("h", "m", "q", "s", "x", "z"))
    script = pack([[str(word) for word in words] for words in in_scripts(base)])
    sha = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
    return [
        ("PING",), ("TIME",), ("SCRIPT", "LOAD", _SCRIPT),
        ("EVAL", _SCRIPT, 1, h, script), ("EVALSHA", sha, 1, h, script),
        ("SET", s, "1", "PX", _LIFE), ("GET", s), ("EXISTS", s), ("PTTL", s), ("ZCARD", z), ("ZSCORE", z, "a"),
        ("ZRANK", z, "a"), ("watch", s), ("MULTI",), ("DEL", s), ("EXEC",),
        ("HSET", h, "a", "1"), ("HSETNX", h, "b", "1"), ("HGET", h, "a"), ("HMGET", h, "a"), ("HGETALL", h),
        ("HDEL", h, "a", "b"), ("SMEMBERS", m), ("SMISMEMBER", m, "a"), ("LRANGE", q, 0, 1),
        ("ZRANGE", z, "0", "-1"), ("ZREVRANGEBYSCORE", z, "+inf", "-inf"),
        ("PEXPIRE", h, _LIFE), ("XADD", x, "*", "a", "1"), ("PEXPIRE", x, _LIFE),
        ("XRANGE", x, "-", "+"), ("XREVRANGE", x, "+", "-"), ("XGROUP", "CREATE", x, "g", "0"),
        ("XREADGROUP", "GROUP", "g", "c", "BLOCK", 1, "STREAMS", x, ">"),
        ("XAUTOCLAIM", x, "g", "c", 0, "0-0"), ("XACK", x, "g", "0-1"), ("XTRIM", x, "MINID", "0-1"),
        ("SCAN", 0, "MATCH", s, "COUNT", 1), ("PUBLISH", f"{base}n", "1"),
        ("DEL", h, s, x, z),
    ]  # fmt: skip


def _families(core: RedisCore, mark: str) -> list[Words]:
    """Name each kind of key outside of a shard, for reading and writing: a pattern may leave one of them out."""
    keys = core.keys
    names = (
        f"{keys.meta}-{mark}",
        f"{keys.confirm}-{mark}",
        keys.worker(mark),
        keys.cache_entry(mark),
        keys.quota_held(mark),
        f"{keys.published}:{mark}",
    )
    return [words for name in names for words in (("GET", name), ("DEL", name))]
