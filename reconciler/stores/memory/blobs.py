"""Objects in this process: the twin of `stores.s3` for tests and the simulator, and the one to read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from reconciler.api.errors import BlobExists, InvalidInput
from reconciler.api.transition import OutputRef
from reconciler.stores import blobs
from reconciler.stores.objects import LARGEST_AT_ONCE, BlobStat, Found


class MemoryBlobs:
    """A `BlobStore` over a dict. Threads may share it.

    Attributes:
        on_write: called with the URI after each object that was written, outside the lock.
    """

    def __init__(self, bucket: str = "memory", *, on_write: Callable[[str], None] | None = None) -> None:
        self.bucket = bucket
        self.on_write = on_write
        self._objects: dict[blobs.Address, bytes] = {}
        self._written: dict[blobs.Address, float] = {}
        self._lock = threading.Lock()

    def put(self, uri: str, data: bytes, *, overwrite: bool = True) -> str:
        """Write an object; return its SHA-256 in hex.

        Raises:
            BlobExists: `overwrite` is false and an object lies there.
            InvalidInput: the URI is none.
        """
        address = blobs.parse_uri(uri)
        with self._lock:
            if not overwrite and address in self._objects:
                raise blobs.exists(uri)
            self._objects[address] = bytes(data)
            self._written[address] = time.time()
        if self.on_write is not None:
            self.on_write(uri)
        return blobs.digest_of(data)

    def create_many(self, objects: Sequence[tuple[str, bytes]]) -> list[bool]:
        return [len(data) <= LARGEST_AT_ONCE and self._created(uri, data) for uri, data in objects]

    def _created(self, uri: str, data: bytes) -> bool:
        try:
            self.put(uri, data, overwrite=False)
        except (BlobExists, InvalidInput):
            return False
        return True

    def get(self, uri: str, *, sha256: str = "", limit: int = 0) -> bytes:
        """Read an object of at most `limit` bytes (0 = any).

        Raises:
            BlobNotFound: there is none.
            BlobCorrupt: the digest differs from `sha256`, or the object is larger than `limit`.
            InvalidInput: the URI is none.
        """
        address, part = blobs.parse_readable(uri)
        data = self._objects.get(address)
        if data is None:
            raise blobs.not_found(uri)
        if part is not None:
            data = data[part.first : part.first + part.size]
            if len(data) < part.size:
                raise blobs.is_cut(uri)
        blobs.check_size(uri, len(data), limit)
        return blobs.verified(uri, data, sha256)

    def get_many(self, refs: Sequence[OutputRef], *, limit: int = 0, workers: int = 16) -> list[bytes]:
        """Read the bytes of many references, in the order asked; as `stores.blobs.get_many`."""
        return blobs.get_many(self, refs, limit=limit, workers=workers)

    def stat(self, uri: str) -> BlobStat | None:
        """Return the size of an object; None when there is none.

        Raises:
            InvalidInput: the URI is none.
        """
        address, part = blobs.parse_readable(uri)
        data = self._objects.get(address)
        return None if data is None else blobs.stat_of(part, len(data))

    def delete_prefix(self, uri: str) -> int:
        """Remove all objects below a folder; return how many.

        Raises:
            InvalidInput: the URI is none, or names a whole bucket.
        """
        folder = blobs.parse_folder(uri)
        with self._lock:
            listed = [a for a in self._objects if a.bucket == folder.bucket and a.key.startswith(folder.key)]
            for address in listed:
                del self._objects[address]
        return len(listed)

    def find(self, start: str, *, after: str = "") -> list[Found]:
        prefix, behind = blobs.parse_uri(start), blobs.parse_uri(after).key if after else ""
        with self._lock:
            wanted = sorted(
                address
                for address in self._objects
                if address.bucket == prefix.bucket
                and address.key.startswith(prefix.key)
                and address.key > behind
            )
            return [Found(str(a), len(self._objects[a]), self._written[a]) for a in wanted[:1000]]

    def delete(self, uris: Sequence[str]) -> None:
        with self._lock:
            for uri in uris:
                self._objects.pop(blobs.parse_uri(uri), None)

    def uri(self, *parts: str) -> str:
        """Write `s3://bucket/part/part…`."""
        return blobs.join_uri(self.bucket, *parts)

    def check(self) -> list[str]:
        """Find no problems, because nothing can be wrong here."""
        return []
