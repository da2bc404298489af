"""Builders and helpers of the conformance suite: actions, writes, waiting without sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from reconciler.api.action import CONDITION, ActionId, ActionSpec, AttemptOutcome, RunId, TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import ConditionStatus, ConditionType, Reason
from reconciler.core.line import Line
from reconciler.core.status_conditions import action_phase, set_condition
from reconciler.stores.base import (
    ClaimReport,
    CommitOutcome,
    CommitReport,
    CreateOutcome,
    Finished,
    Store,
    Write,
)

STEP_LEASE = 1_000
"""Lease of a step in both stores of the suite, ms: short, so that tests can see it run out."""
MAX_COUNTDOWN = 15_000
PENDING_TTL = 3_000
GRACE = 250
ATTEMPT_LEASE = 60_000
QUOTA_LEASE = 1_500
"""Short, for tests that see it run out; others have one that never does."""
RUN = RunId("p", "d", "r1")


LINE = Line("q", 5, alone=False, fair="p", function="f").name
"""Where launches of these tests stand."""
PassTime = Callable[[int], None]
AGES = 1_000_000_000_000
"""Numbers above are times. What is compared is some ms apart, so only the distance from now counts, in tens of minutes."""


def eventually(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    """Wait until `condition` holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.01)


def plain(value: Any, now: int) -> Any:
    """Write an answer down without the milliseconds by which two stores differ."""
    if isinstance(value, TaskAction):
        parts = {name: getattr(value, name) for name in TaskAction.__slots__ if name != "now"}
        return plain(parts, now)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"in {round((value - now) / 600_000)}0 min" if value > AGES else int(value)
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name), now) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): plain(one, now) for key, one in value.items()}
    return [plain(one, now) for one in value] if isinstance(value, list | tuple) else value


def make_action(
    name: str = "a0",
    *,
    run: RunId = RUN,
    parent: str | None = None,
    condition: bool = False,
    template: bytes = b"template",
    inputs: bytes = b"{}",
    env: dict[str, str] | None = None,
) -> TaskAction:
    """Return a submission."""
    id_ = ActionId(run.project, run.domain, run.run, name)
    spec = ActionSpec(
        run_name=run.run,
        project=run.project,
        domain=run.domain,
        action_name=name,
        parent_action_name=parent,
        action_type=CONDITION if condition else "task",
        condition_spec=b"{}" if condition else b"",
        input_uri="inline:",
        inputs=inputs,
        run_output_base="s3://bucket/base",
        task_type="echo",
        task_template=template,
        env_vars=env or {},
    )
    return TaskAction(id_, spec)


def created(store: Store, *actions: TaskAction) -> int:
    """Create actions that are all new; returns the shard of the first."""
    report = store.create(actions)
    assert {one.outcome for one in report.outcomes} == {CreateOutcome.CREATED}
    return shard_of(store, actions[0])


def shard_of(store: Store, action: TaskAction) -> int:
    """Return the shard of an action."""
    return store.shard_of(action.id.run_id)


def claim(store: Store, action: TaskAction, *, first: bool = False) -> ClaimReport:
    """Claim an action by name."""
    return store.claim(shard_of(store, action), owner="step", limit=1, named=[action.id], first=first)


def claimed(store: Store, action: TaskAction) -> TaskAction:
    """Return the record of an action that can be claimed by name."""
    report = claim(store, action)
    found = [one for one in report.actions if one.id == action.id]
    assert found, f"{action.id} could not be claimed"
    return found[0]


def due_time(store: Store, action: TaskAction) -> int | None:
    """When an action is due; None when it is not."""
    return dict(store.due(shard_of(store, action), limit=10_000)).get(action.id)


def event(action: TaskAction, phase: ActionPhase, *, offset: int = 1) -> ActionEvent:
    """Return the next event of a claimed action."""
    return ActionEvent(
        id=action.id, sequence=action.events + offset, phase=phase, final=phase.is_terminal(), updated_time=1
    )


