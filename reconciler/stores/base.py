"""The verbs of the stores: what the engine may ask of Redis and S3, and nothing else.

No setter exists: each verb is one atomic step of a life, and carries its guard inside (R7). Two implementations pass
one conformance suite (tests/conformance): `stores.memory`, the one to read, and `stores.redis`.

Times are milliseconds since the epoch, UTC, by the store's own clock; leases and due times never use a client's clock.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

import msgspec

from reconciler.api.action import ActionId, AttemptOutcome, Deletion, RunId, Signal, TaskAction
from reconciler.api.event import ActionEvent, AuditEntry
from reconciler.api.resource import QuotaLease
from reconciler.stores.archiving import Archiving
from reconciler.stores.beats import Beats
from reconciler.stores.counts import Asking, RunCounts, RunSummary
from reconciler.stores.ended import Ended
from reconciler.stores.garbage import Garbage
from reconciler.stores.holds import Holds
from reconciler.stores.known import Functions
from reconciler.stores.lines import Head, Lines
from reconciler.stores.steps import Steps

if TYPE_CHECKING:
    from reconciler.stores.concluding import Concluded, ConcludeReport

ANY = "*"
"""Stands for the end of any action of a run, where the name of one may stand."""


class CreateOutcome(enum.Enum):
    """The result of one submission."""

    CREATED = "created"
    EXISTS = "exists"
    """Same identity, same spec: the action of the first submission stands."""
    CONFLICT = "conflict"
    """Same identity, other spec; nothing was changed."""
    PARENT_MISSING = "parent missing"
    PARENT_ENDED = "parent ended"
    """The parent has ended or is being aborted: nobody would wait for this child."""
    OTHER_INCARNATION = "other incarnation"
    """The run belongs to another incarnation than was said."""
    SEALED = "sealed"
    """The run has ended and goes to the archive: nothing can be added to it."""
    NOT_HELD = "not held"
    """Its source is held no longer (`Holds.hold`): what it points to may be gone."""


class Created(msgspec.Struct, frozen=True):
    """The answer to one submission; `fields` names what differs in a conflict, `incarnation` the stored one."""

    outcome: CreateOutcome
    fields: tuple[str, ...] = ()
    incarnation: str = ""


class CreateReport(msgspec.Struct, frozen=True):
    """Answers in the order asked, and the shards that need a wake-up message."""

    outcomes: tuple[Created, ...]
    wake: tuple[int, ...]


class ClaimReport(msgspec.Struct, frozen=True):
    """The actions a step may work on.

    Attributes:
        now: the store's time of the claim.
        actions: the records, each with the fencing token of this claim.
        next_due: earliest due time of what was not claimed; 0 = nothing is waiting.
        arm: whether the caller has to send the countdown message for `next_due` (it is the one armed from now on).
    """

    now: int
    actions: list[TaskAction]
    next_due: int = 0
    arm: bool = False


class Write(msgspec.Struct, kw_only=True):
    """Everything one round changes of one action, in one atomic write (R6).

    Attributes:
        action: the record as it shall be.
        original: the record as it was claimed.
        status: whether the status is written.
        metadata: whether finalizers, labels and annotations are written.
        events: events to publish, in order; sequence numbers continue the record's.
        due: when to look again; 0 = never unless woken.
        refill_at: also look at it when at most this many children are open, and a moment after one has ended; 0 = do not.
        launch: from now on this launch may report, and stands in this line (`core.line`); None = leave as it is.
        asked: units of quotas the round asked for; not written, but given back when the record does not keep them.
    """

    action: TaskAction
    original: TaskAction
    status: bool = False
    metadata: bool = False
    events: list[ActionEvent] = []
    due: int = 0
    refill_at: int = 0
    launch: tuple[str, str] | None = None
    asked: list[QuotaLease] = []


class CommitOutcome(enum.Enum):
    """The result of one write."""

    DONE = "done"
    SUPERSEDED = "superseded"
    """Nothing was written: a newer claim holds the action, or it has ended.

    Or a launch that is given up has changed hands or has ended since the claim: then the action is due at once.
    """
    GONE = "gone"


class CommitReport(msgspec.Struct, frozen=True):
    """Outcomes in the order asked; `next_due`, `arm` as in `ClaimReport`; `opened`: lines to announce, empty before."""

    now: int
    outcomes: tuple[CommitOutcome, ...]
    next_due: int = 0
    arm: bool = False
    opened: tuple[Head, ...] = ()


class Finished(msgspec.Struct, frozen=True):
    """The reported end of one launch.

    Attributes:
        action, launch: whose.
        outcome: how; its time is the store's.
        incarnation: of the action that was started; empty = not known.
    """

    action: ActionId
    launch: str
    outcome: AttemptOutcome
    incarnation: str = ""


class Late(msgspec.Struct, frozen=True):
    """A shard that needs a message.

    Attributes:
        shard: which one.
        overdue: whether something is due for longer than the grace; else it needs the countdown for `next_due`.
        next_due: earliest due time.
        now: the store's time.
    """

    shard: int
    overdue: bool
    next_due: int
    now: int


class Look(msgspec.Struct, frozen=True):
    """The result of a look at all shards: those that need a message, and lines with launches (if many, some of them)."""

    late: tuple[Late, ...] = ()
    lines: tuple[Head, ...] = ()


class StartRefused(enum.Enum):
    """The reason why a worker may not run an attempt."""

    GONE = "gone"
    ENDED = "ended"
    ABORTING = "aborting"
    SUPERSEDED = "superseded"
    TAKEN = "taken"
    """Another delivery of the same launch was started before."""


class AbortOutcome(enum.Enum):
    """The result of a request to abort."""

    REQUESTED = "requested"
    ALREADY = "already requested"
    ENDED = "ended before"
    MISSING = "missing"


class AbortReport(msgspec.Struct, frozen=True):
    """Outcome for the action named, how many descendants were marked, and the shards that need a message."""

    outcome: AbortOutcome
    descendants: int
    wake: tuple[int, ...]


class SignalOutcome(enum.Enum):
    """The result of a signal (R54)."""

    STORED = "stored"
    SAME = "same value before"
    OTHER = "other value before"
    ENDED = "ended"
    MISSING = "missing"
    NOT_A_CONDITION = "not a condition"


class Page(msgspec.Struct, frozen=True):
    """Part of a list; `next` continues it, empty = the end."""

    actions: list[TaskAction]
    next: str = ""


class ChannelEntry(msgspec.Struct, frozen=True):
    """One event of the results channel with its position in the shard's stream."""

    cursor: str
    event: ActionEvent


