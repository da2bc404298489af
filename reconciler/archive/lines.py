"""One run as lines of JSON, and back: the schema of `docs/archive.md`.

What the store keeps as JSON is copied, not read and written again: an archived action costs a few microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from reconciler.api.action import Children, RunId
from reconciler.api.phase import ActionPhase
from reconciler.archive.fields import FIELDS, LETTERS, NUMBERS, PHASES, Form
from reconciler.archive.record import ArchivedAction
from reconciler.stores import records
from reconciler.stores.archiving import RawAction, RawRun
from reconciler.stores.shared_parts import decode_shared

VERSION = 1
"""Version of the format. A reader refuses a higher one; new names within a line need none."""
RUN, SHARED, ACTION, EVENT, END = "run", "shared", "action", "event", "end"

_json = msgspec.json.Encoder().encode
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_FINE = {b"%d" % ActionPhase.SUCCEEDED, b"%d" % ActionPhase.RECOVERED}


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of an object: what the object is about.

    Attributes:
        version: of the format.
        project, domain, run, incarnation: which run.
        created_at, ended_at: when its first action was accepted, and its last one ended; ms since the epoch, UTC.
        actions, events: how many of each the object holds.
        missing: events that nobody had any more when it was written.
        lineage: which runs it was made from.
    """

    kind: str = RUN
    version: int
    project: str
    domain: str
    run: str
    incarnation: str = ""
    created_at: int = 0
    ended_at: int = 0
    actions: int = 0
    events: int = 0
    missing: int = 0
    lineage: dict[str, Any] = {}


def header_of(run: RawRun, lineage: Mapping[str, Any] | None = None) -> Header:
    """Make the first line for a run."""
    kept = sum(len(action.events) for action in run.actions)
    published = sum(records.event_count(action.fields.get("e", "0").encode()) for action in run.actions)
    return Header(
        version=VERSION,
        project=run.run.project,
        domain=run.run.domain,
        run=run.run.run,
        incarnation=run.incarnation,
        created_at=run.created_at,
        ended_at=max((action.ended for action in run.actions), default=0),
        actions=len(run.actions),
        events=kept,
        missing=max(0, published - kept),
        lineage=dict(lineage or _lineage_of(run)),
    )


def _lineage_of(run: RawRun) -> dict[str, Any]:
    """Tell which run this one was made of, as its first action says; None for one that was submitted."""
    told = run.actions[0].fields.get("ln") if run.actions else None
    return {} if told is None else msgspec.json.decode(told, type=dict[str, Any])


def lines_of(run: RawRun, lineage: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Write a run as lines, without line ends; equal runs make equal lines."""
    header = header_of(run, lineage)
    yield _json(header).decode()
    for name in sorted(run.shared):
        yield f'{{"kind":"{SHARED}","shared":{_quoted(name)},"spec":{run.shared[name]}}}'
    for action in run.actions:
        yield _action_line(action)
        name = _quoted(action.name)
        for event in action.events:
            yield f'{{"kind":"{EVENT}","action":{name},"event":{event}}}'
    yield f'{{"kind":"{END}","actions":{header.actions},"events":{header.events}}}'


def _action_line(action: RawAction) -> str:
    parts = [f'{{"kind":"{ACTION}","action":{_quoted(action.name)},"ended_at":{action.ended}']
    for letter, (name, form) in FIELDS.items():
        value = action.fields.get(letter)
        if value is not None:
            parts.append(f'"{name}":{_shown(value, form)}')
    return ",".join(parts) + "}"


def _shown(value: str, form: Form) -> str:
    match form:
        case Form.TEXT:
            return _quoted(value)
        case Form.PHASE:
            return f'"{PHASES.get(value, value)}"'
        case Form.FIRST:
            return value.partition(" ")[0]
        case _:
            return value


def _quoted(text: str) -> str:
    return _json(text).decode()


class Lines(msgspec.Struct):
    """The lines of a run, sorted by kind; unreadable ones are counted.

    Attributes:
        shared: fields of shared parts, by name.
        fields: of each record, by action.
        ended: when each action ended, ms.
        events: of each action, undecoded.
        bad: lines that are none of ours.
        complete: whether the last line is there, and its numbers fit.
    """

    shared: dict[str, dict[str, Any]] = {}
    fields: dict[str, dict[bytes, bytes]] = {}
    ended: dict[str, int] = {}
    events: dict[str, list[bytes]] = {}
    bad: int = 0
    complete: bool = False

    @classmethod
    def read(cls, lines: Iterable[bytes]) -> Lines:
        """Sort the lines behind the first one."""
        found = cls()
        for line in lines:
            try:
                found.add(_raw.decode(line))
            except (msgspec.DecodeError, KeyError, ValueError):
                found.bad += 1
        return found

    def add(self, line: dict[str, msgspec.Raw]) -> None:
        """Add one line. Kinds of newer releases are skipped."""
        match _text.decode(line["kind"]):
            case "shared":
                self.shared[_text.decode(line["shared"])] = decode_shared(bytes(line["spec"]))
            case "action":
                name = _text.decode(line["action"])
                self.fields[name] = {
                    letter.encode(): _stored(bytes(value), form)
                    for key, value in line.items()
                    if key in LETTERS
                    for letter, form in (LETTERS[key],)
                }
                self.ended[name] = int(bytes(line["ended_at"]))
            case "event":
                self.events.setdefault(_text.decode(line["action"]), []).append(bytes(line["event"]))
            case "end":
                counted = (int(bytes(line["actions"])), int(bytes(line["events"])))
                self.complete = counted == (len(self.fields), sum(map(len, self.events.values())))
            case _:
                pass

    @property
    def unshared(self) -> int:
        """Number of shared parts that records name and that cannot be read."""
        named = {fields[b"h"].decode() for fields in self.fields.values() if fields.get(b"h")}
        return len(named - self.shared.keys())

    def actions(self, run: RunId) -> dict[str, ArchivedAction]:
        """Give the records, by name, in the order of the lines; one that cannot be decoded is counted as bad."""
        children = self._children()
        found: dict[str, ArchivedAction] = {}
        for name, fields in self.fields.items():
            shared = self.shared.get(fields.get(b"h", b"").decode(), {})
            try:
                record = records.decode(run.action(name), fields, shared, children.get(name))
            except (msgspec.DecodeError, KeyError, ValueError):
                self.bad += 1
                continue
            found[name] = ArchivedAction.of(record, self.ended[name])
        return found

    def _children(self) -> dict[str, Children]:
        counts: dict[str, list[int]] = {}
        for fields in self.fields.values():
            if b"r" in fields:
                count = counts.setdefault(fields[b"r"].decode(), [0, 0])
                count[0] += 1
                count[1] += fields.get(b"p") not in _FINE
        return {name: Children(total, 0, failed) for name, (total, failed) in counts.items()}


def _stored(value: bytes, form: Form) -> bytes:
    match form:
        case Form.TEXT:
            return _text.decode(value).encode()
        case Form.PHASE:
            return NUMBERS[_text.decode(value)].encode()
        case _:
            return value
