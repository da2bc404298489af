"""Commands in flight: sent now, answered when asked for, so that the server works in the meantime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError


class Sent:
    """Commands sent over a connection that belongs to them until they are answered or given up.

    Args:
        client: whose connections are used; its way of retrying is not.
        commands: what to send, at once.
    """

    def __init__(self, client: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> None:
        self._count = len(commands)
        self._pool = client.connection_pool
        self._connection: Any = self._pool.get_connection()
        connection: Any = self._connection  # redis-py has no types here
        try:
            connection.send_packed_command(connection.pack_commands(commands))
        except BaseException:
            self.give_up()
            raise

    def answers(self) -> list[Any] | None:
        """Wait for all answers; None when the connection broke. A script that the server does not know gives None, too.

        Raises:
            RedisError: the server refused one, or did not answer in time.
        """
        try:
            answers = [self._answer() for _ in range(self._count)]
        except BaseException as error:
            self.give_up()
            if isinstance(error, RedisConnectionError):
                return None
            raise
        self._pool.release(self._connection)
        return answers

    def _answer(self) -> Any:  # noqa: ANN401  # what Redis answers
        try:
            return self._connection.read_response()
        except NoScriptError:  # the others were run all the same
            return None

    def give_up(self) -> None:
        """Leave the answers unread, and let nobody else find them on the connection."""
        self._connection.disconnect()
        self._pool.release(self._connection)
