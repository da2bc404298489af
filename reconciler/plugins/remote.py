"""Work at a remote service: submit it, poll it, take its end (R72). Subclass `RemotePlugin`, as in docs/testing.md.

Handles run in the handle threads of a step, since `create` and `get` wait for the service. There is no refresh in the
background (R72): each look at the record polls once, and failed looks are counted in the record, so that a restart
forgets nothing and two workers never poll the same resource.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Generic, TypeVar

import msgspec

from reconciler import metrics
from reconciler.api.errors import PluginError
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import (
    PhaseInfo,
    TaskInfo,
    Transition,
    failed,
    queued,
    retryable_failure,
    system_retryable_failure,
    waiting_for_resources,
)
from reconciler.core.counted import counted
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation, Constraints
from reconciler.plugins.remote_state import (
    STATE_VERSION,
    RemoteConfig,
    RemotePhase,
    RemoteState,
    known_meta,
    read_meta,
    read_state,
    remote_phase,
    write_meta,
)

Meta = TypeVar("Meta")
Resource = TypeVar("Resource")
replace = msgspec.structs.replace

SYNC_FAILED = "ResourceSyncFailed"
"""Code of a resource that could not be looked at too often in a row."""
_UNDERWAY = frozenset({PluginPhase.WAITING_FOR_RESOURCES, PluginPhase.INITIALIZING, PluginPhase.RUNNING})


class TaskRefused(PluginError):
    """Raised by `create` when the service refuses the task by the user's fault. Another attempt may help: spends a retry.

    Raise `BadTaskSpecification` when none can. Every other error of `create` is the platform's (R72).
    """

    code = "TaskFailedWithError"


class Created(msgspec.Struct, Generic[Meta, Resource], frozen=True):
    """The result of `create`.

    Attributes:
        meta: how the service calls it; stored in the record as JSON, so small and without secrets (R71).
        resource: what the service says of it, if it said so at once.
    """

    meta: Meta
    resource: Resource | None = None


class RemotePlugin(Plugin, Generic[Meta, Resource]):
    """Base of plugins for services. `Meta` names a resource at the service, `Resource` is the service's answer about it.

    Calls of the service need a time limit below half of `RECONCILER_STEP_LEASE`: after that, another step may take the
    action, and what a late `create` makes could stay after an abort. Secrets are resolved in each call with `ctx.secret`.
    An error of `create` that means "does not answer, or not now" is best raised as `Unavailable`.

    Attributes:
        meta_type: the type `Meta`; anything msgspec can decode.
        config: how to poll.
    """

    meta_type: ClassVar[type]
    config: RemoteConfig = RemoteConfig()

    # -- what a service is asked -----------------------------------------------------------------------------------
    def resource_requirements(self, ctx: TaskExecutionContext) -> tuple[str, Constraints] | None:
        """Name the quota this launch needs a unit of, and its caps; None, the default, needs none.

        The quota itself is declared in `RECONCILER_QUOTAS`. Its unit is held from before `create` until the launch has been
        stopped or the action has ended.
        """
        del ctx
        return None

    def create(self, ctx: TaskExecutionContext) -> Created[Meta, Resource]:
        """Submit the work under `self.key(ctx)`.

        Called at least once for each launch: a worker that dies before its round was stored, or an answer that got lost,
        leads to another call with the same key, which must give the same resource.

        Raises:
            TaskRefused: the user's fault; spends a retry.
            BadTaskSpecification: the user's fault, and no retry can help.
            Exception: anything else is a system failure, and `create` is called again; `Unavailable` is not even counted.
        """
        raise NotImplementedError

    def get(self, ctx: TaskExecutionContext, meta: Meta) -> Resource:
        """Ask the service once.

        Raises:
            Exception: any exception is a failed look, see `RemoteConfig.max_sync_failures`. Its text is stored.
        """
        raise NotImplementedError

    def status(self, ctx: TaskExecutionContext, meta: Meta, resource: Resource) -> PhaseInfo:
        """Tell which phase a resource is in, without calling the service; may store outputs with `ctx.files.write_outputs`.

        After a success without outputs, what the work itself wrote below `ctx.files.prefix` counts; an error there wins.
        A `requeue_at` replaces the time of the next look. NotReady means that it must be created again.
        """
        raise NotImplementedError

    def delete(self, ctx: TaskExecutionContext, meta: Meta | None, reason: str) -> None:
        """Stop the work and forget it. Succeeds also when it is gone or was never there; may be called again.

        Args:
            ctx: of the launch.
            meta: None when it is not known: the worker died after `create`, or nothing was created. `self.key(ctx)` is.
            reason: for people.

        Raises:
            StillStopping: asked, but not yet over.
            Exception: any other exception: it is called again, a bounded number of times.
        """
        raise NotImplementedError

    @staticmethod
    def key(ctx: TaskExecutionContext) -> str:
        """Compute the idempotency key of this launch: 32 hexadecimal digits, the same in each call and in no other launch.

        Unlike `ctx.generated_name`, which is meant for people, it also differs between projects, and from earlier actions
        with the same name.
        """
        parts = (str(ctx.action.id), ctx.launch, str(ctx.action.metadata.creation_timestamp))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    # -- the state machine (R72) -----------------------------------------------------------------------------
    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Get a unit of the quota, create, look.

        Raises:
            CorruptedPluginState: the stored state cannot be decoded.
        """
        state = read_state(ctx.state)
        if state.phase is RemotePhase.NOT_STARTED:
            needed = self.resource_requirements(ctx)
            return Transition(_allocate(ctx, state, *needed) if needed else self._launch(ctx))
        if state.phase is RemotePhase.ALLOCATION_TOKEN_ACQUIRED:
            return Transition(self._launch(ctx))
        # also after an end that was stored: the service says the same again (R72)
        return Transition(self._monitor(ctx, state))

    def _launch(self, ctx: TaskExecutionContext) -> PhaseInfo:
        try:
            created = self.create(ctx)
        except TaskRefused as error:
            return retryable_failure(error.code, str(error))
        state = RemoteState(RemotePhase.RESOURCES_CREATED, write_meta(created.meta))
        if created.resource is not None:
            info = self._seen(ctx, state, created.meta, created.resource)
            if info.phase.is_terminal():
                return info
        ctx.state.put(STATE_VERSION, state)
        return replace(queued(ctx.now, 2, "launched"), requeue_at=ctx.now)

    def _monitor(self, ctx: TaskExecutionContext, state: RemoteState) -> PhaseInfo:
        meta: Meta = read_meta(state, self.meta_type)
        try:
            resource = self.get(ctx, meta)
        except Exception as error:  # noqa: BLE001  # a service's client may raise anything; looks are counted
            return self._unseen(ctx, state, error)
        return self._seen(ctx, state, meta, resource)

    def _seen(
        self, ctx: TaskExecutionContext, state: RemoteState, meta: Meta, resource: Resource
    ) -> PhaseInfo:
        """Note what the service says, and that the last look did not fail (R72)."""
        info = self.status(ctx, meta, resource)
        metrics.looked(info.phase.label)
        if info.phase.is_success():
            info = _with_files(ctx, info)
        ctx.state.put(STATE_VERSION, RemoteState(remote_phase(info.phase), state.meta))
        return info if info.requeue_at else replace(info, requeue_at=ctx.now + self.config.resync)

    def _unseen(self, ctx: TaskExecutionContext, state: RemoteState, error: Exception) -> PhaseInfo:
        """Keep the phase after a failed look; one failure too many is the platform's failure (R72)."""
        failures, limit = state.sync_failures + 1, self.config.max_sync_failures
        text = f"{type(error).__name__}: {error}"
        if failures > limit:
            return system_retryable_failure(
                SYNC_FAILED, f"the service could not be asked {counted(failures, 'time')} in a row: {text}"
            )
        ctx.state.put(STATE_VERSION, replace(state, sync_failures=failures))
        stored = PluginPhase.from_label(ctx.action.status.plugin_phase)
        return PhaseInfo(
            phase=stored if stored in _UNDERWAY else PluginPhase.QUEUED,
            version=ctx.action.status.plugin_phase_version,
            info=TaskInfo(occurred_at=ctx.now),
            reason=f"the service could not be asked, {failures} of {limit} times that are borne: {text}",
            requeue_at=ctx.now + self.config.resync,
        )

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Delete the resource, whatever is known about it (R72).

        Raises:
            StillStopping: asked, but not yet over.
            Exception: what `delete` raises.
        """
        deletion = ctx.action.metadata.deletion
        self._delete(ctx, deletion.reason if deletion and deletion.reason else "Aborted")

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """Delete what may be left after the action; the engine releases the unit of the quota (R72).

        After a system failure, work may be left at the service whose end nobody has seen.
        """
        if ctx.action.is_terminal and not _ended(ctx):
            self._delete(ctx, "the action has ended")

    def _delete(self, ctx: TaskExecutionContext, reason: str) -> None:
        meta: Meta | None = known_meta(ctx.state, self.meta_type)
        self.delete(ctx, meta, reason)


def _allocate(
    ctx: TaskExecutionContext, state: RemoteState, resource: str, constraints: Constraints
) -> PhaseInfo:
    """Get a unit of a quota (R70). The cap of a project is waited for like the quota itself (R70)."""
    answer = ctx.allocate(resource, constraints=constraints)
    if answer.allocation is not Allocation.GRANTED:
        ctx.state.put(STATE_VERSION, state)
        if answer.allocation is Allocation.UNKNOWN:
            return ctx.wait_for(resource, answer)
        info = waiting_for_resources(ctx.now, 0, "Quota for task has exceeded. Waiting for the resource.")
        return replace(info, requeue_at=answer.look_at)
    ctx.state.put(STATE_VERSION, replace(state, phase=RemotePhase.ALLOCATION_TOKEN_ACQUIRED))
    return replace(queued(ctx.now, 0, "Allocation token required"), requeue_at=ctx.now)


def _with_files(ctx: TaskExecutionContext, info: PhaseInfo) -> PhaseInfo:
    """Add to a success what the work wrote by itself (R72)."""
    if info.info is not None and info.info.outputs is not None:
        return info
    if ctx.files.has_error():
        error, recoverable = ctx.files.read_error()
        phase = PluginPhase.RETRYABLE_FAILURE if recoverable else PluginPhase.PERMANENT_FAILURE
        return failed(phase, error, info.info)
    if not ctx.files.outputs_exist():
        return info
    details = info.info or TaskInfo(occurred_at=ctx.now)
    return replace(info, info=replace(details, outputs=ctx.files.output_ref()))


def _ended(ctx: TaskExecutionContext) -> bool:
    """Tell whether the service said, in a stored round, that the resource has ended."""
    try:
        return read_state(ctx.state).phase.ended
    except PluginError:
        return False
