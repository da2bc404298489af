"""Try on a real object what the engine will need of its bucket."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound, BlobUnavailable, InvalidInput
from reconciler.stores.objects import FOLDER, BlobStore
from reconciler.stores.outage import problem_of

UNCONDITIONAL = (
    "the S3 server ignores conditional writes (If-None-Match): when an attempt runs twice, the later one can "
    "replace outputs that were already accepted. Use a server that has them: AWS, or a present version of "
    "MinIO, Ceph or SeaweedFS."
)


def writing_problems(blobs: BlobStore) -> list[str]:
    """List what keeps us from creating, reading or deleting objects, each a sentence with its remedy."""
    folder = blobs.uri(FOLDER, f"check-{uuid.uuid4().hex}")
    probe = f"{folder}/probe"
    try:
        digest = blobs.put(probe, b"first", overwrite=False)
    except (BlobUnavailable, InvalidInput) as error:
        return [_refused_creation(blobs, folder, error)]
    return [
        *_told(lambda: _reads_back(blobs, probe, digest)),  # before somebody may write over it
        *_told(lambda: _is_conditional(blobs, probe)),
        *_told(lambda: _deletes(blobs, folder)),
    ]


def _refused_creation(blobs: BlobStore, folder: str, refusal: Exception) -> str:
    """Explain a refused creation: either nothing can be written, or nothing can be created *once*."""
    try:
        blobs.put(f"{folder}/plain", b"first")
    except (BlobUnavailable, InvalidInput):
        text = problem_of(refusal) if isinstance(refusal, BlobUnavailable) else str(refusal)
        return type(text)(f"nothing can be written: {text}")
    _told(lambda: _deletes(blobs, folder))
    return (
        f"objects can be written, but not by conditional writes (If-None-Match), which keep outputs that were accepted: "
        f"let no policy of the bucket refuse them, or use a server that has them ({refusal})"
    )


def _told(step: Callable[[], str]) -> list[str]:
    try:
        problem = step()
    except BlobUnavailable as error:
        problem = problem_of(error)
    return [problem] if problem else []


def _is_conditional(blobs: BlobStore, probe: str) -> str:
    try:
        blobs.put(probe, b"second", overwrite=False)
    except BlobExists:
        return ""
    return UNCONDITIONAL


def _reads_back(blobs: BlobStore, probe: str, digest: str) -> str:
    try:
        blobs.get(probe, sha256=digest)
    except (BlobNotFound, BlobCorrupt) as error:
        return f"what was just written cannot be read back: {error}"
    return ""


def _deletes(blobs: BlobStore, folder: str) -> str:
    blobs.delete_prefix(folder)
    return ""
