"""Define how a record is laid out as named fields of bytes, in Redis and, less what is live, in the archive.

A record is many small fields instead of one document, so that a script can guard and count without parsing, so that each
write scope touches only its own fields (R2), and so that a field a newer release added is left alone by an older one.

| field | writer | meaning |
|---|---|---|
| s | create | spec, the part of this action alone (JSON) |
| h | create | name of its shared part of the spec (template, output base, environment …): digest, incarnation |
| y | create | `c` for a condition: it never gets a finalizer |
| r | create | name of the parent action |
| c | create | creation time |
| m | create, commit | labels and annotations (JSON) |
| pr, fk | create; pr: prioritize | priority, when not 5; fair key, when not the project |
| by | create | who submitted it (JSON) |
| pb, pa | prioritize | who gave it its priority (JSON); a list of who did, the newest last |
| ln | create | which run it was made of (JSON) |
| tp | create | trace context it was submitted in |
| nb, xp | create | when the first launch may be; when the action ends unless it has begun |
| t | commit | status (JSON) |
| p | create, commit | action phase (number) |
| v | create, commit | version, + 1 with each commit |
| f | create, claim, commit | finalizers, ours and those of other controllers, separated by blanks |
| o | commit, create of what is recovered | time the terminal labels were stamped for |
| e | create, commit | number of events, then the stream ids of the last ones |
| k, l, w | claim, commit, wake; k: conclude | fencing token; end of the step's lease; woken while claimed |
| la | claim | claims in a row before this one whose lease ended without a commit |
| d | request_abort | request to end (JSON) |
| g, gv | signal, create of what is recovered | answer to a condition (JSON); its value alone, for comparison |
| n, nt | commit | launch that may report, and when it was put into a line |
| nl, np | commit, start_attempt, draw, give_back | the line it stands in, while it does; its place there, ms |
| ao, al, as, ab | start_attempt, draw, heartbeat | owner, end of lease, start; how many were drawn together |
| pg | heartbeat | launch, time, and what its function says of its progress (JSON) |
| ad, ah | decline_attempt | how often workers handed the launch back; why, and until when it waits (JSON) |
| ax | stop_attempt | why the attempt shall stop |
| ar | finish_attempts, conclude | how the attempt ended (JSON) |
| u | commit, start_attempt, draw, wake | when a step wants to look, however alive the attempt is |
| el, ro | create of a group; commit | ended children are listed; open ones at which it wants more of them |
| b | create (of a child; with its own when they were recovered before it) | this action has children |

Times are decimal milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from reconciler.api.action import (
    CONDITION,
    ActionId,
    ActionSpec,
    AttemptOutcome,
    AttemptRecord,
    Children,
    Deletion,
    Metadata,
    Signal,
    TaskAction,
    record_name,
)
from reconciler.api.attempt import read_progress
from reconciler.api.hand_back import HandBack
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.api.status import ActionStatus
from reconciler.api.texts import plain
from reconciler.api.tokens import FencingToken
from reconciler.stores import origin
from reconciler.stores.ended import End
from reconciler.stores.shared_parts import (
    OLD_FOLDER,
    OWN_FOLDER,
    incarnation_of,
    named,
    own_base,
    shared_key,
    whole_part,
)

Fields = dict[bytes, bytes]


class OwnSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The part of a spec that belongs to one action."""

    action_type: str = "task"
    condition_spec: bytes = b""
    input_uri: str = ""
    inputs: bytes | None = None
    inputs_digest: str = ""
    cache_key: str = ""
    inputs_hash: str = ""


