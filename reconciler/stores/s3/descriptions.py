"""Descriptions of services as boto3 reads them: of S3 the verbs that are used, and no manual.

boto3 keeps what it has read: all verbs of S3 with their documentation, and where in the world each service answers. That is
11 MB in each process that asks S3, of which this leaves 3.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.loaders import JSONFileLoader

VERBS: Final = frozenset(
    {
        "CreateSession",  # by botocore itself, for directory buckets
        "DeleteObjects",
        "GetObject",
        "HeadBucket",
        "HeadObject",
        "ListObjectsV2",
        "PutObject",
    }
)
"""Verbs of S3 that a client has."""
_SERVICES: Final = frozenset({"oidc", "portal.sso", "s3", "secretsmanager", "sts"})
"""Services that objects, secrets and credentials come from."""


class UsedDescriptions(JSONFileLoader):
    """Loads files of botocore, and keeps what is used here."""

    def load_file(self, file_path: str) -> Any:  # noqa: ANN401  # whatever the file holds
        """Load a file, named without its extension; None when there is none."""
        for extension, unpack in ((".json", bytes), (".json.gz", gzip.decompress)):
            with suppress(FileNotFoundError):
                found = msgspec.json.decode(unpack(Path(f"{file_path}{extension}").read_bytes()))
                return _without_manual(_used(Path(file_path), found))
        return None


def _used(path: Path, found: Any) -> Any:  # noqa: ANN401  # as above
    if path.name == "endpoints":
        for partition in found["partitions"]:
            partition["services"] = {
                name: each for name, each in partition["services"].items() if name in _SERVICES
            }
    elif path.name == "service-2" and path.parts[-3] == "s3":
        found["operations"] = {name: each for name, each in found["operations"].items() if name in VERBS}
        found["shapes"] = _reached(found["shapes"], found["operations"])
    return found


def _reached(shapes: dict[str, Any], operations: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes that operations are made of."""
    reached: dict[str, Any] = {}
    to_see = set(_named(operations))
    while to_see:
        name = to_see.pop()
        reached[name] = shapes[name]
        to_see.update(set(_named(shapes[name])) - reached.keys())
    return reached


def _named(part: Any) -> Iterable[str]:  # noqa: ANN401  # as above
    """List the shapes that a part of a description names."""
    if isinstance(part, dict):
        if isinstance(name := part.get("shape"), str):
            yield name
        for each in part.values():
            yield from _named(each)
    elif isinstance(part, list):
        for each in part:
            yield from _named(each)


def _without_manual(part: Any) -> Any:  # noqa: ANN401  # as above
    if isinstance(part, dict):
        return {
            name: "" if name == "documentation" and isinstance(each, str) else _without_manual(each)
            for name, each in part.items()
        }
    return [_without_manual(each) for each in part] if isinstance(part, list) else part
