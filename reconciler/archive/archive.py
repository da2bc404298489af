"""The archive of ended runs: one object for each, written once, read by one request when the incarnation is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from reconciler.api.action import RunId
from reconciler.api.errors import ArchiveDamaged, ArchiveTooNew, BlobCorrupt, BlobExists, BlobNotFound
from reconciler.api.names import check_incarnation
from reconciler.archive.layout import RUNS, incarnation_in, life_in, run_path, runs_of
from reconciler.archive.lines import VERSION, Header, Lines, header_of, lines_of
from reconciler.archive.packing import pack, unpack
from reconciler.archive.record import ArchivedRun
from reconciler.core.counted import counted
from reconciler.stores.archiving import RawRun
from reconciler.stores.blobs import digest_of
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import FOUND_AT_ONCE, BlobStore

_header = msgspec.json.Decoder(Header)


class _Version(msgspec.Struct):
    version: int = 0
    kind: str = ""


_CHANGED = "it does not have the checksum that was stored with it"
_NOTHING = "no action of it can be read"
_version = msgspec.json.Decoder(_Version)


class Written(msgspec.Struct, frozen=True):
    """A run that certainly lies in the archive.

    Attributes:
        uri, size, sha256: of its object.
        header: what its first line says.
    """

    uri: str
    size: int
    sha256: str
    header: Header


class Archive:
    """Reads and writes the objects of ended runs. Threads may share it.

    Args:
        blobs: where they lie.
        read_back: whether what was written is read again; needed where the server checks no digest of what it stores.
    """

    def __init__(self, blobs: BlobStore, *, read_back: bool = False) -> None:
        self.blobs = blobs
        self._read_back = read_back

    # -- writing ---------------------------------------------------------------------------------------------------
    def write(self, run: RawRun, lineage: Mapping[str, Any] | None = None) -> Written:
        """Write a sealed run, once. If an earlier write of the same run was interrupted, its object is kept.

        What the server stored is what was sent: it checks the digest that goes with it (`RECONCILER_S3_CHECKSUM`). Without
        one the object is read again.

        Raises:
            ArchiveDamaged: an object lies there that is not this run; it is neither replaced nor trusted.
            ArchiveTooNew: a newer release wrote what lies there.
            BlobUnavailable: the server does not answer; it may have been written.
        """
        uri = self.blobs.uri(run_path(run.run, run.incarnation))
        data = pack(lines_of(run, lineage))
        try:
            digest = self.blobs.put(uri, data, overwrite=False)
            if self._read_back:
                self.blobs.get(uri, sha256=digest)
        except BlobExists:
            there = self._there(uri, run)
            if there is None and "~" not in run.incarnation:
                return self.write(_apart(run), lineage)
            data = there or data
            digest = digest_of(data)
        return Written(uri, len(data), digest, header_of(run, lineage))

    def _there(self, uri: str, run: RawRun) -> bytes | None:
        """Read the object of an earlier write of the same run; None when it belongs to another run.

        Raises:
            ArchiveDamaged: they cannot be told to be either.
        """
        data = self.blobs.get(uri)
        there = read_object(uri, run.run, data)
        if there.damage:
            raise ArchiveDamaged(uri, there.lost)
        same = there.created_at == run.created_at and there.incarnation == run.incarnation
        return data if same and there.actions.keys() == {action.name for action in run.actions} else None

    # -- reading ---------------------------------------------------------------------------------------------------
    def read_run(self, run: RunId, incarnation: str = "") -> ArchivedRun | None:
        """Read a run of the archive; None when it holds none of this name.

        Of a damaged object what can be read, and `ArchivedRun.damage` says so.

        Args:
            run: its name.
            incarnation: of that name; the one that was archived last when empty, which takes a second request.

        Raises:
            InvalidName: no incarnation is written so.
            ArchiveDamaged: nothing of it can be read.
            ArchiveTooNew: a newer release wrote it.
            BlobUnavailable: the server does not answer.
        """
        if incarnation:
            check_incarnation(incarnation)
        run.checked()
        if not incarnation:
            found = self.incarnations(run)
            if not found:
                return None
            incarnation = found[-1]
        uri = self.blobs.uri(run_path(run, incarnation))
        try:
            data = self.blobs.get(uri)
        except BlobNotFound:
            return None
        except BlobCorrupt as error:
            raise ArchiveDamaged(uri, _CHANGED) from error
        return read_object(uri, run, data)

    def incarnations(self, run: RunId) -> list[str]:
        """Read all runs the archive holds of a name, in the order they were archived.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        start = self.blobs.uri(runs_of(run))
        found = page = self.blobs.find(start)
        while len(page) == FOUND_AT_ONCE:
            page = self.blobs.find(start, after=page[-1].uri)
            found = found + page
        folder = f"{self.blobs.uri(RUNS)}/"
        lives = [life_in(one.uri.removeprefix(folder)) for one in sorted(found, key=lambda one: one.at)]
        return [life.incarnation for life in lives if life is not None]


