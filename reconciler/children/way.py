"""Define how requests of a function reach its supervisor."""

from __future__ import annotations

from typing import Protocol

from reconciler.children import requests as ask


class Way(Protocol):
    """The way requests reach the supervisor, and answers come back.

    Attributes:
        brings: whether anything may come while a function waits.
    """

    brings: bool

    def post(self, request: ask.Request) -> None:
        """Send a request; it is carried out while the function goes on."""
        ...

    def receive(self, seconds: float) -> list[ask.Answer]:
        """Return answers that have come; wait at most `seconds` for the first one."""
        ...

    @property
    def descriptor(self) -> int | None:
        """Return the descriptor that becomes readable when an answer comes; None if one must ask."""
        ...
