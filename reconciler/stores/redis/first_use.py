"""Check the records when a submitting program first uses them; a worker checks more when it starts."""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import NoPermissionError

from reconciler.address import mask
from reconciler.api.errors import InvalidSettings
from reconciler.settings import Settings
from reconciler.stores.redis.check import server_problems, shape_problems
from reconciler.stores.redis.store import RedisStore

_good: set[tuple[str, str, int]] = set()
"""Servers that were looked at in this process, by URL, key prefix and number of shards."""


class ClientStore(RedisStore):
    """A store that checks its server once in a process, at its first verb, and refuses what a worker would refuse.

    Without it a client would store actions where no worker will ever look for them: on a node of a cluster, on a server that
    forgets them, or in other shards. Every verb raises `InvalidSettings` then.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._what = (settings.redis_url, settings.key_prefix, settings.shards)

    @property
    def client(self) -> redis.Redis:
        """The client of redis-py, once its server was checked."""
        if self._what not in _good:
            self._look()
        return self._client

    @client.setter
    def client(self, client: redis.Redis) -> None:
        self._client = client

    def close(self) -> None:
        """Close all connections."""
        if self._what in _good:
            super().close()
        else:
            self._client.close()

    def _look(self) -> None:
        where = f"Redis at {mask(self.url)}"
        pipe = self._client.pipeline(transaction=False)
        pipe.info("default")
        pipe.hgetall(self.keys.meta)
        info, stored = pipe.execute(raise_on_error=False)
        problems = server_problems(
            _allowed(info), where
        )  # first: a node of a cluster refuses to tell the rest
        problems = problems or shape_problems(_allowed(stored), self.shards, where)
        if problems:
            raise InvalidSettings(problems)
        _good.add(self._what)


def _allowed(answer: Any) -> dict[Any, Any]:  # noqa: ANN401  # what Redis answers
    """Run a command and return the answer; empty if the user may not run it: a worker's user may, and reports it."""
    if isinstance(answer, NoPermissionError):
        return {}
    if isinstance(answer, Exception):
        raise answer
    return dict(answer)
