"""Define the parts of a spec that many actions have in common: stored once for all runs of a shard that use them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from reconciler.api.action import ActionId, ActionSpec, RunId
from reconciler.api.texts import plain
from reconciler.core.layout import run_folder

OLD_FOLDER = "/\x01"
"""Stands for `/project/domain/run` at the end of an output base that a release before stored; no URI can hold it."""
OWN_FOLDER = "/\x02"
"""Stands for the run's own folder, with its incarnation: equal parts of all runs are stored once."""
_DIGEST = 16
"""Characters of a digest; behind it the incarnation follows."""
_SHARED = (
    "run_output_base", "task_type", "short_name", "task_template", "env_vars", "interruptible", "group",
)  # fmt: skip


class SharedSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The part of a spec that the actions of one submission have in common: stored once per shard."""

    run_output_base: str = ""
    task_type: str = ""
    short_name: str = ""
    task_template: bytes = b""
    env_vars: dict[str, str] = {}
    interruptible: bool | None = None
    group: str = ""


shared_key = attrgetter(*(name for name in _SHARED if name != "env_vars"))
_encode = msgspec.json.Encoder(enc_hook=plain, order="deterministic").encode
_shared = msgspec.json.Decoder(SharedSpec)


def shared_digest(name: bytes) -> bytes:
    """Compute the digest in the name of a shared part: equal for equal parts of all runs."""
    return name[:_DIGEST]


def incarnation_of(fields: Mapping[bytes, bytes]) -> str:
    """Read which incarnation of its run a record belongs to; empty for one of an earlier release."""
    return fields.get(b"h", b"")[_DIGEST:].decode()


def digest(data: bytes) -> bytes:
    """Compute the name of a shared part: 96 bits of its BLAKE2 digest, so that equal names mean equal parts."""
    return base64.urlsafe_b64encode(hashlib.blake2b(data, digest_size=12).digest())


def named(action: ActionId, spec: ActionSpec, incarnation: str) -> tuple[bytes, bytes]:
    """Return name and bytes of a shared part. Without the run's own folder: equal tasks have equal parts everywhere."""
    values = {name: getattr(spec, name) for name in _SHARED}
    base, own = spec.run_output_base, f"/{run_folder(action.run_id, incarnation)}"
    if base.endswith(own):
        mark = OWN_FOLDER if incarnation else OLD_FOLDER
        values["run_output_base"] = base.removesuffix(own) + mark
    data = _encode(SharedSpec(**values))
    return digest(data) + incarnation.encode(), data


def whole_part(data: bytes, run: RunId, name: bytes) -> str:
    """Write a shared part as the archive has it, for one run alone: with its folder."""
    shared = _shared.decode(data)
    if not shared.run_output_base.endswith(OWN_FOLDER):
        return data.decode()
    base = own_base(shared.run_output_base, run.project, run.domain, run.run, name[_DIGEST:].decode())
    return _encode(msgspec.structs.replace(shared, run_output_base=base)).decode()


def decode_shared(data: bytes, run: RunId | None = None, name: bytes = b"") -> dict[str, Any]:
    """Decode the fields of a shared part, to be spread into many specs.

    Args:
        data: the part.
        run: whose part it is; its own folder is left out then, as in parts of this release, so that the fields do for all.
        name: of the part.
    """
    shared = _shared.decode(data)
    values = {field: getattr(shared, field) for field in _SHARED}
    if run is not None and len(name) > _DIGEST:
        own = f"/{run_folder(run, name[_DIGEST:].decode())}"
        if shared.run_output_base.endswith(own):
            values["run_output_base"] = shared.run_output_base.removesuffix(own) + OWN_FOLDER
    return values


@lru_cache(maxsize=64)
def own_base(base: str, project: str, domain: str, run: str, incarnation: str) -> str:
    """Compute the output base of a run whose shared part leaves it out: one text for all its records."""
    folder = run_folder(RunId(project, domain, run), incarnation if base.endswith(OWN_FOLDER) else "")
    return f"{base[:-1]}{folder}"
