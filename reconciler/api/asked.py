"""The request of a function for its next attempt: when it may start, and the state it is given."""

from __future__ import annotations

import msgspec

LARGEST_STATE = 16 * 1024
"""Largest state that is carried from one attempt to the next, in bytes as UTF-8: it lies in the record."""


class AskedRetry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The next attempt a function asks for. It spends none of the task's `retries`.

    Attributes:
        delay: how long to wait before it, ms.
        state: what it finds in `current_attempt().carried`.
    """

    delay: int = 0
    state: str = ""


class RetryAsked(Exception):
    """Raised by a function that wants another attempt.

    What it is raised from (`raise RetryAsked(…) from error`) is shown as the error of this one.
    """

    def __init__(self, asked: AskedRetry) -> None:
        size = len(asked.state.encode())
        if size > LARGEST_STATE:
            raise ValueError(
                f"the next attempt would carry {size} bytes of changed arguments, {LARGEST_STATE} are allowed: "
                "store large data yourself, and pass where it lies"
            )
        super().__init__(f"another attempt in {asked.delay / 1000:g} s")
        self.asked = asked
