"""The asynchronous catalog for plugins (R52): futures, what is remembered, what is tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler.api.errors import BlobUnavailable, StoreUnavailable
from reconciler.api.transition import OutputRef
from reconciler.plugins.catalog_client import (
    AsyncCatalogClient,
    CatalogSystemError,
    DownloadRequest,
    ResponseNotReady,
    ResponseStatus,
    UploadRequest,
)
from reconciler.plugins.work_queue import WorkQueue, WorkStatus
from reconciler.stores.blobs import digest_of
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, CatalogMiss
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.stores.outputs import ActionFiles

pytestmark = pytest.mark.rule("R52")
DATA = b'{"o0":1}'


class Shelf(MemoryCatalog):
    """A catalog whose verbs can be held up or fail, and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.calls: list[str] = []

    def get(self, key: CacheKey) -> CacheEntry:
        """Do as the twin does, behind the gate."""
        self._pass("get")
        return super().get(key)

    def put(self, key: CacheKey, outputs: OutputRef, source: CacheSource, **how: Any) -> tuple[str, ...]:
        """Do as the twin does, behind the gate."""
        self._pass("put")
        return super().put(key, outputs, source, **how)

    def _pass(self, verb: str) -> None:
        assert self.gate.wait(30)
        self.calls.append(verb)
        if self.failures:
            raise self.failures.pop()


@pytest.fixture
def shelf() -> Shelf:
    """An empty catalog."""
    return Shelf()


@pytest.fixture
def blobs() -> MemoryBlobs:
    """Empty object storage."""
    return MemoryBlobs()


@pytest.fixture
def client(shelf: Shelf, blobs: MemoryBlobs) -> Iterator[AsyncCatalogClient]:
    """A client on both."""
    client = AsyncCatalogClient(shelf, blobs)
    yield client
    shelf.gate.set()
    client.close()


def key(name: str) -> CacheKey:
    """Return a cache key."""
    return CacheKey(project="p", domain="d", key=name)


def fill(shelf: Shelf, blobs: MemoryBlobs, name: str, data: bytes = DATA) -> OutputRef:
    """Store outputs, and an entry for them."""
    uri = blobs.uri("made", name, "outputs.pb")
    ref = OutputRef(uri=uri, sha256=blobs.put(uri, data), size=len(data))
    MemoryCatalog.put(shelf, key(name), ref, CacheSource())
    return ref


def files(blobs: MemoryBlobs, name: str) -> ActionFiles:
    """Where an attempt's outputs belong."""
    return ActionFiles(blobs, blobs.uri("mine", name), limit=1000)


def downloads(blobs: MemoryBlobs, *names: str, inline: int = 0) -> list[DownloadRequest]:
    """Return requests for these keys."""
    return [DownloadRequest(key(name), files(blobs, name), inline) for name in names]


def upload(name: str, attempt: int = 1) -> UploadRequest:
    """Return a request to fill a key."""
    uri = f"s3://b/{name}/{attempt}/outputs.pb"
    return UploadRequest(key=key(name), outputs=OutputRef(uri=uri), source=CacheSource(attempt=attempt))


def test_a_download_copies_what_is_cached(
    client: AsyncCatalogClient, shelf: Shelf, blobs: MemoryBlobs
) -> None:
    """Outputs of filled keys are copied to their targets; the response says by bits which were, in order."""
    fill(shelf, blobs, "a")
    fill(shelf, blobs, "c")
    future = client.download(downloads(blobs, "a", "b", "c", inline=100))
    assert future.wait(30)
    assert (future.status, future.error) == (ResponseStatus.READY, None)
    found = future.response()
    assert (found.cached, found.cached_count, found.size) == (0b101, 2, 3)
    ref = OutputRef(uri=files(blobs, "c").outputs_uri, sha256=digest_of(DATA), size=len(DATA), inline=DATA)
    assert (found.outputs[1], found.outputs[2]) == (None, ref)
    assert blobs.get(files(blobs, "a").outputs_uri) == DATA


def test_a_response_is_not_ready_before_its_time(
    client: AsyncCatalogClient, shelf: Shelf, blobs: MemoryBlobs
) -> None:
    """While a part is under way the status says so, and reading the response is an error with a code."""
    shelf.gate.clear()
    future = client.download(downloads(blobs, "a"))
    assert (future.status, future.error) == (ResponseStatus.NOT_READY, None)
    with pytest.raises(ResponseNotReady) as caught:
        future.response()
    assert caught.value.code == "RESPONSE_NOT_READY"
    assert not future.wait(0)
    shelf.gate.set()
    assert future.wait(30)
    assert future.response().cached == 0


