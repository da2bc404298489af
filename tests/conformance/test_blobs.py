"""What every object store promises; run on the twin in memory and on a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound, InvalidInput
from reconciler.api.transition import OutputRef
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.blobs import digest_of
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.objects import LARGEST_AT_ONCE, BlobStat
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3 import blobs as s3

Blobs = MemoryBlobs | S3Blobs


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """A real S3 server, whose credentials are in the environment as boto3 wants them."""
    with (
        EmbeddedServers(tmp_path_factory.mktemp("s3"), redis=False) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.env().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.servers)])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryBlobs()
    request.getfixturevalue("servers")
    return S3Blobs(Settings.from_env(s3_prefix=f"tests/{uuid.uuid4().hex}"))


@pytest.mark.parametrize("data", [b"", b"{}", bytes(range(256)) * 1000], ids=["empty", "small", "large"])
def test_what_was_written_is_read(blobs: Blobs, data: bytes) -> None:
    """An object is read as it was written, and put returns the SHA-256 of its bytes."""
    uri = blobs.uri("a", "object")
    digest = blobs.put(uri, data)
    assert digest == digest_of(data)
    assert blobs.get(uri, sha256=digest) == blobs.get(uri) == data
    assert blobs.stat(uri) == BlobStat(len(data))


def test_a_large_object_is_not_written_beside_others(blobs: Blobs) -> None:
    """It is left to who can stop while it is written: an abort does not wait for it."""
    small, large = blobs.uri("many", "small"), blobs.uri("many", "large")
    made = blobs.create_many([(large, b"x" * (LARGEST_AT_ONCE + 1)), (small, b"x" * LARGEST_AT_ONCE)])
    assert made == [False, True]
    assert (blobs.stat(large), blobs.stat(small)) == (None, BlobStat(LARGEST_AT_ONCE))


@pytest.mark.parametrize("name", ["with space", "ü/日本", "a#b?c=d&e+f", "100%2F", "quote'\"<&>"])
def test_names_are_kept(blobs: Blobs, name: str) -> None:
    """Characters that mean something in URLs or XML mean nothing in the name of an object."""
    blobs.put(blobs.uri("names", name), b"here")
    assert blobs.get(blobs.uri("names", name)) == b"here"
    assert blobs.delete_prefix(blobs.uri("names")) == 1
    assert blobs.stat(blobs.uri("names", name)) is None


def test_nothing_there(blobs: Blobs) -> None:
    """A missing object is BlobNotFound for get, and None for stat."""
    with pytest.raises(BlobNotFound, match=r"no object lies at .*/missing"):
        blobs.get(blobs.uri("missing"))
    assert blobs.stat(blobs.uri("missing")) is None


def test_overwriting_is_the_default(blobs: Blobs) -> None:
    """A second put replaces the object."""
    uri = blobs.uri("object")
    blobs.put(uri, b"first")
    blobs.put(uri, b"second")
    assert blobs.get(uri) == b"second"


def test_create_once(blobs: Blobs) -> None:
    """With overwrite=False what lies there stays, even when the new bytes are the same."""
    uri = blobs.uri("object")
    blobs.put(uri, b"first", overwrite=False)
    for data in (b"second", b"first"):
        with pytest.raises(BlobExists, match="already"):
            blobs.put(uri, data, overwrite=False)
    assert blobs.get(uri) == b"first"


def test_exactly_one_of_many_creators_wins(blobs: Blobs) -> None:
    """Of 16 threads that create the same object at the same time one wins, and its bytes are there."""
    uri = blobs.uri("race")
    start = Barrier(16)

    def create(number: int) -> int | None:
        start.wait()
        try:
            blobs.put(uri, str(number).encode(), overwrite=False)
        except BlobExists:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(create, range(16)) if number is not None]
    assert len(winners) == 1
    assert blobs.get(uri) == str(winners[0]).encode()


@pytest.mark.parametrize(
    "changed", [b"outputt", b"outpu", b"", b"outputs+"], ids=["bit", "cut", "empty", "more"]
)
def test_a_changed_object_is_noticed(blobs: Blobs, changed: bytes) -> None:
    """An object that was changed after it was written is BlobCorrupt to whoever knows its digest."""
    uri = blobs.uri("outputs")
    digest = blobs.put(uri, b"outputs")
    blobs.put(uri, changed)
    with pytest.raises(BlobCorrupt, match=digest):
        blobs.get(uri, sha256=digest)


def test_limit(blobs: Blobs) -> None:
    """An object of exactly the limit is read, a larger one is refused."""
    uri = blobs.uri("object")
    blobs.put(uri, b"12345")
    assert blobs.get(uri, limit=5) == b"12345"
    with pytest.raises(BlobCorrupt, match="has 5 bytes, at most 4"):
        blobs.get(uri, limit=4)


def test_delete_prefix_means_a_folder(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below the folder goes, page by page; a neighbour whose name begins alike stays."""
    monkeypatch.setattr(s3, "PAGE", 3)
    for name in ("1/a", "1/b", "1/c", "1/deep/d", "1/deep/e", "1/f", "1/g", "10/a"):
        blobs.put(blobs.uri(name), b"x")
    assert blobs.delete_prefix(blobs.uri("1")) == 7
    assert blobs.stat(blobs.uri("1/deep/d")) is None
    assert blobs.get(blobs.uri("10/a")) == b"x"
    assert blobs.delete_prefix(blobs.uri("1/")) == 0


