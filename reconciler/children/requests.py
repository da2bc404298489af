"""Define the requests that a function's process sends to its supervisor during a call, and the answers.

Every request has a number; children are spoken of by the number of the request that started them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.schedule import NOW, Schedule


class Start(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Asks for an action below the caller, or for a run of its own.

    Attributes:
        number: of the request.
        spec: what to do; identity fields are the supervisor's to fill, but for the run of a detached one.
        asked: how often the caller has asked for exactly that before.
        plan: when and in which order.
        labels: attached to the record.
        key: names the submission of a detached one.
        detached: a run of its own instead of a child.
    """

    number: int
    spec: ActionSpec
    asked: int = 0
    plan: Schedule = NOW
    labels: dict[str, str] = {}
    key: str = ""
    detached: bool = False


class StartGroup(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Asks for a group below the caller, whose members follow.

    Attributes:
        number: of the request.
        stem: what its name begins with.
        digest: of all that its members are asked for.
        asked: how often the caller has asked for exactly that before.
        total: how many members it has.
        keep_failures: it succeeds even when members do not.
        plan: of the group itself.
        concurrency: with it the group starts its members (from the `Items` sent before) itself, this many at a time.
        spec: what each of them does, without inputs.
        members: when and in which order each of them runs.
    """

    number: int
    stem: str
    digest: str
    asked: int
    total: int
    keep_failures: bool = False
    plan: Schedule = NOW
    concurrency: int = 0
    spec: ActionSpec = ActionSpec()
    members: Schedule = NOW


class FindGroup(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Asks how many members a group has that an earlier pass may have started; named as in `StartGroup`."""

    number: int
    stem: str
    digest: str
    asked: int


class Items(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Sends some items of a group that starts its members itself, in order; `StartGroup` with the same name follows.

    Attributes:
        number: of the request.
        digest, asked: of the group.
        inputs: of each member.
        fair_keys: of each; empty = that of the plan.
    """

    number: int
    digest: str
    asked: int
    inputs: list[bytes]
    fair_keys: list[str] = []


class Members(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Sends some members of a group.

    Attributes:
        number: of the request.
        group: number of the request that started the group.
        first: index of the first of them.
        spec: what each does, without inputs.
        inputs: of each.
        plan: of each.
        fair_keys: of each; empty = that of the plan.
    """

    number: int
    group: int
    first: int
    spec: ActionSpec
    inputs: list[bytes]
    plan: Schedule = NOW
    fair_keys: list[str] = []


class Question(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Asks a person, by a condition below the caller; `texts` as of a `ConditionSpec`, `timeout` in seconds.

    `key` tells it from others with the same texts.
    """

    number: int
    texts: dict[str, str]
    asked: int
    timeout: float | None = None
    key: str = ""


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Asks for news of the ends of children, once each; answered after the first look at them.

    `limited`: the caller gives up after a time, so a wait that would never end is none of our business.
    """

    number: int
    children: list[int]
    limited: bool = False


class Outcomes(msgspec.Struct, frozen=True, tag=True):
    """Asks for the ends of members of a group that has ended: those from `first` to `end`; 0 = to the last."""

    number: int
    group: int
    first: int = 0
    end: int = 0


class Follow(msgspec.Struct, frozen=True, tag=True):
    """Asks for the ends of members of a group as they come, except for the first `after`.

    Answered by `Ends`: at once, and when there are none yet, once more when there are.
    """

    number: int
    group: int
    after: int


class Look(msgspec.Struct, frozen=True, tag=True):
    """Asks for the phase of an action."""

    number: int
    child: int


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Asks to abort an action that was started, with everything below it."""

    number: int
    child: int
    reason: str


class Tell(msgspec.Struct, frozen=True, tag=True):
    """Asks for `what` of an action that was started: its events or the counts of its run; or changes its priority."""

    number: int
    child: int
    what: Literal["events", "counts", "prioritize"]
    value: int = 0


class Keep(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Asks to keep a value under a name unless it has one, or with `wait` (ms) the time that lies so far ahead.

    Without either: give the value there is.
    """

    number: int
    name: str
    value: bytes | None = None
    wait: int = -1


class GiveUp(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """Asks to record that a wait was given up, so that each later pass of the attempt gives it up, too.

    Attributes:
        number: of the request.
        child: number of the request that started what was waited for; 0 = it was none, but `turn` says what.
        turn: which of the waits for it.
        told: when the newest end was that the function had been told of, ms.
        reason: abort the child, for this reason; empty = it goes on.
    """

    number: int
    turn: str
    told: int
    child: int = 0
    reason: str = ""


class Suspending(msgspec.Struct, frozen=True, tag=True):
    """The call is about to end, because it has nothing to do but wait."""


class Say(msgspec.Struct, frozen=True, tag=True):
    """Reports the progress of the call, as a JSON document; nothing is answered, and only the last one counts."""

    state: str
    meta: bytes


class Started(msgspec.Struct, frozen=True, tag=True):
    """Answers that the request is stored as this action."""

    number: int
    action: str
    incarnation: str = ""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Answers that the request was refused; `kind` names the error."""

    number: int
    kind: str
    message: str


class End(msgspec.Struct, frozen=True, tag=True, kw_only=True, omit_defaults=True):
    """An action has ended.

    Attributes:
        number: of the request that started it, or that asked.
        action: which one.
        phase: number of its phase.
        at: when it ended, ms since the epoch; 0 = not known.
        document: its outputs, when it succeeded.
        code, message, kind, traceback: its error, when it did not.
        failed: how many of its children ended otherwise than by success.
    """

    number: int
    action: str
    phase: int
    at: int = 0
    document: bytes | None = None
    code: str = ""
    message: str = ""
    kind: str = ""
    traceback: str = ""
    failed: int = 0


class Ends(msgspec.Struct, frozen=True, tag=True):
    """The ends of some members of a group, in order; `last` when none follow."""

    number: int
    ends: list[End]
    last: bool


class Phase(msgspec.Struct, frozen=True, tag=True):
    """Answers with the number of an action's phase."""

    number: int
    phase: int


class Told(msgspec.Struct, frozen=True, tag=True):
    """Answers with what was asked for, as MessagePack."""

    number: int
    document: bytes


class Kept(msgspec.Struct, frozen=True, tag=True):
    """The value there is (None: none), and the store's time, ms."""

    number: int
    value: bytes | None
    now: int


class GivenUp(msgspec.Struct, frozen=True, tag=True):
    """The waits that earlier passes gave up, by name, each with the time (ms) up to which ends were reported.

    It comes before the answer to any wait.
    """

    waits: dict[str, int]


class Done(msgspec.Struct, frozen=True, tag=True):
    """Answers that the request was carried out."""

    number: int


class Hurry(msgspec.Struct, frozen=True, tag=True):
    """Says that work is waiting which this worker could run, so the function should not wait in place."""


Request = (
    Start
    | StartGroup
    | FindGroup
    | Items
    | Members
    | Question
    | Watch
    | Outcomes
    | Follow
    | Look
    | Abort
    | Tell
    | Keep
    | GiveUp
    | Suspending
    | Say
)
Answer = Started | Refused | End | Ends | Phase | Told | Kept | GivenUp | Done | Hurry
