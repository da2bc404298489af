"""Check where inputs and outputs of an action may lie: `s3://bucket/folder/…`, in the spelling all servers share."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

MAX_PLACE = 768
"""Longest path in a bucket, in UTF-8 bytes: S3 allows 1024 for a key, and what lies below needs the rest."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,62}", re.ASCII)
_AMBIGUOUS = frozenset("?#%\\")
"""A query, a fragment, an escape or a separator to some programs, and part of a name to others."""


@lru_cache(maxsize=1024)
def place_problem(uri: str) -> str:
    """Say what is wrong with the spelling of a place, as the end of a sentence; empty when nothing is."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    if not separator or scheme != "s3":
        return "must be written as s3://bucket/folder"
    if not is_bucket(bucket):
        return "names no bucket: write it as s3://bucket/folder"
    return path_problem(path.removesuffix("/"))


def path_problem(path: str) -> str:
    """Say what is wrong with a path in a bucket, as the end of a sentence; empty when nothing is."""
    parts = path.split("/")
    if not path or "" in parts:
        return "has an empty part: put one '/' between two names, and none at the start"
    if {".", ".."} & set(parts):
        return "has '.' or '..' as a part: write the path it means"
    if not path.isprintable() or not _AMBIGUOUS.isdisjoint(path):
        return "holds one of ? # % \\ or a character that cannot be seen: not all servers read them alike"
    if len(path.encode()) > MAX_PLACE:
        return f"has a path of {len(path.encode())} bytes, at most {MAX_PLACE} are allowed"
    return ""


def is_bucket(name: str) -> bool:
    """Tell whether S3 allows a bucket of this name."""
    return _BUCKET.fullmatch(name) is not None


def bucket_problem(uri: str, buckets: Collection[str]) -> str:
    """Say why a correctly spelled place may not be used; empty when it may."""
    bucket = uri.partition("://")[2].partition("/")[0]
    if bucket in buckets:
        return ""
    return (
        f"lies in the bucket {bucket!r}, which this installation does not use: add it to RECONCILER_BUCKETS"
    )
