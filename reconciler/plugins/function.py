"""`function`: runs a Python function in an attempts worker and observes it through the record (design 5).

handle sends a launch and later looks: not started, running under a live lease, silent, or ended with an outcome. The worker
drives the next step itself, so nothing here polls; due times only catch what died.
"""

from __future__ import annotations

import msgspec

from reconciler.api.action import AttemptOutcome
from reconciler.api.errors import BadTaskSpecification
from reconciler.api.transition import (
    LogLink,
    PhaseInfo,
    TaskInfo,
    Transition,
    failure,
    queued,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.core.retries import WORKER_LOST
from reconciler.plugins.base import Plugin, PluginProperties, StillStopping
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation
from reconciler.plugins.registry import PluginEntry

TASK_TYPE = "function"
_LOOK_WHILE_RUNNING = 600_000
"""How soon to look at a running attempt that nothing wakes, ms: the store itself watches the end of its lease."""
_SEND_AGAIN = 10_000
_LOOK_AT_MOST = 60_000
"""Between two looks at a launch that waits for long, ms."""
_ASK_AGAIN = 500
_RELAUNCH_AFTER = (0, 1000, 2000, 4000)
"""Delay of a relaunch after a worker was lost, by the number of system failures before it, ms: it is rarely the action."""


class FunctionConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`custom` of a function's template: its stored name, the queue of its workers, and the units of a quota it needs."""

    function: str
    queue: str = ""
    resource: str = ""
    units: int = 1


class _Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a launch was sent and looked at, how far its queue had moved then, and when to look next."""

    times: int
    looks: int = 0
    moved: int = 0
    look: int = 0


def config_of(custom: dict[str, object]) -> FunctionConfig:
    """Read `custom`.

    Raises:
        BadTaskSpecification: it names no function.
    """
    try:
        return msgspec.convert(custom, FunctionConfig)
    except msgspec.ValidationError as error:
        raise BadTaskSpecification(
            f"the template of a function must name it in custom.function: {error}"
        ) from error


class FunctionPlugin(Plugin):
    """Launches an attempt as a message and follows its lease."""

    id = TASK_TYPE
    properties = PluginProperties(inline=True)

    def __init__(self, queue: str) -> None:
        self._queue = queue

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Send the launch, or say how it goes."""
        attempt = ctx.attempt
        config = config_of(ctx.template.custom)
        queue = config.queue or self._queue
        if attempt.launch != ctx.launch:
            if config.resource:
                answer = ctx.allocate(config.resource, config.units)
                if answer.allocation is not Allocation.GRANTED:
                    return Transition(ctx.wait_for(config.resource, answer))
            ctx.send(queue)
            sent = _Sent(1, look=ctx.now + _SEND_AGAIN)
            ctx.state.put(1, sent)
            return Transition(self._waiting(ctx, queue, sent))
        if attempt.outcome is not None:
            return Transition(_ended(attempt.outcome))
        if not attempt.owner:
            return Transition(self._not_started(ctx, queue))
        if ctx.now < attempt.lease_until:
            return Transition(_running(ctx))
        silent = (ctx.now - attempt.lease_until) / 1000
        return Transition(
            msgspec.structs.replace(
                system_retryable_failure(
                    WORKER_LOST, f"worker {attempt.owner} vanished: its lease ran out {silent:.1f} s ago"
                ),
                requeue_at=ctx.now + _RELAUNCH_AFTER[min(ctx.action.status.system_failures, 3)],
            )
        )

    def _not_started(self, ctx: TaskExecutionContext, queue: str) -> PhaseInfo:
        """In line, or lost? Queues are first in, first out, so younger launches that started tell.

        Overtaken by one: lost, send it again. The queue has moved since the last look, up to older ones: in line. It has
        not moved at all: perhaps lost, perhaps nobody serves it; send it again, ever more seldom.
        """
        sent = ctx.state.get(_Sent) or _Sent(1)
        moved = ctx.attempt.queue_moved_at
        if ctx.now < sent.look:
            return self._waiting(ctx, queue, sent)
        pause = min(_SEND_AGAIN * 2 ** min(sent.looks, 16), _LOOK_AT_MOST)
        if moved > ctx.attempt.sent_at or moved == sent.moved:
            ctx.send(queue)
            sent = _Sent(sent.times + 1, sent.looks + 1, moved, ctx.now + pause)
        else:
            sent = _Sent(sent.times, sent.looks + 1, moved, ctx.now + pause)
        ctx.state.put(1, sent)
        return self._waiting(ctx, queue, sent)

    @staticmethod
    def _waiting(ctx: TaskExecutionContext, queue: str, sent: _Sent) -> PhaseInfo:
        again = f", sent {sent.times} times" if sent.times > 1 else ""
        info = queued(ctx.now, sent.times - 1, f'waiting for a worker of queue "{queue}"{again}')
        return msgspec.structs.replace(info, requeue_at=sent.look)

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Ask the worker to stop and wait until it did, or until its lease ran out; a launch not taken is fenced off.

        Raises:
            StillStopping: the function still runs.
        """
        attempt = ctx.attempt
        if attempt.launch != ctx.launch or not attempt.owner or attempt.outcome is not None:
            return
        if ctx.now >= attempt.lease_until:
            return
        if not attempt.stop:
            deletion = ctx.action.metadata.deletion
            ctx.services.stop_attempt(ctx.action, deletion.reason if deletion else "aborted")
        raise StillStopping(ctx.now + _ASK_AGAIN, f"attempt {ctx.launch} on {attempt.owner}")


def _running(ctx: TaskExecutionContext) -> PhaseInfo:
    info = TaskInfo(occurred_at=ctx.attempt.started_at, log_context={"worker": ctx.attempt.owner})
    return running(0, info, requeue_at=ctx.now + _LOOK_WHILE_RUNNING)


def _ended(outcome: AttemptOutcome) -> PhaseInfo:
    logs = (LogLink("log", outcome.log_uri),) if outcome.log_uri else ()
    info = TaskInfo(occurred_at=outcome.at, logs=logs, outputs=outcome.outputs)
    if outcome.ended == "returned":
        return success(info)
    if outcome.ended == "unknown" or not outcome.retryable:
        return failure(outcome.code, outcome.message, info)
    if outcome.ended == "stopped" or outcome.code == "Interrupted":
        return system_retryable_failure(outcome.code or "Interrupted", outcome.message, info)
    return retryable_failure(outcome.code, outcome.message, info)


def entry(queue: str) -> PluginEntry:
    """The entry that sends to `queue` unless a template names another."""
    return PluginEntry(id=TASK_TYPE, task_types=(TASK_TYPE,), load=lambda: FunctionPlugin(queue))
