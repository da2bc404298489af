"""The catalog: the outputs that a cache key stands for, and who may fill it (R43, R49, R51)."""

from __future__ import annotations

import hashlib
from typing import Protocol

import msgspec

from reconciler.api.errors import InvalidInput, ReconcilerError
from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import OutputRef


class CatalogMiss(ReconcilerError):
    """The catalog holds no usable entry under this key."""


class CatalogExists(ReconcilerError):
    """Somebody has filled the key before; entries are not overwritten (R46)."""


class CatalogCorrupt(ReconcilerError):
    """An entry does not hold what it should. This is not a miss: the lookup failed (R50)."""


class CacheKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its scope. Keys of two projects never meet (R49)."""

    project: str
    domain: str
    key: str

    def __str__(self) -> str:
        return f"{self.project}-{self.domain}-{self.key}"

    @property
    def digest(self) -> str:
        """32 hexadecimal characters that stand for the key, unlike its text also where names hold `-`."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=16).hexdigest()

    def checked(self) -> CacheKey:
        """Check that a key is not empty, and return it.

        Raises:
            InvalidInput: it is empty.
        """
        if not self.key:
            raise InvalidInput("a cache key must not be empty: compute it with reconciler.core.cachekey")
        return self


class CacheSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The launch that made an entry (R46)."""

    task: str = ""
    task_version: str = ""
    project: str = ""
    domain: str = ""
    run: str = ""
    action: str = ""
    attempt: int = 0
    created_at: int = 0


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A hit: where the outputs lie, and who made them. Times are ms since the epoch.

    A replacement keeps the time of creation when its source gives none (R46).
    """

    outputs: OutputRef
    source: CacheSource
    last_updated_at: int = 0
    created_at: int = 0


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """The right to fill a key: who has it, until when, with which fencing token (R51).

    `expires_at` is ms since the epoch by the catalog's clock, `heartbeat` ms.
    """

    owner: str
    token: ReservationToken
    expires_at: int
    heartbeat: int = 0


class Catalog(Protocol):
    """The synchronous catalog of the reconciler's own cache steps."""

    def get(self, key: CacheKey) -> CacheEntry:
        """Read the entry of a key.

        Raises:
            CatalogMiss: there is none, or it is too old.
            CatalogCorrupt: it cannot be read.
        """

    def put(
        self,
        key: CacheKey,
        outputs: OutputRef,
        source: CacheSource,
        *,
        token: ReservationToken = NO_RESERVATION,
        replace: bool = False,
    ) -> tuple[str, ...]:
        """Store a reference to outputs. An entry that is too old is replaced (R46).

        Args:
            key: under which.
            outputs: where they lie; they must exist.
            source: who made them.
            token: fencing token of the reservation the outputs were made under; 0 = none was held.
            replace: overwrite an entry, as one whose outputs are gone (R46).

        Returns:
            The owners who wait for this key, each returned once; the caller wakes them.

        Raises:
            CatalogExists: the key is filled.
            InvalidInput: the key or the URI of the outputs is empty.
            Superseded: the reservation was lost to a newer owner (R51).
        """

    def delete(self, key: CacheKey) -> None:
        """Forget the entry of a key: the next such call runs. The outputs it refers to stay (R46).

        Raises:
            CatalogMiss: there is none.
            InvalidInput: the key is empty.
        """

    def get_or_extend_reservation(self, key: CacheKey, owner: str, heartbeat: int) -> Reservation:
        """Acquire or extend the reservation of a key, or learn who holds it (R51).

        The lease is the heartbeat times the grace. The token grows with each new holder and stays the same for extensions.
        An owner that does not get the key is noted as waiting.

        Args:
            key: what to reserve.
            owner: who asks.
            heartbeat: ms until the owner wants to come back; cut to the longest allowed, which 0 asks for.

        Raises:
            InvalidInput: the key or the owner is empty.
        """

    def release_reservation(self, key: CacheKey, owner: str) -> tuple[str, ...]:
        """Release the reservation, and stop waiting for it; a missing or foreign one is left alone.

        Returns:
            The owners the caller wakes: all that wait when the key is filled, else the one who waits longest.

        Raises:
            InvalidInput: the key or the owner is empty.
        """
