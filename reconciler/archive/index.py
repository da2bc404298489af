"""The index of the archive: which runs ended on which day, a line each, in objects that are written once.

An object is named after the digest of its lines, so who writes the same lines again writes the same object; a run that
stands in two objects, after a death in between, is one run to every reader.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import msgspec

from reconciler.api.action import RunId
from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound
from reconciler.archive.fields import PHASES
from reconciler.archive.layout import INDEX, SUFFIX, day_of, index_folder
from reconciler.archive.lines import Header
from reconciler.archive.packing import pack, unpack
from reconciler.stores.archiving import RawAction, RawRun
from reconciler.stores.objects import FOUND_AT_ONCE, BlobStore, Found
from reconciler.stores.shared_parts import decode_shared

_AT_ONCE = 16
"""Objects read at the same time."""
Key = tuple[str, str, str, str]
"""Names a run, with its incarnation."""


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Actions of a run that are alike, with their number.

    Attributes:
        task: name of the task, or its type.
        phase: how they ended.
        code: of their last error; empty = there was none.
        count: how many.
    """

    task: str
    phase: str
    code: str
    count: int


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the index: one archived run.

    Attributes:
        project, domain, run, incarnation: which one.
        created_at, ended_at: ms since the epoch, UTC.
        phase: of its root; empty where it was never stored, as the submitter stopped half way.
        task: of its root.
        actions: how many it has.
        groups: by task, phase and error code.
        labels: of its root; a child has those of its parent too.
        size: of its object, in bytes.
    """

    project: str
    domain: str
    run: str
    incarnation: str = ""
    created_at: int
    ended_at: int
    phase: str
    task: str
    actions: int
    groups: tuple[Group, ...]
    labels: dict[str, str] = {}
    size: int = 0

    @property
    def id(self) -> RunId:
        """Name of the run."""
        return RunId(self.project, self.domain, self.run)

    @property
    def key(self) -> Key:
        """Equal for two lines that tell of one run."""
        return (self.project, self.domain, self.run, self.incarnation)


class _Error(msgspec.Struct):
    code: str = ""


class _Status(msgspec.Struct, rename="camel"):
    error_state: _Error | None = None


class _Extra(msgspec.Struct):
    labels: dict[str, str] = {}


read_row = msgspec.json.Decoder(Row).decode
"""Reads a line of the index."""
_encode = msgspec.json.Encoder(order="deterministic").encode
_status = msgspec.json.Decoder(_Status)
_extra = msgspec.json.Decoder(_Extra)


def row_of(run: RawRun, header: Header, size: int) -> Row:
    """Make the line of a run that lies in the archive, from the first line of its object."""
    tasks = {name: _task_in(part) for name, part in run.shared.items()}
    groups = Counter(_group_of(action, tasks) for action in run.actions)
    found = next((action for action in run.actions if "r" not in action.fields), None)
    root = found or run.actions[0]
    task, phase, _ = _group_of(root, tasks)
    return Row(
        project=run.run.project,
        domain=run.run.domain,
        run=run.run.run,
        incarnation=header.incarnation,
        created_at=run.created_at,
        ended_at=header.ended_at,
        phase=phase if found is not None else "",
        task=task,
        actions=len(run.actions),
        groups=tuple(Group(*alike, count) for alike, count in sorted(groups.items())),
        labels=_extra.decode(root.fields.get("m", "{}")).labels,
        size=size,
    )


def _task_in(part: str) -> str:
    shared: Mapping[str, Any] = decode_shared(part.encode())
    return str(shared["short_name"] or shared["task_type"])


def _group_of(action: RawAction, tasks: Mapping[str, str]) -> tuple[str, str, str]:
    fields = action.fields
    task = tasks.get(fields.get("h", ""), "") or ("condition" if fields.get("y") == "c" else "")
    phase = PHASES.get(fields.get("p", ""), "")
    status = fields.get("t", "")
    error = _status.decode(status).error_state if '"errorState"' in status else None
    return task, phase, error.code if error else ""


def write_rows(blobs: BlobStore, rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Write lines of the index, one object for each project and day; return these objects.

    Raises:
        BlobUnavailable: the server does not answer; some may have been written.
    """
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        parts.setdefault((row.project, day_of(row.ended_at)), []).append(row)
    for (project, day), part in parts.items():
        write_part(blobs, project, day, part)
    return set(parts)


