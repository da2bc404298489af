"""Compute what a write changes of a record, as the fields a script applies."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.api.action import FINALIZER, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.progress import begun
from reconciler.core.status_conditions import action_phase
from reconciler.stores import records
from reconciler.stores.base import Write
from reconciler.stores.events import encode_event
from reconciler.stores.launch_fence import fence_of, gives_up

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ATTEMPT_FIELDS = (b"ao", b"al", b"as", b"ax", b"ar", b"u", b"ab", b"ad", b"ah")
_LIVE_FIELDS = (b"k", b"n", b"nt", b"np", *_ATTEMPT_FIELDS)
_UNSENT_FIELDS = (b"k", b"nt", b"np")
"""Those of a record without a launch: only who shows one can write the others, and they go with it."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One `Write` as fields of a record.

    Attributes:
        path: whose record.
        token: fencing token of the claim, decimal.
        version: of the record that was claimed. A server that was promoted with an older state may hand out a token again,
            but never over the same version.
        sets: field, value, field, value …
        dels: fields to remove.
        events: events to publish, encoded.
        phase: number of the action phase; 0 = the status is not written.
        due: when to look again; 0 = never unless woken.
        parent: name of the parent action; empty = a root.
        ended: 1 when this write makes the action terminal.
        failed: 1 when it ends in anything but success.
        launch: which launch is put into a line by this write; empty = none.
        line: which line.
        unsent: 1 when no launch stands in a line any more.
        incarnation: of the record that was claimed; empty for one of a release before.
        refill_at: `Write.refill_at`.
        seen: time of the claim, up to which a lease was looked at; 0 = no attempt's lease is to be watched.
        fence: who had the launch that it gives up, and since when (`fence_of`); empty = it gives none up.
        code: of the last error of what it makes terminal; empty = there was none.
    """

    path: str
    token: bytes
    version: int
    sets: list[bytes]
    dels: list[bytes]
    events: list[bytes]
    phase: int
    due: int
    parent: str
    ended: int
    failed: int
    launch: str
    line: str
    unsent: int
    incarnation: str
    seen: int
    refill_at: int
    fence: str
    code: str


def change_of(write: Write) -> Change:
    """Compute what a write changes."""
    action, original = write.action, write.original
    sets: list[bytes] = []
    dels: list[bytes] = []
    phase = action_phase(action.status) if write.status else original.phase
    if write.status:
        sets += (b"t", records.encode_status(action))
        if phase is not original.phase:
            sets += (b"p", b"%d" % phase)
    if write.metadata:
        _change_metadata(action, sets, dels)
    sent_again = write.launch is not None and write.launch[0] == original.attempt.launch
    if write.launch is not None:
        sets += (b"nt", b"%d" % action.now)
        # a worker may have begun since the claim what is sent again: its lease stands. What was to stop another worker,
        # which has given it back meanwhile, would keep this one from being drawn
        dels += (b"ah", b"ax") if sent_again else _ATTEMPT_FIELDS
        if original.metadata.expires_at and begun(original):
            dels += (b"xp",)  # it has begun in time: no draw may take this launch for one that came too late
    elif original.attempt.launch and gives_up(write):
        dels += (b"n", *_ATTEMPT_FIELDS)  # or its late worker could put it back into a line
    ended = write.status and phase.is_terminal() and not original.phase.is_terminal()
    if phase.is_terminal() and FINALIZER not in action.metadata.finalizers:
        live = _LIVE_FIELDS if original.attempt.launch or write.launch else _UNSENT_FIELDS
        dels = list(dict.fromkeys((*dels, *live)))
    return Change(
        path=str(action.id),
        token=b"%d" % action.token,
        version=original.version,
        sets=sets,
        dels=dels,
        events=[encode_event(event) for event in write.events],
        phase=int(phase) if write.status else 0,
        due=write.due,
        parent=action.spec.parent_action_name or "",
        ended=int(ended),
        failed=int(ended and phase is not ActionPhase.SUCCEEDED),
        launch=write.launch[0] if write.launch is not None else "",
        line=write.launch[1] if write.launch is not None else "",
        unsent=int(ended or b"n" in dels),
        incarnation=original.metadata.incarnation,
        seen=action.now if (write.launch is None or sent_again) and not phase.is_terminal() else 0,
        refill_at=0 if phase.is_terminal() else write.refill_at,
        fence=fence_of(write),
        code=action.status.error_state.code if ended and action.status.error_state else "",
    )


def _change_metadata(action: TaskAction, sets: list[bytes], dels: list[bytes]) -> None:
    meta = action.metadata
    if meta.finalizers:
        sets += (b"f", " ".join(meta.finalizers).encode())
    else:
        dels.append(b"f")
    if meta.completed_at:
        sets += (b"o", b"%d" % meta.completed_at)
    extra = records.encode_metadata(action)
    if extra:
        sets += (b"m", extra)
    else:
        dels.append(b"m")


def differing_fields(
    mine: Mapping[bytes, bytes], mine_shared: bytes, theirs: Mapping[bytes, bytes], their_shared: bytes
) -> tuple[str, ...]:
    """Name the spec fields that differ between a submission and the stored action (camelCase)."""
    found: set[str] = set()
    for left, right in ((mine[b"s"], theirs.get(b"s", b"{}")), (mine_shared, their_shared or b"{}")):
        a, b = _raw.decode(left), _raw.decode(right)
        found |= {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    if mine.get(b"r") != theirs.get(b"r"):
        found.add("parentActionName")
    return tuple(sorted(found)) or ("spec",)
