"""Pauses of a consumer whose broker answers but refuses its commands.

A server that was demoted, has too few replicas, cannot save, or took a right away says so in an error reply. kombu hands it
on as an error no worker survives, although such a server mostly takes messages again soon, as after an outage.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger(__name__)

_FIRST = 1.0
_LONGEST = 5.0


class Rest:
    """Decides when to ask next: after 1, 2, 3, 4 and then every 5 seconds, until an answer comes.

    Args:
        doing: what is refused, for the log.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._pause = 0.0
        self._until = 0.0

    def refused(self, error: Exception) -> None:
        """Note that the server answered with an error, and tell it with its remedy."""
        self._pause = min(self._pause + _FIRST, _LONGEST)
        self._until = time.monotonic() + self._pause
        logger.warning(
            "the broker refuses to %s (%s): asking again in %g s. Look at the server and at the rights of its user",
            self._doing, error, self._pause,
        )  # fmt: skip

    def resting(self) -> bool:
        """Tell whether it is too early to ask again."""
        return time.monotonic() < self._until

    def answered(self) -> None:
        """Note that the broker answers again."""
        if self._pause:
            logger.warning("the broker does %s again", self._doing)
            self._pause = self._until = 0.0