def _apart(run: RawRun) -> RawRun:
    """Give the run an incarnation that no other run has.

    A client that was away between its question and its submission gives a run the incarnation of one that was archived
    meanwhile.
    """
    return msgspec.structs.replace(run, incarnation=f"{run.incarnation}~{run.created_at}")


def read_object(uri: str, run: RunId, data: bytes) -> ArchivedRun:
    """Read the run in the bytes of an object.

    Raises:
        ArchiveDamaged: nothing of it can be read.
        ArchiveTooNew: a newer release wrote it.
    """
    unpacked = unpack(data)
    header = _header_in(uri, unpacked.lines)
    if header is not None and not _is_of(header, run, incarnation_in(uri)):
        told = RunId(header.project, header.domain, header.run)
        other = f"what lies there is {RunLife(told, header.incarnation)}"
        raise ArchiveDamaged(uri, other)
    lines = Lines.read(unpacked.lines if header is None else unpacked.lines[1:])
    actions = lines.actions(run)
    if header is None and not actions:
        raise ArchiveDamaged(uri, _NOTHING)
    lost = _lost(header, lines, len(actions), unreadable=unpacked.lost)
    complete = header is not None and len(actions) == header.actions and not lines.unshared
    header = header or Header(version=VERSION, project=run.project, domain=run.domain, run=run.run)
    return ArchivedRun(
        run,
        header.incarnation or incarnation_in(uri),
        created_at=header.created_at,
        ended_at=header.ended_at or max((one.ended_at for one in actions.values()), default=0),
        actions=actions,
        events=lines.events,
        lineage=header.lineage,
        missing=header.missing,
        lost=lost,
        complete=complete,
        uri=uri,
    )


def _is_of(header: Header, run: RunId, incarnation: str) -> bool:
    """Tell whether an object is that of the run by whose name it was found, and not put there for another one."""
    named = RunId(header.project, header.domain, header.run) == run
    return named and header.incarnation in {"", incarnation}


def _lost(header: Header | None, lines: Lines, actions: int, *, unreadable: int) -> str:
    """Say what of a run can be read, and what cannot; empty when it is whole."""
    if header is not None and lines.complete and not (unreadable or lines.bad or lines.unshared):
        return ""
    events = sum(map(len, lines.events.values()))
    if header is None:
        return f"{actions} actions and {events} events can be read, but not its first line, which counts them"
    text = f"{actions} of {header.actions} actions and {events} of {header.events} events can be read"
    if lines.unshared:
        return f"{text}, without {counted(lines.unshared, 'part')} that their specs share"
    if (actions, events) == (header.actions, header.events):
        return f"{text}, but not some other line, as its last one"
    return text


def _header_in(uri: str, lines: list[bytes]) -> Header | None:
    """Read the first line; None when it is damaged.

    Raises:
        ArchiveTooNew: its version is unknown here.
    """
    try:
        told = _version.decode(lines[0])
        if told.version > VERSION:
            raise ArchiveTooNew(uri, told.version, VERSION)
        return _header.decode(lines[0]) if told.kind == "run" else None
    except (IndexError, msgspec.DecodeError):
        return None


def archived_lives(blobs: BlobStore, project: str, domain: str = "") -> Iterator[RunLife]:
    """List the runs of a project, or of one of its domains, that have an object; costs one request for each 1,000.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    folder, after = f"{blobs.uri(RUNS)}/", ""
    start = f"{folder}{project}/{domain}/" if domain else f"{folder}{project}/"
    while page := blobs.find(start, after=after):
        after = page[-1].uri
        yield from filter(None, (life_in(one.uri.removeprefix(folder)) for one in page))
