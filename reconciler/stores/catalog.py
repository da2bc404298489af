"""The catalog: which outputs a cache key stands for, and who may fill it (spec 8-10)."""

from __future__ import annotations

from typing import Protocol

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.api.transition import OutputRef


class CatalogMiss(ReconcilerError):
    """The catalog holds no usable entry under this key."""


class CatalogExists(ReconcilerError):
    """Somebody filled the key before; entries are not overwritten (spec 10.2)."""


class CacheKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its scope. Keys of two projects never meet (spec 9.5)."""

    project: str
    domain: str
    key: str

    def __str__(self) -> str:
        return f"{self.project}-{self.domain}-{self.key}"


class CacheSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which launch made an entry (spec 8.4)."""

    task: str = ""
    task_version: str = ""
    project: str = ""
    domain: str = ""
    run: str = ""
    action: str = ""
    attempt: int = 0
    created_at: int = 0


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A hit: where the outputs lie, who made them, and the token of the entry for replacing it."""

    outputs: OutputRef
    source: CacheSource
    last_updated_at: int = 0


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Who may fill a key, until when (ms), with which fencing token (spec 10.3)."""

    owner: str
    token: int
    expires_at: int
    heartbeat: int = 0


class Catalog(Protocol):
    """The synchronous catalog of the reconciler's own cache steps."""

    def get(self, key: CacheKey) -> CacheEntry:
        """The entry of a key.

        Raises:
            CatalogMiss: there is none, it is too old, or its outputs are gone.
        """
        ...

    def put(
        self, key: CacheKey, outputs: OutputRef, source: CacheSource, *, token: int = 0, replace: bool = False
    ) -> None:
        """Store a reference to outputs.

        Args:
            key: under which.
            outputs: where they lie; they must exist.
            source: who made them.
            token: fencing token of the reservation the outputs were made under; 0 = none was held.
            replace: overwrite an entry that a lookup judged stale or dangling (spec W-20).

        Raises:
            CatalogExists: the key is filled.
            Superseded: the reservation was lost to a newer owner (spec W-22).
        """
        ...

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """Acquire or extend the reservation of a key, or learn who holds it. `heartbeat` is ms."""
        ...

    def release_reservation(self, key: CacheKey, owner: str) -> None:
        """Give the reservation back; one that is missing or foreign is left alone."""
        ...