class Store(Archiving, Beats, Ended, Garbage, Functions, Holds, Lines, Steps, Protocol):
    """Records, due index, attempts and the results channel. Each verb raises `StoreUnavailable` while Redis is away."""

    shards: int

    def now(self) -> int:
        """Return the store's time, ms since the epoch."""

    def shard_of(self, run: RunId) -> int:
        """Compute the shard all keys of a run lie in."""

    # -- submitting ------------------------------------------------------------------------------------------------
    def create(
        self, actions: Sequence[TaskAction], *, until: int = 0, quiet: bool = False, begins: str = ""
    ) -> CreateReport:
        """Store new actions, due now, each with its first event. The first action of a run decides the incarnation of all.

        With `begins`, a run that is not there begins in this incarnation only: whoever was told of another one, which has
        been forgotten since, is answered with this one.

        A recovered action has ended at once, and needs no parent. With `until` nothing is stored after that time, ms.
        `quiet`: no message is asked for, as the caller takes the step of them.
        """

    def would_create(self, actions: Sequence[TaskAction], *, begins: str = "") -> tuple[Created, ...]:
        """Return what `create` would answer now, in the order asked; nothing is stored."""

    # -- stepping --------------------------------------------------------------------------------------------------
    def claim(
        self, shard: int, *, owner: str, limit: int, named: Sequence[ActionId] = (), first: bool = False
    ) -> ClaimReport:
        """Take due actions of a shard for one step, the named ones first, due or not.

        A claim sets a lease and raises the fencing token; for a task it also stores the finalizer, so that nothing can
        be launched without its clean-up being owed (R24). `first` clears the shard's pending mark.
        """

    def commit(self, shard: int, writes: Sequence[Write]) -> CommitReport:
        """Write the results of a step, each under its token, and release the claims.

        An action that ends while children of it are open keeps its finalizer and is due at once: the round that follows
        ends them, even if the committing process dies before (R40).
        """

    def wake(self, actions: Iterable[ActionId], at: int = 0) -> tuple[int, ...]:
        """Make actions due at `at` (0 = now); a claimed one becomes due when its step ends. Returns shards to message."""

    def look(self, grace: int, *, anew: bool = False) -> Look:
        """Tell which shards need a message, and which lines have launches.

        A shard is overdue when something is due for longer than `grace` ms. Each overdue one is marked as having a message
        on its way; each other one has to get the countdown, once. With `anew` it has to get one again, because the
        message may have died with its worker.
        """

    def nudge(self, shard: int) -> bool:
        """Tell whether something is due and no message is on its way; the caller must then send one."""

    def due(self, shard: int, limit: int = 1000) -> list[tuple[ActionId, int]]:
        """Read the due index of a shard, earliest first."""

    # -- attempts --------------------------------------------------------------------------------------------------
    # `incarnation`: the one the caller knows of; of another one he is refused. Empty: a message of a release before.
    def start_attempt(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> TaskAction | StartRefused:
        """Take the lease of a launch; at most one worker ever gets it. The returned record has no counts of children."""

    def finish_attempts(self, shard: int, owner: str, finished: Sequence[Finished]) -> tuple[bool, ...]:
        """Record how attempts of one worker ended, and make their actions due; False for each that was superseded."""

    def conclude(self, shard: int, owner: str, ends: Sequence[Concluded]) -> ConcludeReport:
        """Record how attempts of one worker ended and commit their steps: `finish_attempts`, `claim` and `commit` in one.

        A step is committed where the record is as it was drawn. Elsewhere it is as if `finish_attempts` had been called.
        """

    def decline_attempt(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        why: str,
        delay: int,
        unfit: str = "",
        lacks: str = "",
        incarnation: str = "",
    ) -> bool:
        """Hand back a launch that cannot run here: it is due in `delay` ms to be sent again; False when superseded.

        `unfit`, `lacks`: see `HandBack`.
        """

    def stop_attempt(self, action: ActionId, reason: str, *, incarnation: str = "") -> None:
        """Ask the running attempt to stop; its next heartbeat tells it so."""

    # -- asking ----------------------------------------------------------------------------------------------------
    def request_abort(
        self, action: ActionId, deletion: Deletion, *, quiet: bool = False, incarnation: str = ""
    ) -> AbortReport:
        """Store the request to abort an action and all below it, due now (R40). `quiet`: ask for no message."""

    def signal(self, action: ActionId, signal: Signal, *, incarnation: str = "") -> SignalOutcome:
        """Store the answer to a condition, at most once, due now. The caller sends a wake-up, also after a repetition."""

    # -- queries ---------------------------------------------------------------------------------------------------
    def get(self, action: ActionId) -> TaskAction | None:
        """Read one record; None when there is none."""

    def get_many(self, actions: Sequence[ActionId]) -> list[TaskAction | None]:
        """Read many records in few round trips, in the order asked."""

    def list_actions(
        self, run: RunId, *, parent: str | None = None, after: str = "", limit: int = 500
    ) -> Page:
        """List actions by parent and name (`m2` before `m10`), or direct children. A page costs a look at all names."""

    def list_runs(self, limit: int = 50, before: int | RunSummary = 0) -> list[RunSummary]:
        """List runs, newest first; of one millisecond, those that come last in the alphabet first.

        With `before` only those created earlier (ms since the epoch), or those behind a run of an earlier page.
        """

    def list_asking(self, limit: int = 1000) -> Asking:
        """List actions that wait for a person (phase paused), those that began last first, and count all of them."""

    def counts(self, run: RunId) -> RunCounts | None:
        """Count the actions of a run by phase; None when there is no such run."""

    def events(self, action: ActionId, after: int = 0) -> list[ActionEvent]:
        """Read the events of one action with a sequence above `after`, as far as retention still holds them."""

    def channel(self, shard: int, after: str = "0-0", limit: int = 1000) -> list[ChannelEntry]:
        """Read the results channel of a shard from a cursor on."""

    def subscribe(
        self, run: RunId, callback: Callable[[], None], *, end_of: str = ""
    ) -> AbstractContextManager[None]:
        """Call `callback` whenever something of the run was committed, from now until the context ends.

        With `end_of` (the name of an action, or `ANY`), only after the end of that action, or of any; also when an end may
        have come while nobody listened.
        """

    # -- keeping house ---------------------------------------------------------------------------------------------
    def trim_events(self, before: int, *, spilled: bool = False) -> int:
        """Drop events older than `before`, with `spilled` only those before `set_spilled`; returns how many."""

    def record_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Attach warnings for operators; the newest 1000 of a shard are kept."""

    def audit(self, shard: int) -> list[AuditEntry]:
        """Read the warnings of a shard, oldest first."""
