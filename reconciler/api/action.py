"""Define what an action *is*: identity, spec (asked for, never changes), status (observed), metadata (R9).

Records are immutable; a reconcile replaces parts of its own `TaskAction` and keeps the untouched original for
comparison. Times are milliseconds since the epoch, UTC, by the store's clock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from reconciler.api.attempt import SUSPENDED, AttemptOutcome, AttemptRecord
from reconciler.api.audit import Ruling, Who
from reconciler.api.errors import InvalidName
from reconciler.api.lineage import Lineage
from reconciler.api.names import check_name
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.api.stamps import completed_label, second
from reconciler.api.status import ActionStatus, is_terminal
from reconciler.api.tokens import UNCLAIMED, FencingToken

__all__ = [
    "CONDITION", "DONE", "FINALIZER", "SUSPENDED", "TASK", "ActionId", "ActionSpec", "AttemptOutcome", "AttemptRecord",
    "Children", "Deletion", "Metadata", "Result", "RunId", "Signal", "TaskAction", "record_name",
]  # fmt: skip

FINALIZER = "flyte.org/plugin-finalizer"
"""Clean-up owed by this reconciler before an action may be forgotten (R8)."""
LABEL_TERMINATION_STATUS = "flyte.org/termination-status"
LABEL_COMPLETED_TIME = "flyte.org/completed-time"
TERMINATED = "terminated"
TASK = "task"
CONDITION = "condition"


class ActionId(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Identity of an action. All keys, paths and subscriptions carry all four parts (R9)."""

    project: str
    domain: str
    run: str
    action: str

    def __str__(self) -> str:
        return f"{self.project}/{self.domain}/{self.run}/{self.action}"

    @property
    def path(self) -> str:
        """`project/domain/run/action`: how an action is written everywhere."""
        return str(self)

    @property
    def run_id(self) -> RunId:
        """The run this action belongs to."""
        return RunId(self.project, self.domain, self.run)

    def checked(self) -> ActionId:
        """Return this identity when each part keeps the rule of names.

        Raises:
            InvalidName: names the part and the rule.
        """
        _check_run(self.project, self.domain, self.run)
        check_name("action", self.action)
        return self

    @classmethod
    def parse(cls, path: str) -> ActionId:
        """Read `project/domain/run/action`.

        Raises:
            InvalidName: not four parts, or a part breaks the rule of names.
        """
        parts = path.split("/")
        if len(parts) != 4:
            raise InvalidName(f"{path!r} is no action; write project/domain/run/action")
        return cls(*parts).checked()


def _check_run(project: str, domain: str, run: str) -> None:
    """Check the three names all actions of a run share, once: a submission has many.

    Raises:
        InvalidName: names the part and the rule.
    """
    if type(project) is type(domain) is type(run) is str:
        _check_names(project, domain, run)
    else:
        _check_names.__wrapped__(project, domain, run)


@lru_cache(maxsize=256)
def _check_names(project: str, domain: str, run: str) -> None:
    check_name("project", project)
    check_name("domain", domain)
    check_name("run", run)


class RunId(msgspec.Struct, frozen=True, order=True, gc=False):
    """Identity of a run: the tree of actions started by one submission."""

    project: str
    domain: str
    run: str

    def __str__(self) -> str:
        return f"{self.project}/{self.domain}/{self.run}"

    def checked(self) -> RunId:
        """Return this identity when each part keeps the rule of names.

        Raises:
            InvalidName: names the part and the rule.
        """
        _check_run(self.project, self.domain, self.run)
        return self

    def action(self, name: str) -> ActionId:
        """Name the action of this run that has this name."""
        return ActionId(self.project, self.domain, self.run, name)

    @classmethod
    def parse(cls, path: str) -> RunId:
        """Read `project/domain/run`.

        Raises:
            InvalidName: not three parts, or a part breaks the rule of names.
        """
        parts = path.split("/")
        if len(parts) != 3:
            raise InvalidName(f"{path!r} is no run; write project/domain/run")
        return cls(*parts).checked()


class ActionSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The request of a caller (R10). `reconciler.core.validation` checks its limits where a spec is accepted."""

    run_name: str = ""
    project: str = ""
    domain: str = ""
    action_name: str = ""
    parent_action_name: str | None = None
    action_type: str = TASK
    """`task` or `condition`; empty means task."""
    condition_spec: bytes = b""
    input_uri: str = ""
    """Tell where the inputs lie: a folder, or a path that ends in `/inputs.pb`; `inline:` when `inputs` holds them."""
    inputs: bytes | None = None
    """Small inputs themselves, as the JSON document that would lie at `input_uri`."""
    inputs_digest: str = ""
    """SHA-256 (hex) of inputs that lie in S3; checked on read."""
    run_output_base: str = ""
    cache_key: str = ""
    """The cache version given by the submitter (R49)."""
    inputs_hash: str = ""
    """Hash of the inputs less the ignored ones, made once when a cached task is submitted (R49)."""
    task_type: str = ""
    short_name: str = ""
    task_template: bytes = b""
    env_vars: dict[str, str] = {}
    interruptible: bool | None = None
    group: str = ""


class Deletion(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A stored request to end the action: `deletionTimestamp`, with reason and actor (R9, R38)."""

    at: int = 0
    reason: str = ""
    actor: str = ""
    door: str = ""


