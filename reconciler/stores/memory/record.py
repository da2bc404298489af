"""One action as the twin stores it: named fields, filled with the records of the API.

Nothing of it is shared with callers. What comes in is copied as if it had been sent (`copied`). What goes out is made of
parts that nobody can change, and of copies of the others (`Record.view`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from reconciler.api.action import (
    CONDITION,
    FINALIZER,
    TASK,
    ActionId,
    ActionSpec,
    AttemptOutcome,
    AttemptRecord,
    Children,
    Metadata,
    Signal,
    TaskAction,
    record_name,
)
from reconciler.api.attempt import Progress
from reconciler.api.hand_back import HandBack
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.api.status import ActionStatus
from reconciler.api.texts import plain
from reconciler.api.tokens import UNCLAIMED, FencingToken
from reconciler.core.children import GROUPS
from reconciler.core.status_conditions import action_phase

replace = msgspec.structs.replace
Cursor = tuple[int, int]
"""Position in the results channel: ms since the epoch, and a counter within that ms."""
Part = TypeVar("Part", bound=msgspec.Struct)
_encode = msgspec.json.Encoder(enc_hook=plain).encode
_unknown = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def copied(part: Part) -> Part:
    """Copy a value, as its receiver would get it.

    Raises:
        UNWRITABLE: it has no JSON form.
    """
    decoder = _decoders.get(type(part))
    if decoder is None:
        decoder = _decoders[type(part)] = msgspec.json.Decoder(type(part))
    made: Part = decoder.decode(_encode(part))
    return made


def copied_unknown(unknown: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Copy the fields of newer releases: nobody knows what they are, so each stays as it is written."""
    return _unknown.decode(_encode(unknown)) if unknown else {}


@dataclass
class Launch:
    """The launch that may report, from the commit that decides on it to the commit that gives it up.

    Attributes:
        name: `<attempt>` or `<attempt>-<relaunch>`.
        sent_at: when it was put into a line.
        line: the line it stands in while it waits for a worker; empty = in none.
        place: its place there, ms.
        owner: the worker that has it; empty = nobody has.
        lease_until: until when that one counts as alive.
        started_at: when it took the launch.
        look_at: when a step wants to look, however alive the attempt is; 0 = when its lease ends.
        drawn_with: how many launches were drawn together, when more than one.
        hand_backs: how often workers handed it back.
        handed_back: why the last one did, since it was last sent.
        stop: why the attempt shall stop; empty = it shall not.
        outcome: how the attempt ended.
        progress: how far its function says it is.
    """

    name: str
    sent_at: int
    line: str = ""
    place: int = 0
    owner: str = ""
    lease_until: int = 0
    started_at: int = 0
    look_at: int = 0
    drawn_with: int = 0
    hand_backs: int = 0
    handed_back: HandBack | None = None
    stop: str = ""
    outcome: AttemptOutcome | None = None
    progress: Progress | None = None

    def take(self, owner: str, lease_until: int, now: int) -> None:
        """Give the launch to a worker."""
        self.owner, self.lease_until, self.started_at = owner, lease_until, now
        self.handed_back, self.drawn_with = None, 0

    def leave(self) -> None:
        """Take the launch away from its worker."""
        self.owner, self.lease_until, self.started_at, self.look_at = "", 0, 0, 0

    def view(self, *, in_line: bool) -> AttemptRecord:
        """Return the launch as the API shows it."""
        return AttemptRecord(
            launch=self.name,
            owner=self.owner,
            lease_until=self.lease_until,
            started_at=self.started_at,
            outcome=self.outcome,
            stop=self.stop,
            sent_at=self.sent_at,
            hand_backs=self.hand_backs,
            handed_back=self.handed_back,
            in_line=in_line,
            drawn_with=self.drawn_with,
            progress=self.progress,
        )


