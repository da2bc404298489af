"""The object layout of an attempt, and the rules of R64-22.6."""

from __future__ import annotations

import json

import pytest

from reconciler.api.action import ActionSpec
from reconciler.api.errors import (
    BlobCorrupt,
    BlobExists,
    BlobNotFound,
    BlobUnavailable,
    InvalidInput,
    ReadFailed,
)
from reconciler.api.transition import ErrorKind, ExecutionError, OutputRef
from reconciler.core.paths import INLINE, output_prefix
from reconciler.core.retries import non_retryable_code
from reconciler.settings import Settings
from reconciler.stores.blobs import digest_of
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.outputs import ActionFiles, AttemptResult, read_inputs
from reconciler.stores.s3 import S3Blobs

PREFIX = output_prefix("flyte", "run1-a0", "s3://memory/runs/run1", "a0", 1)
LIMIT = 10_000
ERROR = ExecutionError("Boom", "it broke", ErrorKind.USER, "Traceback …")


@pytest.fixture
def blobs() -> MemoryBlobs:
    """An empty store."""
    return MemoryBlobs()


@pytest.fixture
def files(blobs: MemoryBlobs) -> ActionFiles:
    """The files of an attempt that has written nothing yet."""
    return ActionFiles(blobs, PREFIX, limit=LIMIT)