class Signal(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The answer to a condition; set once, never changed (R11, R54). `value` is a JSON scalar."""

    value: bool | int | float | str
    by: str = ""
    at: int = 0
    door: str = ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Identity in the store and what is attached to the record (R9)."""

    namespace: str
    name: str
    creation_timestamp: int = 0
    deletion: Deletion | None = None
    finalizers: tuple[str, ...] = ()
    extra_labels: dict[str, str] = {}
    """Labels beyond those that follow from the identity."""
    annotations: dict[str, str] = {}
    incarnation: str = ""
    """Which of all runs that ever had this name the action belongs to: drawn with the first action of a run, the same for
    all later ones. Empty for runs that a release before began."""
    completed_at: int = 0
    """Tell when the terminal labels were stamped for; 0 = they are not there (R36)."""
    priority: int = DEFAULT_PRIORITY
    """Whose launches go first in a queue, 0 (last) to 9 (first)."""
    fair_key: str = ""
    """Between whose values the workers of a queue take turns; empty = the project."""
    not_before: int = 0
    """Return when the first launch may be, ms; 0 = at once. Negative in a submission: this long after it is accepted."""
    expires_at: int = 0
    """Tell when the action is aborted unless it has begun, ms; 0 = never. Negative in a submission, as above."""
    submitted: Who | None = None
    prioritized: Ruling | None = None
    """Who submitted it (not said of what was submitted with an action above it), and gave it its priority last."""
    priorities: tuple[Ruling, ...] = ()
    """The priorities it was given, and by whom: the newest 20, oldest first."""
    traceparent: str = ""
    """Trace context it was submitted in (W3C), the same for all of a run; empty = none that is known (R93)."""
    lineage: Lineage | None = None
    """The origin of an action whose run was made of another one (`Client.rerun`, `recover`, `fork`)."""

    @property
    def may_begin_at(self) -> int:
        """Return when the action was accepted, or when it may begin if that is later, ms: time limits count from there."""
        return max(self.creation_timestamp, self.not_before)

    @property
    def deletion_timestamp(self) -> int:
        """Return when deletion was asked for, ms; 0 = it was not."""
        return self.deletion.at if self.deletion else 0


class Children(msgspec.Struct, frozen=True, gc=False):
    """The children of an action, counted by how far they are."""

    total: int = 0
    open: int = 0
    failed: int = 0


_NO_ATTEMPT = AttemptRecord()
_NO_CHILDREN = Children()


class TaskAction:
    """One record, as a reconcile works on it.

    Attributes:
        id: identity.
        spec: what was asked for.
        status: what was observed; replaced, never changed in place.
        metadata: labels, finalizers, deletion; replaced, never changed in place.
        signal: the answer to a condition, if any.
        version: grows by one with each commit.
        token: fencing token of the claim it was read under; 0 = read without a claim. events: number published so far.
        phase: the action phase last committed.
        attempt: the launch the plugin waits for.
        children: counts of its child actions.
        unknown: fields of newer releases, by part, written back untouched.
        abandoned: claims in a row before this one whose lease ended without a commit; says nothing when read without one.
        now: the store's time of the claim it was read under; 0 = read without a claim.
        archived: whether it was read from the archive, and not from the store.
    """

    archived: ClassVar[bool] = False
    __slots__ = (
        "abandoned", "attempt", "children", "events", "id", "metadata", "now", "phase", "signal", "spec", "status",
        "token", "unknown", "version",
    )  # fmt: skip

    def __init__(
        self,
        id: ActionId,  # noqa: A002  # the word of the field
        spec: ActionSpec,
        status: ActionStatus | None = None,
        metadata: Metadata | None = None,
        *,
        signal: Signal | None = None,
        version: int = 0,
        token: FencingToken = UNCLAIMED,
        events: int = 0,
        phase: ActionPhase = ActionPhase.QUEUED,
        attempt: AttemptRecord | None = None,
        children: Children | None = None,
        unknown: dict[str, dict[str, Any]] | None = None,
        now: int = 0,
        abandoned: int = 0,
    ) -> None:
        self.id = id
        self.spec = spec
        self.status = status or ActionStatus()
        self.metadata = metadata or Metadata(namespace="flyte", name=record_name(id, spec))
        self.signal = signal
        self.version = version
        self.token = token
        self.events = events
        self.phase = phase
        self.attempt = attempt or _NO_ATTEMPT
        self.children = children or _NO_CHILDREN
        self.unknown = unknown or {}
        self.now = now
        self.abandoned = abandoned

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.phase}>"

    def copy(self) -> TaskAction:
        """Copy the record. Parts are shared and never change in place, so a change of one is not seen in the other."""
        return _copy_slots(self, TaskAction.__new__(TaskAction))

    def set_status(self, **changes: Any) -> None:  # noqa: ANN401  # fields of ActionStatus
        """Replace fields of the status."""
        self.status = msgspec.structs.replace(self.status, **changes)

    def set_metadata(self, **changes: Any) -> None:  # noqa: ANN401  # fields of Metadata
        """Replace fields of the metadata."""
        self.metadata = msgspec.structs.replace(self.metadata, **changes)

    @property
    def is_terminal(self) -> bool:
        """Tell whether a condition says Succeeded or Failed (R12)."""
        return is_terminal(self.status)

    @property
    def labels(self) -> dict[str, str]:
        """All labels: those of the identity, the extra ones, and the terminal ones once stamped (R9, R36)."""
        labels = {
            "flyte.org/project": self.id.project,
            "flyte.org/domain": self.id.domain,
            "flyte.org/run": self.id.run,
            "flyte.org/action": self.id.action,
            "flyte.org/action-type": self.spec.action_type or TASK,
            "flyte.org/is-root": "false" if self.spec.parent_action_name else "true",
            **self.metadata.extra_labels,
        }
        if self.metadata.completed_at:
            labels[LABEL_TERMINATION_STATUS] = TERMINATED
            labels[LABEL_COMPLETED_TIME] = completed_label(self.metadata.completed_at)
        return labels

    @property
    def state_json(self) -> str:
        """The observability document of R11; empty before the first round."""
        if not self.status.state_at:
            return ""
        stamp = second(self.status.state_at)
        name = f"{self.spec.run_name}/{self.spec.action_name}"
        document = {"phase": self.status.plugin_phase, "actionId": name, "timestamp": stamp}
        return msgspec.json.encode(document).decode()


def _copy_slots(old: TaskAction, new: TaskAction) -> TaskAction:
    """Copy the slots one by one, written out: a loop over them cost a tenth of a round."""
    new.attempt, new.children, new.events, new.id = old.attempt, old.children, old.events, old.id
    new.metadata, new.now, new.phase, new.signal = old.metadata, old.now, old.phase, old.signal
    new.spec, new.status, new.token = old.spec, old.status, old.token
    new.unknown, new.version, new.abandoned = old.unknown, old.version, old.abandoned
    return new


def record_name(id: ActionId, spec: ActionSpec) -> str:  # noqa: A002  # the word of the field
    """Write `<run>-a0` for a root action, `<run>-<action>` for a child (R9)."""
    return f"{id.run}-{id.action}" if spec.parent_action_name else f"{id.run}-a0"


class Result(msgspec.Struct, frozen=True, gc=False):
    """The answer of a reconcile: when to call again.

    Attributes:
        requeue_after: when to look again, ms from now; None: not before something wakes the action.
        woken: whether the change just made wakes the action at once; `requeue_after` is the fallback then (R3).
    """

    requeue_after: int | None = None
    woken: bool = False


DONE = Result()
