"""Keep steps of one name from being under way at once: nothing would tell one from the other in the next pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.api.errors import InvalidSpec


class InFlight:
    """The names of the steps of one call that are under way."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Refuse a second step of this name beside the first.

        Raises:
            InvalidSpec: there is one.
        """
        if name in self._names:
            raise InvalidSpec(
                f"two steps named {name!r} are under way at once, and nothing tells one from the other in the next pass: "
                "give each a key of its own, as in step(name, function, key=…)"
            )
        self._names.add(name)
        try:
            yield
        finally:
            self._names.discard(name)
