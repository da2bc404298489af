"""Define where objects lie unless the submitter says otherwise, and why no two runs ever share a folder.

The default base of a run is `<bucket>/<prefix>/_runs/<project>/<domain>/<run>@<incarnation>`; attempts lie below it with a
shard of two characters in front (`reconciler.core.paths.output_prefix`), inputs below it as it is.

- No name starts with `_`, and no shard has five characters, so neither a name, a shard nor a base that was accepted can
  stand where `_runs` stands, whatever the prefix is.
- No name holds `@`, and an incarnation is drawn anew each time a run is created. So the folder of a run says which of all
  runs that ever had its name it belongs to, and everything below it was written by that one.

Runs of releases before have no incarnation, and keep the layout they began with,
`<bucket>/<prefix>/<project>/<domain>/<run>`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.api.action import RunId

AREA = "_runs"
"""Folder of all default bases below bucket and prefix."""
ARCHIVE = "_archive"
"""Folder of the archive of ended runs, beside it."""
SHARD = 2
"""Characters of the shard in front of attempts."""
INPUTS = "inputs"
"""Folder of an action's inputs, below the action's."""
PACKS = "packs"
"""Folder of the packs with outputs of an action's children, beside its inputs: they go with the action, which goes last."""
_PACK = r"s3://[^/]+/(?:.+/)?" + AREA + r"/[^/]+/[^/]+/[^/@]+@[^/@]+/[^/]+/" + PACKS + r"/[0-9a-f]{32}"
_PART = re.compile(f"({_PACK})#([0-9]{{1,9}})\\+([1-9][0-9]{{0,8}})", re.ASCII | re.DOTALL)
_DEFAULT = re.compile(rf"/{AREA}/[^/]+/[^/]+/[^/@]+@[^/@]+$")
_ATTEMPT = re.compile(r"\d+(-\d+)?", re.ASCII)


def run_folder(run: RunId, incarnation: str) -> str:
    """Name a run's default base below bucket and prefix; without an incarnation the one of earlier releases."""
    if not incarnation:
        return str(run)
    return f"{AREA}/{run.project}/{run.domain}/{run.run}@{incarnation}"


def inputs_folder(base: str, action: str, digest: str) -> str:
    """Return where inputs lie that are too large for the record. The digest keeps those of a refused submission apart."""
    return f"{base}/{action}/{INPUTS}/{digest}"


def steps_folder(base: str, action: str) -> str:
    """Return where a function's kept values lie that are too large for a record; `base` is the default one."""
    return f"{base}/{action}/steps"


class Part(NamedTuple):
    """A range of a pack: the URI of the object, and the range's first byte and size."""

    pack: str
    first: int
    size: int

    def __str__(self) -> str:
        return f"{self.pack}#{self.first}+{self.size}"


def read_part(uri: str) -> Part | None:
    """Read the URI of a part of a pack; None for every other URI. Nobody else may name an object like that."""
    found = _PART.fullmatch(uri)
    return Part(found[1], int(found[2]), int(found[3])) if found else None


def packs_folder(base: str, parent: str) -> str:
    """Return where outputs of an action's children lie that share an object; `base` is the default one."""
    return f"{base}/{parent}/{PACKS}"


def is_attempt(name: str) -> bool:
    """Tell whether a folder of an action is that of an attempt, by its name."""
    return _ATTEMPT.fullmatch(name) is not None


def is_default_base(base: str) -> bool:
    """Tell whether a base, as a stored spec has it, is the default base of its run."""
    return _DEFAULT.search(base) is not None and AREA not in _parts(base.rpartition(f"/{AREA}/")[0])


def base_problem(base: str, prefix: str = "") -> str:
    """Say why a submitter's base cannot be accepted: what lies below it could lie in a folder of another run.

    Args:
        base: the run output base; empty, the default, is fine.
        prefix: what the keys of the installation's own objects start with (`RECONCILER_S3_PREFIX`).
    """
    if not base:
        return ""
    for area, keeps in (
        (AREA, "runs keep what belongs to them alone"),
        (ARCHIVE, "ended runs are remembered"),
    ):
        if area in _parts(base):
            return (
                f"runOutputBase {base!r:.200} lies in {area!r}, where {keeps}: leave it out, or choose a folder without "
                "that name"
            )
    own, path = [*_parts(prefix), AREA], _parts(base.partition("://")[2])[1:]
    # attempts have a shard in front, inputs have not: a prefix may begin like a shard
    if _could_hold(path, own) or (len(own[0]) == SHARD and _could_hold(path, own[1:])):
        return (
            f"runOutputBase {base!r:.200} lies above the installation's own folder {'/'.join(own)!r}, which could be that "
            "of one attempt: choose another folder"
        )
    return ""


def _could_hold(path: list[str], area: list[str]) -> bool:
    """Tell whether `<path>/<action>/<attempt>` can be a folder that holds the area."""
    below = area[len(path) :]
    return area[: len(path)] == path and len(below) > 2 and is_attempt(below[1])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