def status_in(phase: ActionPhase, now: int) -> ActionStatus:
    """Return a status whose conditions mean this phase."""
    status = ActionStatus(attempts=1)
    if phase is ActionPhase.PAUSED:
        return set_condition(
            status, ConditionType.PROGRESSING, ConditionStatus.TRUE, Reason.PAUSED, "asks", now
        )
    if phase is ActionPhase.RUNNING:
        status = ActionStatus(attempts=1, plugin_phase=PluginPhase.RUNNING.label)
        return set_condition(
            status, ConditionType.PROGRESSING, ConditionStatus.TRUE, Reason.EXECUTING, "runs", now
        )
    kind, reason = {
        ActionPhase.SUCCEEDED: (ConditionType.SUCCEEDED, Reason.COMPLETED),
        ActionPhase.FAILED: (ConditionType.FAILED, Reason.PERMANENT_FAILURE),
        ActionPhase.ABORTED: (ConditionType.FAILED, Reason.ABORTED),
    }[phase]
    status = set_condition(status, ConditionType.PROGRESSING, ConditionStatus.FALSE, reason, "ended", now)
    return set_condition(status, kind, ConditionStatus.TRUE, reason, "ended", now)


def phase_write(
    action: TaskAction,
    phase: ActionPhase,
    *,
    due: int = 0,
    launch: tuple[str, str] | None = None,
    keep_finalizer: bool = False,
) -> Write:
    """Move a claimed action to a phase, with one event; an end drops the finalizer unless it is kept."""
    changed = action.copy()
    changed.status = status_in(phase, action.now)
    assert action_phase(changed.status) is phase
    if phase.is_terminal() and not keep_finalizer:
        changed.set_metadata(finalizers=(), completed_at=action.now)
    return Write(
        action=changed,
        original=action,
        status=True,
        metadata=phase.is_terminal(),
        events=[event(action, phase)],
        due=due,
        launch=launch,
    )


def success_write(action: TaskAction, *, due: int = 0, keep_finalizer: bool = False) -> Write:
    """End a claimed action well."""
    return phase_write(action, ActionPhase.SUCCEEDED, due=due, keep_finalizer=keep_finalizer)


def release_write(action: TaskAction, due: int = 0, launch: tuple[str, str] | None = None) -> Write:
    """Give a claim back without a change."""
    return Write(action=action.copy(), original=action, due=due, launch=launch)


def committed(store: Store, write: Write) -> CommitReport:
    """Commit one write that must be accepted."""
    report = store.commit(shard_of(store, write.action), [write])
    assert report.outcomes == (CommitOutcome.DONE,)
    return report


def finish(store: Store, action: TaskAction, phase: ActionPhase = ActionPhase.SUCCEEDED) -> None:
    """Claim an action and end it."""
    committed(store, phase_write(claimed(store, action), phase))


def settle(store: Store, action: TaskAction) -> None:
    """Pay what an ended action owes: drop its finalizer."""
    record = claimed(store, action)
    original = record.copy()
    record.set_metadata(finalizers=())
    committed(store, Write(action=record, original=original, metadata=True))


def launched(
    store: Store, action: TaskAction, *, due: int = 0, launch: str = "1", line: str = LINE
) -> CommitReport:
    """Create an action and commit its launch."""
    created(store, action)
    write = phase_write(claimed(store, action), ActionPhase.RUNNING, due=due, launch=(launch, line))
    return committed(store, write)


def started(store: Store, action: TaskAction, *, owner: str = "w1", launch: str = "1") -> TaskAction:
    """Start the attempt of a launched action."""
    record = store.start_attempt(action.id, launch, owner=owner, lease=ATTEMPT_LEASE)
    assert isinstance(record, TaskAction), f"refused: {record}"
    return record


def reported(
    store: Store,
    action: TaskAction,
    outcome: AttemptOutcome,
    *,
    owner: str = "w1",
    launch: str = "1",
    incarnation: str = "",
) -> bool:
    """Report how one attempt ended; whether it was taken."""
    (taken,) = store.finish_attempts(
        shard_of(store, action), owner, [Finished(action.id, launch, outcome, incarnation)]
    )
    return taken


def get(store: Store, action: TaskAction) -> TaskAction:
    """Return the stored record of an action."""
    record = store.get(action.id)
    assert record is not None, f"{action.id} is not stored"
    return record
