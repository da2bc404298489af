"""Try every command, key and channel that kombu's Redis transport and Celery need, on names that hold nothing."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from reconciler.trials import Words, refused, unheard

_SCRIPT = "return redis.call('GET', KEYS[1])"
"""kombu's lock is given back by such a script."""
_LIFE = 60_000


def missing_rights(channel: Any, prefix: str) -> list[str]:  # noqa: ANN401  # kombu is not typed
    """Tell what the user of the broker may not do, as an ACL writes it; empty: nothing.

    Args:
        channel: an open channel of ours.
        prefix: first part of the keys of the installation.

    Raises:
        RedisError: the server does not answer, or takes no messages.
    """
    with_prefix = channel.client
    client = type(with_prefix)(connection_pool=with_prefix.connection_pool, global_keyprefix="")
    names = channel.global_keyprefix
    base = f"{names}trial-{uuid.uuid4().hex}"
    fanout = f"{names}{channel.keyprefix_fanout}"
    return sorted(
        refused(client, sent(base), prefix)
        | unheard(client, f"{fanout}{base[len(names) :]}", prefix)
        # what a worker listens to; its remote control, by which Celery's own tools and Flower talk with it
        | unheard(client, f"{fanout}celery.pidbox", prefix, pattern=True)
    )


def sent(base: str) -> list[Words]:
    """List every command. Using two names at once reveals a cluster node, which kombu cannot use."""
    h, q, r, s, t, z = (f"{base}{kind}" for kind in "hqrstz")
    sha = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
    return [
        ("PING",), ("SCRIPT", "LOAD", _SCRIPT), ("SCRIPT", "EXISTS", sha),
        ("LPUSH", q, "1"), ("RPUSH", q, "2"), ("PEXPIRE", q, _LIFE), ("LLEN", q), ("RPOP", q), ("BRPOP", q, r, 1),
        ("SADD", s, "1"), ("SMEMBERS", s), ("SREM", s, "1"),
        ("HSET", h, "a", "1"), ("HGET", h, "a"), ("HLEN", h), ("HDEL", h, "a"),
        ("ZADD", z, "1", "a"), ("ZRANGE", z, "0", "-1"), ("ZREM", z, "a"),
        ("SET", t, "1", "NX", "PX", _LIFE), ("GET", t), ("EVALSHA", sha, 1, t),
        ("watch", t), ("MULTI",), ("GET", t), ("EXEC",), ("watch", t), ("UNWATCH",),
        ("DEL", h, q, r, s, t, z),
    ]  # fmt: skip