def test_other_buckets(blobs: Blobs) -> None:
    """URIs of other buckets than the configured one are understood."""
    key = uuid.uuid4().hex
    blobs.put(f"s3://elsewhere/{key}", b"there")
    assert blobs.get(f"s3://elsewhere/{key}") == b"there"
    assert blobs.stat(f"s3://{blobs.bucket}/{key}") is None


def test_uri_joins_parts(blobs: Blobs) -> None:
    """Parts are joined by one slash each, and empty parts leave no trace."""
    assert blobs.uri("a", "", "b/", "/c") == f"{blobs.uri('a')}/b/c"
    assert blobs.uri("a").startswith(f"s3://{blobs.bucket}/")


@pytest.mark.parametrize(
    "uri",
    ["", "key", "http://bucket/key", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "s3://b!cket/key",
     "s3://bucket/a/../b", "s3://bucket/./b", f"s3://bucket/{'é' * 513}"],
)  # fmt: skip
def test_bad_uris(blobs: Blobs, uri: str) -> None:
    """What is no URI of an object is refused by every verb, and nothing is deleted for it."""
    for verb in (lambda: blobs.put(uri, b""), lambda: blobs.get(uri), lambda: blobs.stat(uri)):
        with pytest.raises(InvalidInput, match=r"s3://bucket/key|'\.' or '\.\.'|1024"):
            verb()
    with pytest.raises(InvalidInput):
        blobs.delete_prefix(uri)


def test_get_many_keeps_the_order(blobs: Blobs) -> None:
    """Many references are read in the order asked, small ones from the copy they carry."""
    refs = []
    for number in range(40):
        data = str(number).encode()
        uri = blobs.uri("many", str(number))
        stored = number % 3 > 0
        digest = blobs.put(uri, data) if stored else digest_of(data)
        refs.append(OutputRef(uri=uri, sha256=digest, size=len(data), inline=None if stored else data))
    assert blobs.get_many(refs, limit=2) == [str(number).encode() for number in range(40)]
    assert blobs.get_many([]) == []


def test_get_many_fails_as_a_whole(blobs: Blobs) -> None:
    """One reference that cannot be read is an error, never a hole; so is a copy of other bytes."""
    refs = [OutputRef(uri=blobs.uri(name)) for name in ("there", "there too", "missing")]
    for ref in refs[:2]:
        blobs.put(ref.uri, b"x")
    with pytest.raises(BlobNotFound, match="missing"):
        blobs.get_many(refs)
    with pytest.raises(BlobCorrupt, match="is not what was written"):
        blobs.get_many([OutputRef(uri=refs[0].uri, sha256=digest_of(b"x"), inline=b"y")])


def test_check_of_a_good_store(blobs: Blobs) -> None:
    """A store that works has no problems, and the check leaves nothing behind."""
    assert blobs.check() == []
    assert blobs.delete_prefix(blobs.uri(".reconciler")) == 0


