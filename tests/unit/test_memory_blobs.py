"""What only the store in memory has."""

from __future__ import annotations

import pytest

from reconciler.api.errors import BlobExists
from reconciler.stores.memory.blobs import MemoryBlobs


def test_on_write_is_called_after_each_write() -> None:
    """The hook sees the object it is told of, and hears nothing of a write that was refused."""
    seen = []
    blobs = MemoryBlobs()
    blobs.on_write = lambda uri: seen.append((uri, blobs.get(uri)))
    uri = blobs.uri("object")
    blobs.put(uri, b"1")
    with pytest.raises(BlobExists):
        blobs.put(uri, b"2", overwrite=False)
    blobs.put(uri, b"3")
    assert seen == [(uri, b"1"), (uri, b"3")]


def test_stored_bytes_do_not_change_with_the_callers() -> None:
    """The store keeps a copy of a buffer the caller goes on using."""
    blobs = MemoryBlobs("other")
    buffer = bytearray(b"before")
    blobs.put("s3://other/object", buffer)
    buffer[:] = b"after!"
    assert blobs.get("s3://other/object") == b"before"
