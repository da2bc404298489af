"""Durability `safe` with replicas: a script's writes count once enough replicas have them.

`WAIT` is sent with the script, on its connection, in one round trip, and its answer is checked: fewer replicas than wanted
is an error, not a silent weakening. `WAITAOF` is not used: servers exist that answer it before the data is on disk
(docs/guarantees.md).
"""

from __future__ import annotations

from typing import Any

import redis

from reconciler.api.errors import StoreUnavailable
from reconciler.settings import Settings
from reconciler.stores.redis.keys import Keys

_OF_SOCKET_TIMEOUT = 0.2
"""Part of the socket timeout a replica has to confirm: well below it, or the answer would be lost to the timeout."""
_MARK_FOR = 60_000
_SCRIPTS = frozenset({"EVALSHA", "EVAL"})


class ConfirmingRedis(redis.Redis):
    """A client whose scripts return once replicas have what they wrote.

    How many is `RECONCILER_CONFIRM_REPLICAS`; 0 there means one, if the server has any when this client runs its first
    script. The number never falls afterwards: a replica that went away may be the one that is promoted.
    """

    _wanted: int | None = None
    _confirm_timeout: float
    _mark: str

    def guarded_by(self, settings: Settings) -> ConfirmingRedis:
        """Take the settings of the guard, and return the client."""
        self._wanted = settings.confirm_replicas or None
        self._confirm_timeout = settings.socket_timeout.total_seconds() * _OF_SOCKET_TIMEOUT
        self._mark = Keys(settings.key_prefix, settings.shards).confirm
        return self

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # what Redis answers
        """Run a command as the base does; a script is followed by a checked `WAIT`.

        Raises:
            StoreUnavailable: too few replicas confirmed in time.
        """
        if args[0] in _SCRIPTS and self._wanted is None:
            self._wanted = min(1, replicas_of(self))
        if args[0] not in _SCRIPTS or not self._wanted:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py has no types here
        pipe = self.pipeline(transaction=False)
        pipe.execute_command(*args)  # type: ignore[no-untyped-call]  # as above
        # WAIT asks for this connection's last write. A repeated script may write nothing, and what its first
        # run wrote, over another connection, has to be confirmed all the same: so write something.
        pipe.set(self._mark, "1", px=_MARK_FOR)
        pipe.execute_command("WAIT", self._wanted, int(self._confirm_timeout * 1000))  # type: ignore[no-untyped-call]  # as above
        answer, _, confirmed = pipe.execute()
        if confirmed < self._wanted:
            raise StoreUnavailable(
                f"Redis has stored a change, but {confirmed} of {self._wanted} replicas confirmed it within "
                f"{self._confirm_timeout:g} s, and a failover might lose it: bring the replicas back, then repeat the call"
            )
        return answer


def replicas_of(client: redis.Redis) -> int:
    """Count the replicas that are connected to the server."""
    info: dict[str, Any] = client.info("replication")
    return int(info.get("connected_slaves", 0))