def test_layout(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """Flyte's file names below the attempt's prefix."""
    written: list[str] = []
    blobs.on_write = written.append
    files.write_outputs(b"{}")
    files.write_error(ERROR, recoverable=True)
    log = files.write_log(b"line\n")
    assert written == [
        f"s3://memory/vy/runs/run1/a0/1/{name}" for name in ("outputs.pb", "error.pb", "log.txt")
    ]
    assert log == OutputRef(uri=written[2], sha256=digest_of(b"line\n"), size=5)
    assert files.raw_output_prefix == PREFIX
    assert files.checkpoint_prefix == f"{PREFIX}/_flytecheckpoints"
    assert ActionFiles(blobs, f"{PREFIX}/", limit=0).outputs_uri == files.outputs_uri


def test_outputs_and_their_reference(files: ActionFiles) -> None:
    """The reference tells size and digest, and carries a copy up to the inline limit."""
    assert not files.outputs_exist()
    ref = files.write_outputs(b'{"o0":1}', inline_limit=8)
    assert (ref.uri, ref.size, ref.sha256) == (files.outputs_uri, 8, digest_of(b'{"o0":1}'))
    assert ref.inline == b'{"o0":1}'
    assert files.write_outputs(b'{"o0":1}', inline_limit=7).inline is None
    assert files.write_outputs(b'{"o0":1}').inline is None
    assert files.outputs_exist()
    assert files.read_outputs(ref) == files.read_outputs() == b'{"o0":1}'


def test_outputs_are_written_once(files: ActionFiles) -> None:
    """The same outputs again are accepted, since the first answer may be lost; others are not."""
    first = files.write_outputs(b"[1]")
    assert files.write_outputs(b"[1]") == first
    for other in (b"[2]", b"[1]\n", b""):
        with pytest.raises(BlobExists):
            files.write_outputs(other)
    assert files.read_outputs() == b"[1]"


def test_outputs_of_another_attempt(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """A reference may point elsewhere: cached outputs are read where they lie."""
    other = ActionFiles(blobs, PREFIX.replace("/a0/", "/b0/"), limit=LIMIT)
    ref = other.write_outputs(b"[2]")
    assert files.read_outputs(ref) == b"[2]"
    with pytest.raises(BlobNotFound):
        files.read_outputs()


def test_outputs_that_changed(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """Outputs that are not what the reference says are never returned."""
    ref = files.write_outputs(b"[1]")
    blobs.put(ref.uri, b"[9]")
    with pytest.raises(BlobCorrupt, match=ref.sha256):
        files.read_outputs(ref)


def test_outputs_above_the_limit(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """Too large outputs are refused before anything is stored; found ones are an error, not absent."""
    with pytest.raises(
        InvalidInput, match=f"10001 bytes, at most {LIMIT}.*{PREFIX}.*RECONCILER_MAX_OBJECT_SIZE"
    ):
        files.write_outputs(bytes(LIMIT + 1))
    assert not files.outputs_exist()
    blobs.put(files.outputs_uri, bytes(LIMIT + 1))
    for ask in (files.outputs_exist, files.read_outputs):
        with pytest.raises(BlobCorrupt, match=f"at most {LIMIT}"):
            ask()


@pytest.mark.parametrize("recoverable", [True, False])
@pytest.mark.parametrize("kind", list(ErrorKind))
def test_error_keeps_all_it_says(files: ActionFiles, kind: ErrorKind, *, recoverable: bool) -> None:
    """Code, message, traceback, origin (R66) and whether a retry can help come back as written."""
    error = ExecutionError("Boom", "it \x00 broke: 日本", kind, "Traceback …")
    assert not files.has_error()
    files.write_error(error, recoverable=recoverable)
    assert files.has_error()
    assert files.read_error() == (error, recoverable)


def test_error_document_is_flytes(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """The document has the fields of Flyte's: code, message, kind, and the origin it loses there."""
    files.write_error(ERROR, recoverable=False)
    document = json.loads(blobs.get(files.error_uri))["error"]
    assert document == {
        "code": "Boom", "message": "it broke", "kind": "NON_RECOVERABLE", "origin": "USER",
        "traceback": "Traceback …",
    }  # fmt: skip


@pytest.mark.parametrize(
    "letter", ["x", "\x01", "日", "\ud800"], ids=["ascii", "control", "wide", "surrogate"]
)
def test_huge_errors_are_cut(files: ActionFiles, blobs: MemoryBlobs, letter: str) -> None:
    """Whatever an error says, it can be written, read again, and begins as it did."""
    files.write_error(
        ExecutionError(letter * 300, f"cause {letter * LIMIT}", ErrorKind.USER, letter), recoverable=True
    )
    stat = blobs.stat(files.error_uri)
    assert stat is not None
    assert stat.size <= LIMIT
    error, recoverable = files.read_error()
    assert error.message.startswith("cause ")
    assert error.message.endswith("…")
    assert (error.kind, recoverable) == (ErrorKind.USER, True)


def test_a_long_traceback_goes_first(files: ActionFiles) -> None:
    """The message is kept whole while leaving out the traceback makes room enough."""
    files.write_error(ExecutionError("Boom", "it broke", ErrorKind.USER, "x" * LIMIT), recoverable=True)
    assert files.read_error() == (ExecutionError("Boom", "it broke", ErrorKind.USER), True)


def test_no_error_file(files: ActionFiles) -> None:
    """A missing error file is itself a recoverable fault of the platform."""
    error, recoverable = files.read_error()
    assert (error.code, error.kind, recoverable) == ("ErrorFileNotFound", ErrorKind.SYSTEM, True)


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[]", b'{"error":null}', b'{"error":"x"}', b'{"error":{"code":1}}', b"\xff", b"{"],
)
def test_error_file_without_an_error(files: ActionFiles, blobs: MemoryBlobs, document: bytes) -> None:
    """A file without an error in it is a recoverable fault of the platform."""
    blobs.put(files.error_uri, document)
    error, recoverable = files.read_error()
    assert (error.code, error.kind, recoverable) == ("ErrorFileBadFormat", ErrorKind.SYSTEM, True)
    assert files.error_uri in error.message


def test_error_file_above_the_limit(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """A too large error file is an error (R66), and says so."""
    blobs.put(files.error_uri, bytes(LIMIT + 1))
    assert files.has_error()
    error, recoverable = files.read_error()
    assert (error.code, error.kind, recoverable) == ("ErrorFileBadFormat", ErrorKind.SYSTEM, True)
    assert f"{LIMIT + 1} bytes, at most {LIMIT}" in error.message


def test_error_file_of_a_stranger(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """Fields nobody told us of are passed over; a missing kind means that no retry can help, as in Flyte."""
    blobs.put(files.error_uri, b'{"error":{"code":"C","message":"m","origin":"MARS","more":1},"v":2}')
    assert files.read_error() == (ExecutionError("C", "m", ErrorKind.UNKNOWN), False)


def test_put_outputs(files: ActionFiles) -> None:
    """A success whose output map is empty is a success (R66): no error file."""
    ref = files.put(AttemptResult(outputs=b"{}"), inline_limit=10)
    assert ref is not None
    assert ref.inline == b"{}"
    assert files.outputs_exist()
    assert not files.has_error()


def test_put_error(files: ActionFiles) -> None:
    """An error is written as such, also beside outputs, which are dropped."""
    assert files.put(AttemptResult(outputs=b"{}", error=ERROR, recoverable=False)) is None
    assert files.read_error() == (ERROR, False)
    assert not files.outputs_exist()


def test_put_nothing(files: ActionFiles) -> None:
    """Neither outputs nor error is a fault of whoever calls."""
    with pytest.raises(InvalidInput, match="no data found to write"):
        files.put(AttemptResult())
    assert not files.has_error()


def test_log_is_written_anew_and_keeps_its_end(files: ActionFiles, blobs: MemoryBlobs) -> None:
    """Each writing of the log replaces the one before; of a log above the limit the end is kept."""
    files.write_log(b"first")
    ref = files.write_log(b"x" * LIMIT + b"end")
    stored = blobs.get(ref.uri, sha256=ref.sha256)
    assert len(stored) == LIMIT
    assert stored.endswith(b"xend")


@pytest.mark.parametrize("uri", ["s3://memory/in/a0", "s3://memory/in/a0/", "s3://memory/in/a0/inputs.pb"])
def test_read_inputs(blobs: MemoryBlobs, uri: str) -> None:
    """All forms of the input URI address the same object."""
    digest = blobs.put("s3://memory/in/a0/inputs.pb", b'{"x":1}')
    assert read_inputs(blobs, ActionSpec(input_uri=uri, inputs_digest=digest)) == b'{"x":1}'


def test_inputs_in_the_record(blobs: MemoryBlobs) -> None:
    """Inputs that ride in the record need no store, not even when they are empty."""
    for inputs in (b'{"x":1}', b""):
        assert read_inputs(blobs, ActionSpec(input_uri=INLINE, inputs=inputs)) == inputs


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        (ActionSpec(input_uri="s3://memory/gone"), BlobNotFound),
        (ActionSpec(input_uri="s3://memory/in", inputs_digest="0" * 64), BlobCorrupt),
        (ActionSpec(input_uri="s3://memory/large"), BlobCorrupt),
        (ActionSpec(input_uri=INLINE), InvalidInput),
        (ActionSpec(), InvalidInput),
    ],
)
def test_inputs_that_cannot_be_read(blobs: MemoryBlobs, spec: ActionSpec, cause: type[Exception]) -> None:
    """Each way to fail has the code READ_FAILED, a retry is allowed, and the cause is kept."""
    blobs.put("s3://memory/in/inputs.pb", b"{}")
    blobs.put("s3://memory/large/inputs.pb", b"12345")
    with pytest.raises(ReadFailed, match="cannot be read: ") as caught:
        read_inputs(blobs, spec, limit=4)
    assert caught.value.code == "READ_FAILED"
    assert isinstance(caught.value.__cause__, cause)
    assert not non_retryable_code(caught.value)


def test_inputs_on_a_dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is told from a missing object by the cause."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")
    blobs = S3Blobs(Settings(s3_endpoint="http://127.0.0.1:1"))
    with pytest.raises(ReadFailed, match="RECONCILER_S3_ENDPOINT") as caught:
        read_inputs(blobs, ActionSpec(input_uri="s3://bucket/in"))
    assert isinstance(caught.value.__cause__, BlobUnavailable)
