"""The parts that all object stores share: addresses, digests, and the reading of references."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound, InvalidInput
from reconciler.api.transition import OutputRef
from reconciler.core.layout import Part, read_part
from reconciler.stores.objects import BlobStat, BlobStore

MAX_KEY = 1024
"""Longest key of an object, in UTF-8 bytes: a limit of S3 itself."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}", re.ASCII)


class Address(NamedTuple):
    """The place of an object: bucket and key."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def parse_uri(uri: str) -> Address:
    """Read `s3://bucket/key`.

    `.` and `..` are refused as parts of a key: servers that keep objects as files would follow them.

    Raises:
        InvalidInput: it has not that form, or the key is too long; or it is a part of an object, which can only be read.
    """
    if read_part(uri) is not None:
        raise InvalidInput(f"{uri[:200]!r} is a part of an object: it can be read, and nothing else")
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket) or not key:
        raise InvalidInput(f"{uri[:200]!r} is no object; write s3://bucket/key")
    if {".", ".."} & set(key.split("/")):
        raise InvalidInput(f"{uri[:200]!r} has '.' or '..' as a part of its path; write the path it means")
    if len(key.encode(errors="surrogatepass")) > MAX_KEY:
        raise InvalidInput(
            f"the path of {uri[:200]}… is longer than the {MAX_KEY} bytes S3 allows; shorten it"
        )
    return Address(bucket, key)


def parse_readable(uri: str) -> tuple[Address, Part | None]:
    """Read the address of what can be read: of an object, or of the pack that holds a part.

    Raises:
        InvalidInput: as `parse_uri`, but a part is fine.
    """
    part = read_part(uri)
    return parse_uri(part.pack if part else uri), part


def parse_folder(uri: str) -> Address:
    """Read the address of a folder; its key ends in `/`, so that `…/1` does not hold what lies below `…/10`.

    Raises:
        InvalidInput: as `parse_uri`; a whole bucket is no folder either.
    """
    address = parse_uri(uri.rstrip("/"))
    return Address(address.bucket, f"{address.key}/")


def join_uri(bucket: str, *parts: str) -> str:
    """Write `s3://bucket/part/part…`; empty parts and slashes around a part are left out."""
    return "/".join([f"s3://{bucket}", *(part.strip("/") for part in parts if part.strip("/"))])


def digest_of(data: bytes) -> str:
    """Compute SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def verified(uri: str, data: bytes, sha256: str) -> bytes:
    """Return `data` when it has this digest (an empty one fits all).

    Raises:
        BlobCorrupt: it has another one.
    """
    if sha256 and digest_of(data) != sha256.lower():
        raise BlobCorrupt(
            f"{uri} ({len(data)} bytes) is not what was written: its SHA-256 is {digest_of(data)}, "
            f"expected {sha256}. Somebody changed or cut it; run the action again."
        )
    return data


def check_size(uri: str, size: int, limit: int) -> None:
    """Refuse an object of more than `limit` bytes (0 = any).

    Raises:
        BlobCorrupt: it is larger.
    """
    if limit and size > limit:
        raise BlobCorrupt(
            f"{uri} has {size} bytes, at most {limit} are read. "
            "Store less there, or raise RECONCILER_MAX_OBJECT_SIZE."
        )


def not_found(uri: str) -> BlobNotFound:
    """Make the error for an object that is not there."""
    return BlobNotFound(f"no object lies at {uri}: it was never written, or it was deleted. Check the URI.")


def is_cut(uri: str) -> BlobCorrupt:
    """Make the error for a part that its pack does not hold."""
    return BlobCorrupt(f"{uri} is not in its pack: somebody changed or cut it; run the action again.")


def stat_of(part: Part | None, size: int) -> BlobStat | None:
    """Tell of an object of this size, or of a part of it; None when it is too short to hold the part."""
    if part is None:
        return BlobStat(size)
    return BlobStat(part.size) if part.first + part.size <= size else None


def exists(uri: str) -> BlobExists:
    """Make the error for a create-once write that lost."""
    return BlobExists(f"an object lies at {uri} already, and it is not ours; read it, or write elsewhere.")


def read_ref(blobs: BlobStore, ref: OutputRef, limit: int = 0) -> bytes:
    """Read the bytes of a reference, from the copy it carries or else from the store; the digest is checked.

    Raises:
        BlobNotFound, BlobCorrupt, BlobUnavailable: as `BlobStore.get`.
    """
    if ref.inline is not None:
        return verified(ref.uri, ref.inline, ref.sha256)
    return blobs.get(ref.uri, sha256=ref.sha256, limit=limit)


PUTS = 8
"""Objects that are written at the same time: of a server's 16 ms each eight leave 2 ms."""


def put_many(blobs: BlobStore, objects: Sequence[tuple[str, bytes]]) -> None:
    """Write objects, each a URI and its bytes, side by side; what lies there is written anew.

    Raises:
        BlobUnavailable: of the first object that failed; later ones may have been written, and those not begun are given up.
        InvalidInput: a URI is none.
    """
    if len(objects) < 2:  # no thread for one
        for uri, data in objects:
            blobs.put(uri, data)
        return
    with ThreadPoolExecutor(min(PUTS, len(objects)), thread_name_prefix="blobs") as pool:
        for _ in pool.map(lambda one: blobs.put(*one), objects):
            pass


def get_many(
    blobs: BlobStore, refs: Sequence[OutputRef], *, limit: int = 0, workers: int = 16
) -> list[bytes]:
    """Read the bytes of many references, concurrently, in the order asked.

    Args:
        blobs: where to read.
        refs: what to read.
        limit: largest object, in bytes; 0 = any.
        workers: reads at the same time.

    Raises:
        BlobNotFound, BlobCorrupt, BlobUnavailable: of the first reference that failed; the rest is given up.
    """
    stored = [index for index, ref in enumerate(refs) if ref.inline is None]
    if len(stored) < 2:
        return [read_ref(blobs, ref, limit) for ref in refs]
    with ThreadPoolExecutor(min(workers, len(stored)), thread_name_prefix="blobs") as pool:
        return list(pool.map(lambda ref: read_ref(blobs, ref, limit), refs))
