"""Refuse two equal steps or questions at the same time: the next pass could not tell one from the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.api.errors import InvalidSpec


class InFlight:
    """The names of the steps and questions that are under way in one call."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Refuse a second step of this name while the first is under way.

        Raises:
            InvalidSpec: there is one.
        """
        self.begin(f"step/{name}", f"two steps named {name!r}", "step(name, function, key=…)")
        try:
            yield
        finally:
            self.end(f"step/{name}")

    def begin(self, name: str, two: str, remedy: str) -> None:
        """Note that something has begun.

        Args:
            name: of it.
            two: what two of them are called.
            remedy: how to tell them apart.

        Raises:
            InvalidSpec: it is under way already.
        """
        if name in self._names:
            raise InvalidSpec(
                f"{two} are under way at once, and nothing tells one from the other in the next pass: give each a key of "
                f"its own, as in {remedy}"
            )
        self._names.add(name)

    def end(self, name: str) -> None:
        """Note that it has ended."""
        self._names.discard(name)