class _Extra(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


_encode_plain = msgspec.json.Encoder(enc_hook=plain).encode
_own = msgspec.json.Decoder(OwnSpec)
_status = msgspec.json.Decoder(ActionStatus)
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_deletion = msgspec.json.Decoder(Deletion)
_signal = msgspec.json.Decoder(Signal)
_outcome = msgspec.json.Decoder(AttemptOutcome)
_hand_back = msgspec.json.Decoder(HandBack)
_extra = msgspec.json.Decoder(_Extra)
_KNOWN_STATUS = frozenset(ActionStatus.__struct_encode_fields__)


def encode_new(
    action: TaskAction, shared_cache: dict[Any, tuple[bytes, bytes]]
) -> tuple[Fields, bytes, bytes]:
    """Encode the fields of a new record, with name and bytes of its shared part.

    Args:
        action: the record; its status is stored when it is not empty.
        shared_cache: remembers encodings of shared parts during one submission.
    """
    spec = action.spec
    key = shared_key(spec), *spec.env_vars.items()
    incarnation = action.metadata.incarnation
    known = shared_cache.get((incarnation, key))
    if known is None:
        known = shared_cache[incarnation, key] = named(action.id, spec, incarnation)
    fields: Fields = {b"s": _encode_plain(_own_of(spec)), b"h": known[0]}
    if spec.action_type == CONDITION:
        fields[b"y"] = b"c"
    if spec.parent_action_name is not None:
        fields[b"r"] = spec.parent_action_name.encode()
    if action.metadata.finalizers:
        fields[b"f"] = " ".join(action.metadata.finalizers).encode()
    if action.metadata.priority != DEFAULT_PRIORITY:
        fields[b"pr"] = b"%d" % action.metadata.priority
    if action.metadata.fair_key:
        fields[b"fk"] = action.metadata.fair_key.encode()
    extra = encode_metadata(action)
    if extra:
        fields[b"m"] = extra
    if action.status != _NEW_STATUS:
        fields[b"t"] = _encode_plain(action.status)
    return fields | origin.fields_of(action), known[0], known[1]


def encode_stored(action: TaskAction) -> tuple[Fields, bytes, bytes]:
    """Encode an ended record as the archive has it, without what only live actions need; like `encode_new`."""
    fields, name, data = encode_new(action, {})
    meta = action.metadata
    numbers = {
        b"c": meta.creation_timestamp, b"o": meta.completed_at, b"nb": meta.not_before, b"xp": meta.expires_at,
        b"v": action.version, b"p": int(action.phase), b"e": action.events, b"b": int(action.children.total > 0),
    }  # fmt: skip
    fields |= {letter: b"%d" % number for letter, number in numbers.items() if number}
    if action.status != _NEW_STATUS:
        fields[b"t"] = encode_status(action)
    documents = {b"d": meta.deletion, b"g": action.signal, b"pb": meta.prioritized}
    fields |= {letter: encode_json(found) for letter, found in documents.items() if found is not None}
    if meta.priorities:
        fields[b"pa"] = _encode_plain(meta.priorities)
    return fields, name, whole_part(data, action.id.run_id, name).encode()


_NEW_STATUS = ActionStatus()
_DEFAULT_PRIORITY = b"%d" % DEFAULT_PRIORITY


def _own_of(spec: ActionSpec) -> OwnSpec:
    return OwnSpec(
        action_type=spec.action_type or "task",
        condition_spec=spec.condition_spec,
        input_uri=spec.input_uri,
        inputs=spec.inputs,
        inputs_digest=spec.inputs_digest,
        cache_key=spec.cache_key,
        inputs_hash=spec.inputs_hash,
    )


def encode_status(action: TaskAction) -> bytes:
    """Encode the status, with the fields of newer releases written back (R11)."""
    data = _encode_plain(action.status)
    unknown = action.unknown.get("status")
    if not unknown:
        return data
    merged: dict[str, Any] = dict(_raw.decode(data))
    return _encode_plain({**unknown, **merged})


def encode_metadata(action: TaskAction) -> bytes:
    """Encode labels and annotations; empty when there are none."""
    meta = action.metadata
    extra = _Extra(
        namespace="" if meta.namespace == "flyte" else meta.namespace,
        labels=meta.extra_labels,
        annotations=meta.annotations,
    )
    return _encode_plain(extra) if extra.namespace or extra.labels or extra.annotations else b""


def encode_json(value: msgspec.Struct) -> bytes:
    """Encode a small record as JSON."""
    return _encode_plain(value)


def decode(
    action: ActionId,
    fields: Mapping[bytes, bytes],
    shared: Mapping[str, Any],
    children: Children | None = None,
    now: int = 0,
) -> TaskAction:
    """Decode a record from its fields; the counterpart of all writers above.

    Raises:
        msgspec.DecodeError: a field does not hold what it should; the message names the place.
    """
    get = fields.get
    own = _own.decode(fields[b"s"])
    parent = get(b"r")
    incarnation = incarnation_of(fields)
    # a copy, and so is the environment: the part is that of many records
    common = {**shared, "env_vars": {**shared.get("env_vars", {})}}
    base = common.get("run_output_base", "")
    if base.endswith((OWN_FOLDER, OLD_FOLDER)):
        common["run_output_base"] = own_base(base, action.project, action.domain, action.run, incarnation)
    spec = ActionSpec(
        run_name=action.run,
        project=action.project,
        domain=action.domain,
        action_name=action.action,
        parent_action_name=parent.decode() if parent is not None else None,
        action_type=own.action_type,
        condition_spec=own.condition_spec,
        input_uri=own.input_uri,
        inputs=own.inputs,
        inputs_digest=own.inputs_digest,
        cache_key=own.cache_key,
        inputs_hash=own.inputs_hash,
        **common,
    )
    status, unknown = _decode_status(get(b"t"))
    signal, phase = get(b"g"), get(b"p", b"1")
    return TaskAction(
        action,
        spec,
        status,
        _decode_metadata(action, spec, fields, incarnation),
        signal=_signal.decode(signal) if signal else None,
        version=int(get(b"v", b"0")),
        token=FencingToken(int(get(b"k", b"0"))),
        events=event_count(get(b"e")),
        phase=_phase(phase),
        attempt=_decode_attempt(fields) if b"n" in fields else None,
        children=children,
        unknown=unknown,
        now=now,
        abandoned=int(get(b"la", b"0")),
    )


END_FIELDS = ("p", "t", "h", "g")
"""The fields that say how an action ended."""


def decode_end(action: ActionId, values: Sequence[bytes | None]) -> End | None:
    """Decode how an action ended from its `END_FIELDS`; None: there is no such record.

    Raises:
        msgspec.DecodeError: as `decode`.
    """
    phase, status, name, signal = values
    if name is None:
        return None
    return End(
        id=action,
        incarnation=incarnation_of({b"h": name}),
        phase=_phase(phase or b"1"),
        status=_decode_status(status)[0],
        signal=_signal.decode(signal) if signal else None,
    )


def _phase(field: bytes) -> ActionPhase:
    return _PHASES.get(field) or ActionPhase(int(field))


_PHASES = {b"%d" % phase: phase for phase in ActionPhase}


def _decode_status(data: bytes | None) -> tuple[ActionStatus, dict[str, dict[str, Any]] | None]:
    if not data:
        return _NEW_STATUS, None
    status = _status.decode(data)
    raw = _raw.decode(data)
    if _KNOWN_STATUS.issuperset(raw):
        return status, None
    return status, {"status": {name: value for name, value in raw.items() if name not in _KNOWN_STATUS}}


def _decode_metadata(
    action: ActionId, spec: ActionSpec, fields: Mapping[bytes, bytes], incarnation: str
) -> Metadata:
    get = fields.get
    extra = _extra.decode(fields[b"m"]) if b"m" in fields else None
    deletion = get(b"d")
    finalizers = get(b"f")
    return Metadata(
        namespace=(extra and extra.namespace) or "flyte",
        name=record_name(action, spec),
        creation_timestamp=int(get(b"c", b"0")),
        deletion=_deletion.decode(deletion) if deletion else None,
        finalizers=tuple(finalizers.decode().split()) if finalizers else (),
        extra_labels=extra.labels if extra else {},
        annotations=extra.annotations if extra else {},
        incarnation=incarnation,
        completed_at=int(get(b"o", b"0")),
        priority=int(get(b"pr", _DEFAULT_PRIORITY)),
        fair_key=get(b"fk", b"").decode(),
        not_before=int(get(b"nb", b"0")),
        expires_at=int(get(b"xp", b"0")),
        **origin.read(fields),
    )


def _decode_attempt(fields: Mapping[bytes, bytes]) -> AttemptRecord:
    get = fields.get
    outcome = get(b"ar")
    return AttemptRecord(
        launch=get(b"n", b"").decode(),
        sent_at=int(get(b"nt", b"0")),
        owner=get(b"ao", b"").decode(),
        lease_until=int(get(b"al", b"0")),
        started_at=int(get(b"as", b"0")),
        outcome=_outcome.decode(outcome) if outcome else None,
        stop=get(b"ax", b"").decode(),
        hand_backs=int(get(b"ad", b"0")),
        handed_back=_hand_back.decode(fields[b"ah"]) if b"ah" in fields else None,
        in_line=b"in" in fields,
        drawn_with=int(get(b"ab", b"0")),
        progress=read_progress(get(b"pg", b""), get(b"n", b"")),
    )


def event_count(field: bytes | None) -> int:
    """Count the events so far, from field `e`."""
    return int(field.split(b" ", 1)[0]) if field else 0
