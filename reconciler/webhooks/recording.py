"""Webhooks that only remember their calls: for the simulator and tests."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True):
    """One call of `post`; the attributes are its arguments."""

    url: str
    document: bytes
    key: str
    limit: float


class RecordingWebhooks:
    """`Webhooks` that keep what they were given, in order, and send nothing.

    Attributes:
        calls: every try.
        failures: raised by the next tries, one each; without any, a try succeeds.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failures: list[Exception] = []

    def post(self, url: str, document: bytes, key: str, limit: float) -> None:
        """Remember a try, and fail if the test says so."""
        self.calls.append(Call(url, document, key, limit))
        if self.failures:
            raise self.failures.pop(0)
