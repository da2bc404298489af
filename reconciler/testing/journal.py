"""Record what was called and written, in order: the proof of ordering guarantees (R6)."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One call or one part of a write.

    `what` is one of handle, abort, finalize, cache.get, cache.reserve, cache.put, cache.release, finalizer, event, status,
    label, launch, and `what!` when the call raised.
    """

    what: str
    action: str = ""
    detail: str = ""


class Journal(list[Entry]):
    """A list of entries with the questions tests ask."""

    def note(self, what: str, action: object = "", detail: object = "") -> None:
        """Append an entry."""
        self.append(Entry(what, str(action), str(detail)))

    @property
    def words(self) -> list[str]:
        """The `what` of each entry."""
        return [entry.what for entry in self]

    def of(self, *what: str) -> list[Entry]:
        """Return the entries of these kinds."""
        return [entry for entry in self if entry.what in what]