def write_part(blobs: BlobStore, project: str, day: str, rows: Sequence[Row]) -> str:
    """Write lines of one day, sorted by their end; return the URI of the object."""
    lines = [_encode(row).decode() for row in sorted(rows, key=lambda row: (row.ended_at, row.key))]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]
    uri = blobs.uri(f"{index_folder(project, day)}{digest}{SUFFIX}")
    with suppress(BlobExists):  # named by its contents: somebody wrote the same
        blobs.put(uri, pack(lines), overwrite=False)
    return uri


class Read(msgspec.Struct):
    """Lines of the index.

    Attributes:
        rows: by run, each once.
        damaged: URIs of objects of which something cannot be read.
        gone: URIs of objects that were replaced meanwhile: list again.
        requests: how many objects were read.
    """

    rows: dict[tuple[str, str, str, str], Row] = {}
    damaged: list[str] = []
    gone: list[str] = []
    requests: int = 0


def read_rows(blobs: BlobStore, found: Sequence[Found]) -> Read:
    """Read objects of the index, side by side.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    read = Read(requests=len(found))
    if not found:
        return read
    with ThreadPoolExecutor(min(_AT_ONCE, len(found)), thread_name_prefix="archive") as pool:
        for one, data in zip(found, pool.map(lambda one: _get(blobs, one.uri), found), strict=True):
            if data is None:
                read.gone.append(one.uri)
            else:
                _add(read, one.uri, data)
    return read


def _get(blobs: BlobStore, uri: str) -> bytes | None:
    try:
        return blobs.get(uri)
    except BlobNotFound:
        return None
    except BlobCorrupt:
        return b""


def _add(read: Read, uri: str, data: bytes) -> None:
    unpacked = unpack(data)
    lost = unpacked.lost
    for line in unpacked.lines:
        try:
            row = read_row(line)
        except msgspec.DecodeError:
            lost += 1
        else:
            read.rows[row.key] = row
    if lost:
        read.damaged.append(uri)


def _before(folder: str, day: str) -> str:
    """Name a place before all objects of a day; SeaweedFS leaves out a folder that is named itself."""
    try:
        return f"{folder}{date.fromisoformat(day) - timedelta(days=1)}~"
    except (ValueError, OverflowError):
        return ""


def list_index(blobs: BlobStore, project: str, since: str, until: str) -> tuple[list[Found], int]:
    """List the objects of a project's days, first and last included, and tell how many requests that took.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    folder = blobs.uri(index_folder(project).rstrip("/")) + "/"
    after, first, last = _before(folder, since), f"{folder}{since}", f"{folder}{until}~"
    found: list[Found] = []
    requests = 0
    while True:
        page = blobs.find(folder, after=after)
        requests += 1
        found += [one for one in page if first <= one.uri < last]
        if not page or page[-1].uri >= last or len(page) < FOUND_AT_ONCE:
            return found, requests
        after = page[-1].uri


def list_projects(blobs: BlobStore, most: int) -> tuple[list[str], int]:
    """List the first projects of the index, by name, and tell how many requests that took: at most one for each.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    root = blobs.uri(INDEX).rstrip("/") + "/"
    projects: dict[str, None] = {}
    after, requests = "", 0
    while len(projects) < most:
        page = blobs.find(root, after=after)
        requests += 1
        projects |= dict.fromkeys(one.uri.removeprefix(root).partition("/")[0] for one in page)
        if len(page) < FOUND_AT_ONCE:
            break
        after = f"{root}{page[-1].uri.removeprefix(root).partition('/')[0]}/~"
    return sorted(projects)[:most], requests
