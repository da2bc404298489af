"""Decide where the inputs of a new action lie: in its record when they are small, else in S3."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionSpec, RunId
from reconciler.core.children import GROUP
from reconciler.core.layout import inputs_folder, run_folder
from reconciler.core.paths import INLINE
from reconciler.stores.blobs import digest_of
from reconciler.stores.objects import BlobStore


def default_base(blobs: BlobStore, run: RunId, incarnation: str) -> str:
    """Compute the output base of a run whose submitter chose none."""
    return blobs.uri(run_folder(run, incarnation))


def place_inputs(spec: ActionSpec, folder: str, inline_limit: int) -> tuple[ActionSpec, bytes | None]:
    """Decide where the inputs of a spec lie: return the spec to store, and the inputs that go to S3 first, or None.

    Args:
        spec: with all its inputs.
        folder: where the run keeps what is its own.
        inline_limit: largest inputs of a record, in bytes; those of a group are a few bytes, which every reader of its
            record needs.
    """
    inputs = spec.inputs
    if inputs is not None and len(inputs) > inline_limit and spec.task_type != GROUP:
        digest = digest_of(inputs)
        uri = inputs_folder(folder, spec.action_name, digest)
        return msgspec.structs.replace(spec, inputs=None, input_uri=uri, inputs_digest=digest), inputs
    if inputs is not None and not spec.input_uri:
        return msgspec.structs.replace(spec, input_uri=INLINE), None
    return spec, None
