"""The asynchronous catalog, for plugins: many entries at once, in threads, while their rounds go on (R52).

A plugin asks for the same things in each of its rounds until they are ready; what is under way or done is not begun again.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from functools import partial

import msgspec

from reconciler.api.errors import BlobCorrupt, BlobNotFound, PluginError
from reconciler.api.tokens import NO_RESERVATION, ReservationToken
from reconciler.api.transition import OutputRef
from reconciler.plugins.work_queue import WorkItem, WorkQueue, WorkStatus
from reconciler.stores.blobs import read_ref
from reconciler.stores.catalog import CacheKey, CacheSource, Catalog, CatalogExists, CatalogMiss
from reconciler.stores.objects import BlobStore
from reconciler.stores.outputs import ActionFiles


class ResponseStatus(enum.Enum):
    """The state of a request: is everything done that was asked for?"""

    NOT_READY = "NotReady"
    READY = "Ready"


class ResponseNotReady(PluginError):
    """A response was read before it was ready: check `status` first, and come back in a later round."""

    code = "RESPONSE_NOT_READY"


class CatalogSystemError(PluginError):
    """A part of the request failed; `__cause__` is the error of the first failed part."""

    code = "SYSTEM_ERROR"


class DownloadRequest(msgspec.Struct, frozen=True):
    """Copy the outputs of an entry to the place of an attempt's; up to `inline_limit` bytes ride in the reference."""

    key: CacheKey
    target: ActionFiles
    inline_limit: int = 0


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Fill a key; `token` and `replace` as in `Catalog.put`."""

    key: CacheKey
    outputs: OutputRef
    source: CacheSource
    token: ReservationToken = NO_RESERVATION
    replace: bool = False


class DownloadResponse(msgspec.Struct, frozen=True):
    """The outputs that were found.

    Attributes:
        outputs: for each request, in order, the outputs as they lie at its target; None when the key is not filled.
    """

    outputs: tuple[OutputRef | None, ...]

    @property
    def cached(self) -> int:
        """A set of bits: bit i says whether request i was served from the catalog."""
        return sum(1 << index for index, ref in enumerate(self.outputs) if ref is not None)

    @property
    def cached_count(self) -> int:
        """Count how many were served."""
        return self.cached.bit_count()

    @property
    def size(self) -> int:
        """Count how many were asked for."""
        return len(self.outputs)


class UploadFuture:
    """Uploads that may still be going on. Their only response is that they are done."""

    def __init__(self, items: Sequence[WorkItem[OutputRef | None]]) -> None:
        self._items = items

    @property
    def status(self) -> ResponseStatus:
        """Tell whether everything is done, well or not."""
        waits = any(item.status is WorkStatus.NOT_DONE for item in self._items)
        return ResponseStatus.NOT_READY if waits else ResponseStatus.READY

    @property
    def error(self) -> Exception | None:
        """The error of the first part that failed so far; None when none did."""
        return next((item.error for item in self._items if item.status is WorkStatus.FAILED), None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is done, at most this many seconds for each part; tell whether it is. Rounds do not wait."""
        return all(item.done.wait(timeout) for item in self._items)

    def _finished(self) -> Sequence[WorkItem[OutputRef | None]]:
        if self.status is ResponseStatus.NOT_READY:
            raise ResponseNotReady(
                "the catalog has not answered yet: look at the status, and come back later"
            )
        error = self.error
        if error is not None:
            raise CatalogSystemError(f"the catalog could not answer: {error}") from error
        return self._items


class DownloadFuture(UploadFuture):
    """Downloads that may still be going on."""

    def response(self) -> DownloadResponse:
        """Return what was found.

        Raises:
            ResponseNotReady: not everything is done.
            CatalogSystemError: a part failed.
        """
        return DownloadResponse(tuple(item.result for item in self._finished()))


class AsyncCatalogClient:
    """Downloads and uploads in the background. One per process; threads may share it.

    Args:
        catalog: entries.
        blobs: the outputs they refer to.
        workers: threads for downloads, and as many for uploads; started when they are first needed.
        retries: tries of an upload.
        index: how many downloads, and how many uploads, are remembered; the one not asked for longest is forgotten.
        limit: largest outputs that are copied, in bytes; 0 = any.
    """

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        *,
        workers: int = 10,
        retries: int = 3,
        index: int = 10_000,
        limit: int = 0,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._limit = limit
        self._reader = WorkQueue[OutputRef | None]("catalog-read", workers=workers, tries=1, index=index)
        self._writer = WorkQueue[OutputRef | None](
            "catalog-write", workers=workers, tries=retries, index=index
        )

    def download(self, requests: Sequence[DownloadRequest]) -> DownloadFuture:
        """Look keys up, and copy the outputs of those that are filled. Returns at once.

        A key without a usable entry is no error, it is not cached; a catalog or an object that cannot be asked is one.
        """
        return DownloadFuture(
            [
                self._reader.add(_id(one.key, index, one.target.prefix), partial(self._read, one))
                for index, one in enumerate(requests)
            ]
        )

    def upload(self, requests: Sequence[UploadRequest]) -> UploadFuture:
        """Fill keys. Returns at once; a key that was filled before is done."""
        return UploadFuture(
            [
                self._writer.add(_id(one.key, index, one.outputs.uri), partial(self._write, one))
                for index, one in enumerate(requests)
            ]
        )

    def close(self) -> None:
        """Begin nothing more; return when what runs has ended."""
        self._reader.close()
        self._writer.close()

    def _read(self, request: DownloadRequest) -> OutputRef | None:
        try:
            entry = self._catalog.get(request.key)
            data = read_ref(self._blobs, entry.outputs, self._limit)
        except (CatalogMiss, BlobNotFound, BlobCorrupt):
            return None
        return request.target.write_outputs(data, request.inline_limit)

    def _write(self, request: UploadRequest) -> None:
        try:
            self._catalog.put(
                request.key, request.outputs, request.source, token=request.token, replace=request.replace
            )
        except CatalogExists:
            return


def _id(key: CacheKey, index: int, where: str) -> str:
    """Name one piece of work. Keys hold the hash of the inputs, so other inputs are other work."""
    place = hashlib.blake2b(where.encode(), digest_size=8).hexdigest()
    return f"{key.checked().digest}-{index}-{place}"
