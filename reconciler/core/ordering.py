"""The order in which people expect names: numbers by their value, so `m2` stands before `m10`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

_NUMBER = re.compile("[0-9]+")


def natural_key(path: str) -> tuple[str, str]:
    """Make the key by which names, or whole paths, are sorted.

    Names that differ in leading zeros only (`m1`, `m01`) have a fixed order, too.
    """
    return _NUMBER.sub(_after_shorter, path), path


def natural_page(paths: Iterable[str], after: str, limit: int) -> list[str]:
    """Return the first `limit` paths after `after` in natural order; empty: from the start."""
    ordered = sorted(map(natural_key, paths))
    start = bisect_right(ordered, natural_key(after)) if after else 0
    return [path for _, path in ordered[start : start + limit]]


def _after_shorter(number: re.Match[str]) -> str:
    """Put the length before the number, so that as texts 02 stands before 010. No name has a hundred digits."""
    digits = number[0].lstrip("0")
    return f"{len(digits):02}{digits}"
