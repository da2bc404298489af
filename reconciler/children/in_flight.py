"""Refuse two equal steps or questions at the same time: the next pass could not tell one from the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.api.errors import InvalidSpec


class InFlight:
    """The names of what is under way in one call."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Refuse a second step of this name beside the first.

        Raises:
            InvalidSpec: there is one.
        """
        self.begin(f"step/{name}", f"two steps named {name!r}", "step(name, function, key=…)")
        try:
            yield
        finally:
            self.end(f"step/{name}")

    def begin(self, name: str, two: str, remedy: str) -> None:
        """Note that something is under way.

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
        """Note that it is under way no longer."""
        self._names.discard(name)