@dataclass
class Record:
    """One action, as it is stored. Times are ms since the epoch.

    Attributes:
        id, spec: what was asked for; never changes.
        metadata: labels, finalizers, the request to end it, its priority and times, where it comes from.
        status: what was observed, and `unknown` what a newer release has written into it.
        phase: the phase last committed.
        version: grows by one with each commit.
        events: number of events; `kept`: positions of the last ones.
        signal: the answer to a condition.
        token: fencing token of the newest claim.
        held_until: end of that claim's lease; 0 = its commit has come.
        woken_at: when to look, as somebody said while a step held it; 0 = nobody did.
        abandoned: claims in a row before this one whose lease ended without a commit.
        launch: the launch that may report; None = there is none.
        ranked: its priority was given, so a line that was chosen before follows it.
        has_children: it is a parent.
        refill_at: it wants more children when at most this many are open; 0 = it does not.
    """

    id: ActionId
    spec: ActionSpec
    metadata: Metadata
    status: ActionStatus
    unknown: dict[str, dict[str, Any]] = field(default_factory=dict)
    phase: ActionPhase = ActionPhase.QUEUED
    version: int = 1
    events: int = 0
    kept: list[Cursor] = field(default_factory=list)
    signal: Signal | None = None
    token: FencingToken = UNCLAIMED
    held_until: int = 0
    woken_at: int = 0
    abandoned: int = 0
    launch: Launch | None = None
    ranked: bool = False
    has_children: bool = False
    refill_at: int = 0

    @classmethod
    def new(cls, action: TaskAction, now: int) -> Record:
        """Make the record of a submission, without its event.

        Raises:
            UNWRITABLE: a part of it has no JSON form.
        """
        recovered = action_phase(action.status) is ActionPhase.RECOVERED
        made_of_another = action.metadata.lineage is not None
        return cls(
            action.id,
            spec_of(action),
            replace(
                copied(action.metadata),
                name=record_name(action.id, action.spec),
                creation_timestamp=now,
                deletion=None,
                prioritized=None,
                priorities=(),
                completed_at=now if recovered else 0,
                not_before=_from(action.metadata.not_before, now),
                expires_at=_from(action.metadata.expires_at, now),
            ),
            copied(action.status),
            phase=action_phase(action.status),
            signal=copied(action.signal) if action.signal is not None and made_of_another else None,
            ranked=action.metadata.priority != DEFAULT_PRIORITY,
            has_children=made_of_another and action.children.total > 0,
        )

    @property
    def ended(self) -> bool:
        """Tell whether the action has ended."""
        return self.phase.is_terminal()

    @property
    def owes(self) -> bool:
        """Tell whether this reconciler owes clean-up; finalizers of other controllers belong to those."""
        return FINALIZER in self.metadata.finalizers

    @property
    def line(self) -> str:
        """The line its launch stands in; empty = in none."""
        return self.launch.line if self.launch is not None else ""

    @property
    def lists_ends(self) -> bool:
        """Tell whether the ends of its children are listed, as for a group."""
        return self.spec.task_type in GROUPS

    @property
    def is_condition(self) -> bool:
        """Tell whether it is a condition."""
        return self.spec.action_type == CONDITION

    @property
    def stopping(self) -> bool:
        """Tell whether its attempt is asked to stop."""
        return self.metadata.deletion is not None or (self.launch is not None and bool(self.launch.stop))

    def held(self, now: int) -> bool:
        """Tell whether a step holds the action."""
        return self.held_until > now

    def another_life(self, known: str) -> bool:
        """Tell whether it belongs to another incarnation of its run than the caller's: names and launches are used again."""
        return bool(known) and self.metadata.incarnation != known

    def set_metadata(self, **changes: Any) -> None:  # noqa: ANN401  # fields of Metadata
        """Replace fields of the metadata."""
        self.metadata = replace(self.metadata, **changes)

    def owe(self) -> None:
        """Add the finalizer of this reconciler to those of others."""
        if not self.owes:
            self.set_metadata(finalizers=(*self.metadata.finalizers, FINALIZER))

    def runs(self, launch: str, owner: str, incarnation: str) -> bool:
        """Tell whether this worker may still report a launch."""
        if self.launch is None or self.ended or self.another_life(incarnation):
            return False
        return (self.launch.name, self.launch.owner) == (launch, owner)

    def view(self, children: Children | None = None, now: int = 0, *, in_line: bool = False) -> TaskAction:
        """Make the record of the API; changing it changes nothing here."""
        meta = self.metadata
        return TaskAction(
            self.id,
            replace(self.spec, env_vars={**self.spec.env_vars}),
            self.status,
            replace(meta, extra_labels={**meta.extra_labels}, annotations={**meta.annotations}),
            signal=self.signal,
            version=self.version,
            token=self.token,
            events=self.events,
            phase=self.phase,
            attempt=self.launch.view(in_line=in_line) if self.launch is not None else None,
            children=children if self.has_children else None,
            unknown={part: {**fields} for part, fields in self.unknown.items()},
            now=now,
            abandoned=self.abandoned,
        )


def spec_of(action: TaskAction) -> ActionSpec:
    """Copy what a submission asks for; the names in the copy are those of the action."""
    project, domain, run, name = msgspec.structs.astuple(action.id)
    spec = copied(action.spec)
    return replace(
        spec,
        project=project,
        domain=domain,
        run_name=run,
        action_name=name,
        action_type=spec.action_type or TASK,
    )


def _from(at: int, now: int) -> int:
    """Compute a time that a submission names; a negative one counts from its acceptance."""
    return now - at if at < 0 else at
