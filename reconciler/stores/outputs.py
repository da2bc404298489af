"""The object layout of one attempt: outputs, error, log, checkpoints (R64, R65, R66).

File names are Flyte's; the bytes are JSON documents. The prefix holds attempt and launch, so no launch can
read what another one left behind (R29).
"""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import (
    BlobCorrupt,
    BlobExists,
    BlobNotFound,
    BlobUnavailable,
    InvalidInput,
    ReadFailed,
)
from reconciler.api.event import OUTPUTS_FILE
from reconciler.api.transition import ErrorKind, ExecutionError, OutputRef
from reconciler.core.paths import ERROR_FILE, LOG_FILE, checkpoint_folder, input_path
from reconciler.stores import error_file
from reconciler.stores.blobs import check_size, digest_of, not_found, read_ref
from reconciler.stores.objects import BlobStore

ERROR_FILE_NOT_FOUND = "ErrorFileNotFound"
ERROR_FILE_BAD_FORMAT = "ErrorFileBadFormat"


class AttemptResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an attempt: outputs, or an error, or (a fault) neither.

    Attributes:
        outputs: the document of outputs; an empty map (`{}`) is a success like any other (R66).
        error: why it failed; wins over outputs.
        recoverable: whether another attempt can help.
    """

    outputs: bytes | None = None
    error: ExecutionError | None = None
    recoverable: bool = True


class ActionFiles:
    """The objects of one attempt.

    Args:
        blobs: where they lie.
        prefix: folder of the attempt, as `reconciler.core.paths.output_prefix` computes it.
        limit: largest object that is written or read, in bytes; 0 = any.
    """

    def __init__(self, blobs: BlobStore, prefix: str, *, limit: int) -> None:
        self._blobs = blobs
        self._limit = limit
        self.prefix = prefix.rstrip("/")

    @property
    def outputs_uri(self) -> str:
        """Return where the outputs lie."""
        return f"{self.prefix}/{OUTPUTS_FILE}"

    @property
    def error_uri(self) -> str:
        """Return where the error lies."""
        return f"{self.prefix}/{ERROR_FILE}"

    @property
    def raw_output_prefix(self) -> str:
        """Folder for what user code stores by itself: that of the attempt (R66)."""
        return self.prefix

    @property
    def checkpoint_prefix(self) -> str:
        """Folder of the attempt's checkpoints (R66)."""
        return checkpoint_folder(self.prefix)

    def write_outputs(self, data: bytes, inline_limit: int = 0) -> OutputRef:
        """Write the outputs, once: the same bytes again are accepted, because an answer can get lost.

        Args:
            data: the document.
            inline_limit: up to this size, in bytes, the reference carries a copy; 0 = never.

        Raises:
            InvalidInput: they are larger than the limit; nothing was stored.
            BlobExists: other outputs were written before.
            BlobUnavailable: as `BlobStore.put`.
        """
        if self._limit and len(data) > self._limit:
            raise InvalidInput(
                f"the outputs have {len(data)} bytes, at most {self._limit} are allowed. Store large data as "
                f"objects of their own below {self.raw_output_prefix} and return their URIs, "
                "or raise RECONCILER_MAX_OBJECT_SIZE."
            )
        try:
            self._blobs.put(self.outputs_uri, data, overwrite=False)
        except BlobExists:
            if not self._holds(data):
                raise
        return self.reference(data, inline_limit)

    def reference(self, data: bytes, inline_limit: int = 0, uri: str = "") -> OutputRef:
        """Make the reference to outputs that lie in S3 already, by default at their own place; see `write_outputs`."""
        inline = data if inline_limit and len(data) <= inline_limit else None
        return OutputRef(uri=uri or self.outputs_uri, sha256=digest_of(data), size=len(data), inline=inline)

    def read_outputs(self, ref: OutputRef | None = None) -> bytes:
        """Read the outputs `ref` points to (also those of another attempt), or else those of this attempt.

        Raises:
            BlobNotFound: there are none.
            BlobCorrupt: they are not what was written, or larger than the limit.
            BlobUnavailable: as `BlobStore.get`.
        """
        return read_ref(self._blobs, ref or OutputRef(uri=self.outputs_uri), self._limit)

    def outputs_exist(self) -> bool:
        """Tell whether outputs were written.

        Raises:
            BlobCorrupt: they are larger than the limit (R66).
            BlobUnavailable: as `BlobStore.stat`.
        """
        stat = self._blobs.stat(self.outputs_uri)
        if stat is None:
            return False
        check_size(self.outputs_uri, stat.size, self._limit)
        return True

    def output_ref(self) -> OutputRef:
        """Make a reference to the outputs that were written, without a digest, which only their writer knows.

        Raises:
            BlobNotFound: there are none.
            BlobCorrupt: they are larger than the limit.
            BlobUnavailable: as `BlobStore.stat`.
        """
        stat = self._blobs.stat(self.outputs_uri)
        if stat is None:
            raise not_found(self.outputs_uri)
        check_size(self.outputs_uri, stat.size, self._limit)
        return OutputRef(uri=self.outputs_uri, size=stat.size)

    def write_error(self, error: ExecutionError, *, recoverable: bool) -> None:
        """Write why the attempt failed; what exceeds the limit is cut.

        Args:
            error: the error; its kind (USER, SYSTEM) is kept (R66).
            recoverable: whether another attempt can help.

        Raises:
            BlobUnavailable: as `BlobStore.put`.
        """
        self._blobs.put(self.error_uri, error_file.encode(error, recoverable=recoverable, limit=self._limit))

    def has_error(self) -> bool:
        """Tell whether an error was written, of whatever size (R66).

        Raises:
            BlobUnavailable: as `BlobStore.stat`.
        """
        return self._blobs.stat(self.error_uri) is not None

    def read_error(self) -> tuple[ExecutionError, bool]:
        """Read the error and whether another attempt can help.

        A file that is missing, too large or without an error in it is itself an error: recoverable, by the
        platform's fault (R66).

        Raises:
            BlobUnavailable: as `BlobStore.get`.
        """
        try:
            found = error_file.decode(self._blobs.get(self.error_uri, limit=self._limit))
        except BlobNotFound as error:
            return ExecutionError(ERROR_FILE_NOT_FOUND, str(error), ErrorKind.SYSTEM), True
        except BlobCorrupt as error:
            return ExecutionError(ERROR_FILE_BAD_FORMAT, str(error), ErrorKind.SYSTEM), True
        if found is None:
            text = f"{self.error_uri} holds no error; whoever ran the attempt must write one, or nothing"
            return ExecutionError(ERROR_FILE_BAD_FORMAT, text, ErrorKind.SYSTEM), True
        return found

    def put(self, result: AttemptResult, inline_limit: int = 0) -> OutputRef | None:
        """Write the results of an attempt (R66); return the reference of outputs, None for an error.

        Raises:
            InvalidInput: there is nothing to write, or the outputs are larger than the limit.
            BlobExists: other outputs were written before.
            BlobUnavailable: as `BlobStore.put`.
        """
        if result.error is not None:
            self.write_error(result.error, recoverable=result.recoverable)
            return None
        if result.outputs is None:
            raise InvalidInput(
                f"no data found to write to {self.prefix}: give outputs ({{}} for none) or an error"
            )
        return self.write_outputs(result.outputs, inline_limit)

    def write_log(self, text: bytes) -> OutputRef:
        """Write the log, each time as a whole; return its place and digest. If it exceeds the limit, its end is kept.

        Raises:
            BlobUnavailable: as `BlobStore.put`.
        """
        uri = f"{self.prefix}/{LOG_FILE}"
        text = text[-self._limit :] if self._limit else text
        self._blobs.put(uri, text)
        return OutputRef(uri=uri, sha256=digest_of(text), size=len(text))

    def _holds(self, data: bytes) -> bool:
        try:
            return self._blobs.get(self.outputs_uri, limit=max(len(data), 1)) == data
        except (BlobNotFound, BlobCorrupt):
            return False


def read_inputs(blobs: BlobStore, spec: ActionSpec, *, limit: int = 0) -> bytes:
    """Read the inputs of an action: those in its record, else the object at its input URI, checked by digest.

    Args:
        blobs: where inputs lie.
        spec: whose inputs.
        limit: largest object that is read, in bytes; 0 = any.

    Raises:
        ReadFailed: they cannot be read (R64); the cause says why.
    """
    if spec.inputs is not None:
        return spec.inputs
    try:
        return blobs.get(input_path(spec.input_uri), sha256=spec.inputs_digest, limit=limit)
    except (BlobNotFound, BlobCorrupt, BlobUnavailable, InvalidInput) as error:
        raise ReadFailed(f"the inputs of the action cannot be read: {error}") from error
