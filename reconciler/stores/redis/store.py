"""The Redis store: all verbs of `stores.base.Store` on Redis >= 7 or Valkey."""

from __future__ import annotations

from reconciler.stores.redis.archiving import Archiving
from reconciler.stores.redis.attempts import Attempts
from reconciler.stores.redis.auditing import Auditing
from reconciler.stores.redis.concluding import Concluding
from reconciler.stores.redis.functions import Functions
from reconciler.stores.redis.garbage import GarbageNotes
from reconciler.stores.redis.holding import Holding
from reconciler.stores.redis.lines import QueueLines
from reconciler.stores.redis.surveying import Surveying
from reconciler.stores.redis.turns import Turns


class RedisStore(
    Concluding, Turns, Attempts, QueueLines, Functions, GarbageNotes, Archiving, Holding, Surveying, Auditing
):
    """Records, due index, attempts and the results channel on one Redis or Valkey server.

    Every method raises `StoreUnavailable`, within `RECONCILER_SOCKET_TIMEOUT`, when the server does not answer.
    """

    def close(self) -> None:
        """Close all connections."""
        if self._notifier is not None:
            self._notifier.close()
        self.client.close()
