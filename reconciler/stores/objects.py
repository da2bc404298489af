"""The verbs of the object stores: what the engine may ask of S3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

FOLDER = ".reconciler"
"""Reserved below the prefix of an installation: the mark of `stores.owner`, and for a moment what a check writes."""


class BlobStat(msgspec.Struct, frozen=True):
    """Size in bytes of an object."""

    size: int


LARGEST_AT_ONCE = 256 * 1024
"""Largest object that `create_many` writes, in bytes: whoever writes a larger one must be able to stop meanwhile."""
FOUND_AT_ONCE = 1000
"""Most objects of one list: a limit of S3 itself."""


class Found(msgspec.Struct, frozen=True):
    """An object of a list: its place, its size in bytes, and when it was written, seconds since the epoch."""

    uri: str
    size: int
    at: float


class BlobStore(Protocol):
    """Objects by URI (`s3://bucket/key`). Each verb raises `BlobUnavailable` while the server is away."""

    def put(self, uri: str, data: bytes, *, overwrite: bool = True) -> str:
        """Write an object; return its SHA-256 in hex.

        Raises:
            BlobExists: `overwrite` is false and an object lies there.
        """

    def create_many(self, objects: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Write objects (URI, bytes) side by side where nothing lies; tell for each whether it was certainly written.

        It never raises for a server: what was not written for sure is tried again by `put`, which tells why. What has more
        than `LARGEST_AT_ONCE` bytes is left to that, too.
        """

    def get(self, uri: str, *, sha256: str = "", limit: int = 0) -> bytes:
        """Read an object of at most `limit` bytes (0 = any).

        Raises:
            BlobNotFound: there is none.
            BlobCorrupt: the digest differs from `sha256`, or the object is larger than `limit`.
        """

    def stat(self, uri: str) -> BlobStat | None:
        """Return the size of an object; None when there is none."""

    def delete_prefix(self, uri: str) -> int:
        """Remove all objects below a prefix; return how many."""

    def find(self, start: str, *, after: str = "") -> list[Found]:
        """Find the next objects whose URI starts with `start`, in the order of their URIs, after `after`; at most 1000."""

    def delete(self, uris: Sequence[str]) -> None:
        """Remove these objects of one bucket; missing ones are fine.

        Raises:
            BlobUnavailable: the server does not answer; some may have been removed.
        """

    def uri(self, *parts: str) -> str:
        """Write the URI of an object of this store."""


def folders_in(blobs: BlobStore, uri: str) -> Iterator[str]:
    """Name the folders in a folder, in the order of their URIs; costs a request for each."""
    start, after = f"{uri}/", ""
    while page := blobs.find(start, after=after):
        name = page[0].uri.removeprefix(start).partition("/")[0]
        yield name
        after = f"{start}{name}/~"