def test_objects_are_found_by_the_start_of_their_uri(blobs: Blobs) -> None:
    """What starts with a text is listed in order, in pages that go on behind a URI; sizes and times are told."""
    start = blobs.uri("found", "run@")
    names = [f"{start}{n:04d}" for n in range(3)]
    for uri in (*reversed(names), blobs.uri("found", "runs@1"), blobs.uri("other")):
        blobs.put(uri, b"12345")
    found = blobs.find(start)
    assert [one.uri for one in found] == names
    assert {one.size for one in found} == {5}
    assert all(one.at > 1_700_000_000 for one in found)
    assert [one.uri for one in blobs.find(start, after=names[0])] == names[1:]
    assert blobs.find(start, after=names[-1]) == blobs.find(blobs.uri("nothing")) == []


def test_named_objects_are_deleted(blobs: Blobs) -> None:
    """Only the objects named go; one that is not there is fine."""
    kept, *unwanted = uris = [blobs.uri("unwanted", name) for name in ("1", "10", "2")]
    for uri in uris:
        blobs.put(uri, b"here")
    blobs.delete([*unwanted, blobs.uri("unwanted", "gone")])
    blobs.delete([])
    assert [one.uri for one in blobs.find(blobs.uri("unwanted"))] == [kept]


def _pack(blobs: Blobs) -> str:
    return blobs.uri("_runs", "p", "d", "r@1", "parent", "packs", uuid.uuid4().hex)


def test_a_part_of_a_pack_is_read(blobs: Blobs) -> None:
    """A part is read by itself, with its own digest and its own size, and so is one at either end."""
    pack = _pack(blobs)
    blobs.put(pack, b"onetwothree", overwrite=False)
    parts = [f"{pack}#0+3", f"{pack}#3+3", f"{pack}#6+5"]
    assert [blobs.get(part) for part in parts] == [b"one", b"two", b"three"]
    assert blobs.get(parts[1], sha256=digest_of(b"two"), limit=3) == b"two"
    assert blobs.stat(parts[2]) == BlobStat(5)
    refs = [
        OutputRef(uri=part, sha256=digest_of(text))
        for part, text in zip(parts, (b"one", b"two", b"three"), strict=True)
    ]
    assert blobs.get_many(refs) == [b"one", b"two", b"three"]
    with pytest.raises(BlobCorrupt, match="is not what was written"):
        blobs.get(parts[0], sha256=digest_of(b"two"))
    with pytest.raises(BlobCorrupt, match="at most 2 are read"):
        blobs.get(parts[0], limit=2)


@pytest.mark.parametrize("part", ["#9+3", "#11+1", "#0+12", "#999999999+999999999"])
def test_a_part_that_its_pack_does_not_hold(blobs: Blobs, part: str) -> None:
    """It is an error, and never fewer bytes; asked whether it is there, it is not."""
    pack = _pack(blobs)
    blobs.put(pack, b"onetwothree")
    with pytest.raises(BlobCorrupt, match="is not in its pack"):
        blobs.get(pack + part)
    assert blobs.stat(pack + part) is None


def test_a_part_of_no_pack(blobs: Blobs) -> None:
    """It is a missing object like any other."""
    part = f"{_pack(blobs)}#0+3"
    with pytest.raises(BlobNotFound):
        blobs.get(part)
    assert blobs.stat(part) is None


def test_a_part_can_only_be_read(blobs: Blobs) -> None:
    """Nobody writes, removes or lists by the name of a part."""
    part = f"{_pack(blobs)}#0+3"
    for verb in (
        lambda: blobs.put(part, b""),
        lambda: blobs.delete([part]),
        lambda: blobs.delete_prefix(part),
    ):
        with pytest.raises(InvalidInput, match="it can be read, and nothing else"):
            verb()
    assert blobs.create_many([(part, b"")]) == [False]


@pytest.mark.parametrize("end", ["#0+0", "#-1+2", "#00000000000+1", "#0+1#0+1", "#0-3", "# 0+1", "#٣+1"])
def test_what_is_no_part_is_the_name_of_an_object(blobs: Blobs, end: str) -> None:
    """Only ranges of the one form are any; all else is a name, and nothing lies there."""
    pack = _pack(blobs)
    blobs.put(pack, b"onetwothree")
    with pytest.raises(BlobNotFound):
        blobs.get(pack + end)
    other = blobs.uri("packs", uuid.uuid4().hex + "#0+3")  # not below a run
    blobs.put(other, b"whole")
    assert blobs.get(other) == b"whole"
