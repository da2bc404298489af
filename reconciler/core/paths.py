"""Define where the objects of an action lie, and what its launches are called (R64, R65, R66, R67)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import lru_cache

from reconciler.api.errors import InvalidSpec

INPUTS_FILE = "inputs.pb"
ERROR_FILE = "error.pb"
LOG_FILE = "log.txt"
CHECKPOINT_FOLDER = "_flytecheckpoints"
INLINE = "inline:"
"""Input URI of inputs that ride in the record itself."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_BASE32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz123456")


def fnv1a32(text: str, value: int = 0x811C9DC5) -> int:
    """Hash the UTF-8 bytes with FNV-1a, 32 bits; continues from the hash of what stands before, if given."""
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


_begun = lru_cache(maxsize=1024)(fnv1a32)
"""Hashes of what the names of one run begin with: a step is made of many, and would spend its time in this loop."""


@lru_cache(maxsize=8192)
def shard_prefix(namespace: str, name: str) -> str:
    """Choose the two characters that spread objects over S3 partitions; stable over attempts (R65)."""
    run, dash, action = f"{namespace}/{name}".rpartition("-")
    index = fnv1a32(action, _begun(run + dash)) % 1296
    return _ALPHABET[index // 36] + _ALPHABET[index % 36]


def bases(run_output_base: str) -> Iterator[str]:
    """Name all places below which folders of a run's actions may lie: its base, and that with each shard in front (R65)."""
    yield run_output_base
    bucket, path = _split_base(run_output_base)
    for first in _ALPHABET:
        for second in _ALPHABET:
            yield f"{bucket}/{first}{second}/{path}"


@lru_cache(maxsize=1024)
def _split_base(run_output_base: str) -> tuple[str, str]:
    scheme, _, rest = run_output_base.partition("://")  # as blob stores do: `#` and `?` are part of a path
    bucket, _, path = rest.partition("/")
    if not scheme or not bucket:
        raise InvalidSpec(f'invalid RunOutputBase "{run_output_base}": write it as s3://bucket/path')
    return f"{scheme}://{bucket}", path.strip("/")


@lru_cache(maxsize=1024)
def output_prefix(namespace: str, name: str, base: str, action: str, attempt: int, launch: int = 0) -> str:
    """Compute `<scheme>://<bucket>/<shard>/<base path>/<action>/<attempt>`, without a trailing slash (R65).

    A relaunch after a system failure gets `<attempt>-<launch>`, so that it never reads what the launch before it left
    behind (R29). Remembered, because a round asks for its own twice.

    Raises:
        InvalidSpec: the base is no URI with scheme and bucket.
    """
    bucket, path = _split_base(base)
    folder = f"{path}/" if path else ""
    last = f"{attempt}-{launch}" if launch else str(attempt)
    return f"{bucket}/{shard_prefix(namespace, name)}/{folder}{action}/{last}"


def checkpoint_folder(prefix: str) -> str:
    """Return where a launch keeps its checkpoints, given the `prefix` of its objects (R66)."""
    return f"{prefix}/{CHECKPOINT_FOLDER}"


def input_path(input_uri: str) -> str:
    """Find the object with the inputs; both forms of the URI address the same one (R64)."""
    return f"{input_uri.removesuffix('/' + INPUTS_FILE).rstrip('/')}/{INPUTS_FILE}"


def generated_name(name: str, attempt: int, launch: int = 0) -> str:
    """Write `<record name>-<retry>`, and `-<launch>` after a relaunch: unique for each launch (R67, R29)."""
    base = f"{name}-{max(attempt, 1) - 1}"
    return f"{base}-{launch}" if launch else base


def identity_mark(*parts: str) -> str:
    """Hash an identity to 8 characters of a-z and 1-6: 40 bits of its BLAKE2 digest."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=5).digest()
    return base64.b32encode(digest).decode().translate(_BASE32)


def shortened_name(name: str, longest: int) -> str:
    """Return `name`, or `f` and 8 hash characters when it is longer than `longest` (R67).

    Raises:
        InvalidSpec: even the short form is too long.
    """
    if len(name) <= longest:
        return name
    digest = base64.b32encode(fnv1a32(name).to_bytes(4, "big")).decode().rstrip("=").translate(_BASE32)
    short = f"f{digest}"
    if len(short) > longest:
        raise InvalidSpec(
            f"max length {longest} is too short for a unique name; at least {len(short)} is needed"
        )
    return short


def is_relaunch(launch: str) -> bool:
    """Tell whether a launch follows one of the same attempt that the platform lost (R29)."""
    return "-" in launch


def launch_id(attempt: int, launch: int) -> str:
    """Return the number of the launch that may report its outcome: the fencing token of attempts (R29)."""
    return f"{attempt}-{launch}" if launch else str(attempt)