def test_asking_again_gives_what_is_known(
    client: AsyncCatalogClient, shelf: Shelf, blobs: MemoryBlobs
) -> None:
    """The same requests in the next round begin nothing anew; another target or place in the list does."""
    fill(shelf, blobs, "a")
    for _ in range(3):
        assert client.download(downloads(blobs, "a")).wait(30)
    assert len(shelf.calls) == 1
    client.download([DownloadRequest(key("a"), files(blobs, "elsewhere"))]).wait(30)
    client.download(downloads(blobs, "b", "a")).wait(30)
    assert len(shelf.calls) == 4


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_entry_that_cannot_be_read_is_not_cached(
    client: AsyncCatalogClient, shelf: Shelf, blobs: MemoryBlobs, damage: str
) -> None:
    """An entry whose outputs are gone or changed is no hit and no failure."""
    ref = fill(shelf, blobs, "a")
    blobs.delete_prefix(blobs.uri("made", "a"))
    if damage == "changed":
        blobs.put(ref.uri, b"rot")
    future = client.download(downloads(blobs, "a"))
    assert future.wait(30)
    assert future.response().cached == 0


@pytest.mark.parametrize("error", [StoreUnavailable("away"), BlobUnavailable("away")])
def test_a_failed_lookup_is_the_error_of_the_response(
    client: AsyncCatalogClient, shelf: Shelf, blobs: MemoryBlobs, error: Exception
) -> None:
    """A catalog that cannot be asked fails the response, with a code and the cause; it is not tried again."""
    shelf.failures = [error]
    future = client.download(downloads(blobs, "a"))
    assert future.wait(30)
    assert (future.status, future.error) == (ResponseStatus.READY, error)
    with pytest.raises(CatalogSystemError) as caught:
        future.response()
    assert (caught.value.code, caught.value.__cause__) == ("SYSTEM_ERROR", error)
    assert shelf.calls == ["get"]


def test_an_upload_fills_keys(client: AsyncCatalogClient, shelf: Shelf) -> None:
    """Uploads fill their keys; one that was filled before is done, and stays as it was."""
    assert client.upload([upload("a"), upload("b")]).wait(30)
    again = client.upload([upload("a", 2)])
    assert again.wait(30)
    assert again.error is None
    assert [shelf.get(key(name)).source.attempt for name in "ab"] == [1, 1]


@pytest.mark.parametrize(("failures", "error"), [(2, None), (3, StoreUnavailable)])
def test_an_upload_is_tried_three_times(
    client: AsyncCatalogClient, shelf: Shelf, failures: int, error: type[Exception] | None
) -> None:
    """A put that fails is repeated up to the limit; then the upload has failed."""
    shelf.failures = [StoreUnavailable("away") for _ in range(failures)]
    future = client.upload([upload("a")])
    assert future.wait(30)
    assert shelf.calls == ["put"] * 3
    if error is None:
        assert future.error is None
        assert shelf.get(key("a")).source.attempt == 1
    else:
        assert isinstance(future.error, error)


def test_other_outputs_are_another_upload(client: AsyncCatalogClient, shelf: Shelf) -> None:
    """A later attempt's upload is not taken for the one that failed."""
    shelf.failures = [StoreUnavailable("away") for _ in range(3)]
    assert client.upload([upload("a", 1)]).wait(30)
    later = client.upload([upload("a", 2)])
    assert later.wait(30)
    assert (later.error, shelf.get(key("a")).source.attempt) == (None, 2)


# -- the queue -------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue() -> Iterator[WorkQueue[int]]:
    """A queue that remembers two pieces."""
    queue = WorkQueue[int]("test", workers=2, tries=1, index=2)
    yield queue
    queue.close()


def test_the_piece_not_asked_for_longest_is_forgotten(queue: WorkQueue[int]) -> None:
    """Above its limit the index forgets; what was forgotten is done anew, and its holder keeps the first result."""
    count = iter(range(100))
    first = queue.add("a", lambda: next(count))
    assert first.done.wait(30)
    second = queue.add("b", lambda: next(count))
    assert second.done.wait(30)
    assert queue.add("a", lambda: next(count)) is first
    assert queue.add("c", lambda: next(count)).done.wait(30)
    assert queue.add("a", lambda: next(count)) is first
    anew = queue.add("b", lambda: next(count))
    assert anew.done.wait(30)
    assert (first.result, second.result, anew.result) == (0, 1, 3)


def test_a_closed_queue_begins_nothing() -> None:
    """Closing ends the pauses between tries; what has not succeeded by then has failed."""
    queue = WorkQueue[int]("test", workers=1, tries=50, index=2)
    tried = threading.Event()
    item = queue.add("a", _failing(tried))
    assert tried.wait(30)
    queue.close()
    assert (item.status, str(item.error)) == (WorkStatus.FAILED, "no")
    with pytest.raises(RuntimeError):
        queue.add("b", lambda: 1)
    assert queue.add("a", lambda: 1) is item


def _failing(tried: threading.Event) -> Callable[[], int]:
    def work() -> int:
        tried.set()
        raise CatalogMiss("no")

    return work
