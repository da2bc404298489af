"""`function`: runs a Python function in an attempts worker and observes it through the record (R74).

handle sends a launch and later looks: not started, running under a live lease, silent, or ended with an outcome. The worker
drives the next step itself, so nothing here polls; due times only catch what died.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.action import AttemptOutcome
from reconciler.api.errors import BadTaskSpecification, SecretUnavailable
from reconciler.api.hand_back import HandBack
from reconciler.api.transition import (
    ErrorKind,
    ExecutionError,
    LogLink,
    PhaseInfo,
    TaskInfo,
    Transition,
    failure,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
    system_retryable_failure,
)
from reconciler.core.attempts import GOES_ON
from reconciler.core.deadlines import RUNNING_TIMED_OUT, attempt_timed_out, expired, limits_of
from reconciler.core.retries import WORKER_LOST
from reconciler.core.starting_over import starts
from reconciler.plugins import suspension
from reconciler.plugins.base import Plugin, PluginProperties, StillStopping
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function_config import (
    NOT_KEPT,
    TASK_TYPE,
    FunctionConfig,
    Kept,
    config_of,
    config_problems,
)
from reconciler.plugins.managers import Allocation
from reconciler.plugins.registry import PluginEntry
from reconciler.stores.known import Known

__all__ = ["TASK_TYPE", "FunctionConfig", "FunctionPlugin", "config_of", "entry"]

_LOOK_WHILE_RUNNING = 600_000
"""How soon to look at a running attempt that nothing wakes, ms: the store itself watches the end of its lease."""
_LOOK_WHILE_WAITING = 3_600_000
"""How soon to look at a launch that stands in line and that nothing wakes, ms."""
UNKNOWN_FUNCTION = "UnknownFunction"
"""Code of an action whose function no worker of its queue has known for as long as the installation waits."""
_PATIENCE = timedelta(minutes=10)
_LOOK_FOR_FUNCTION = 1_000
_LOOK_FOR_FUNCTION_AT_MOST = 30_000
"""Between two looks whether a worker knows a function that none did, ms: as long as it has waited, between these."""
_REMEDY = "name the module that declares it in RECONCILER_IMPORTS of its workers and restart them, or start one that has it"
_REMEDY_UNFIT = "start a worker of that release"
_RELAUNCH_AFTER = (0, 1000, 2000, 4000)
"""Delay of a relaunch after a worker was lost, by the number of system failures before it, ms: it is rarely the action."""


class _Sent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state kept of a launch that was sent and not taken.

    Attributes:
        times: how often it was sent.
        unknown_since: since when no worker is known that can run it, or that has its secrets, ms; 0: one is.
        unfit: digests of the interfaces that the stored inputs do not fit, as workers found.
    """

    times: int
    unknown_since: int = 0
    unfit: tuple[str, ...] = ()


class FunctionPlugin(Plugin):
    """Launches an attempt as a message and follows its lease."""

    id = TASK_TYPE
    properties = PluginProperties(inline=True)

    def __init__(self, queue: str, kept: Kept = NOT_KEPT, patience: timedelta = _PATIENCE) -> None:
        self._queue = queue
        self._kept = kept
        self._patience = int(patience.total_seconds() * 1000)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Send the launch, or report how it goes.

        Raises:
            BadTaskSpecification: the template names no function, or a queue or units no attempt can have.
        """
        attempt = ctx.attempt
        config = config_of(ctx.shared_template.custom)
        problems = config_problems(config, self._kept)
        if problems:
            raise BadTaskSpecification("; ".join(problems))
        queue = config.queue or self._queue
        waits = suspension.look(ctx) if attempt.suspended and attempt.launch == ctx.launch else None
        if waits is not None:
            return Transition(waits)
        if attempt.launch != ctx.launch:
            return Transition(self._launch(ctx, queue, config))
        if attempt.outcome is not None:
            if attempt.outcome.unasked != ctx.action.status.unasked:
                ctx.action.set_status(unasked=attempt.outcome.unasked)
            return Transition(_ended(attempt.outcome))
        if not attempt.owner:
            return Transition(self._not_started(ctx, queue, config))
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

    def _launch(self, ctx: TaskExecutionContext, queue: str, config: FunctionConfig) -> PhaseInfo:
        """Ask for what the attempt must hold, then put it into its line."""
        if config.resource:
            answer = ctx.allocate(config.resource, config.units)
            if answer.allocation is not Allocation.GRANTED:
                return ctx.wait_for(config.resource, answer)
        self._send(ctx, queue, config)
        ctx.state.put(1, _Sent(1))
        return self._waiting(ctx, queue, 1)

    def _not_started(self, ctx: TaskExecutionContext, queue: str, config: FunctionConfig) -> PhaseInfo:
        """Wait while the launch stands in line, which makes no event; send it again when it was handed back."""
        attempt = ctx.attempt
        sent = ctx.state.get(_Sent) or _Sent(1)
        if attempt.handed_back is not None:
            return self._handed_back(ctx, config, queue, attempt.handed_back)
        if attempt.in_line and not attempt.stop:
            return self._waiting(ctx, queue, sent.times)
        # its worker gave it back before it heard that it shall stop; or a hand that deletes keys took it out of its line
        self._send(ctx, queue, config)
        ctx.state.put(1, _Sent(sent.times + 1, unfit=sent.unfit))
        return self._waiting(ctx, queue, sent.times + 1)

    @staticmethod
    def _send(ctx: TaskExecutionContext, queue: str, config: FunctionConfig) -> None:
        """Put the launch into a line. One with units or secrets is drawn alone: a batch would hold them for longer."""
        alone = bool(config.resource or ctx.shared_template.secrets)
        ctx.send(queue, config.function, alone=alone)

    def _handed_back(
        self, ctx: TaskExecutionContext, config: FunctionConfig, queue: str, back: HandBack
    ) -> PhaseInfo:
        """Send the launch again, unless no living worker of its queue can run it: then wait, and say so.

        Without any living worker it is sent as well, for whoever comes. Nothing is spent, however often.
        """
        kept = ctx.state.get(_Sent) or _Sent(1)
        if ctx.now < back.until:
            return _queued(ctx, kept.times, f"handed back: {back.why}", back.until)
        function = config.function
        known = ctx.services.find_function(queue, function, ctx.now)
        sent = msgspec.structs.replace(kept, unfit=tuple(sorted({*kept.unfit, back.unfit} - {""})))
        if back.lacks and (rests := self._lacking(ctx, sent, known, back)) is not None:
            return rests
        if known.workers and not (known.digests or known.lacks):
            text = f'no worker of queue "{queue}" knows the function {function!r}: {_REMEDY}'
            return self._unknown(ctx, sent, known, text)
        if known.digests and set(known.digests) <= set(sent.unfit):
            text = f'no worker of queue "{queue}" has {function!r} as it was submitted ({back.why}): {_REMEDY_UNFIT}'
            return self._unknown(ctx, sent, known, text)
        self._send(ctx, queue, config)
        since = sent.unknown_since or ctx.now if back.lacks else 0
        if kept != (sent := msgspec.structs.replace(sent, unknown_since=since)):
            ctx.state.put(1, sent)
        text = f'waiting for a worker of queue "{queue}"; handed back before: {back.why}'
        return _queued(ctx, sent.times, back.told if back.lacks else text, ctx.now + _LOOK_WHILE_WAITING)

    def _lacking(
        self, ctx: TaskExecutionContext, sent: _Sent, known: Known, back: HandBack
    ) -> PhaseInfo | None:
        """Let it rest before the next worker tries it, longer each time; None when it may be sent.

        Only trying tells whether a worker has the secret of this project and domain.
        """
        since = max(sent.unknown_since or ctx.now, known.since)
        ends, text = since + self._patience, back.told
        if ctx.now >= ends:
            waited = f"{self._patience / 1000:g} s"
            return system_failure(SecretUnavailable.code, f"{text}. It waited {waited} for one that does")
        rests = back.until + min(max(back.until - since, 0), _LOOK_FOR_FUNCTION_AT_MOST)
        if ctx.now >= rests:
            return None
        if ctx.state.get(_Sent) != (sent := msgspec.structs.replace(sent, unknown_since=since)):
            ctx.state.put(1, sent)
        return _queued(ctx, sent.times, text, min(rests, ends))

    def _unknown(self, ctx: TaskExecutionContext, sent: _Sent, known: Known, text: str) -> PhaseInfo:
        """Wait while no worker can run it. Only time in which living workers consume the queue counts."""
        since = max(sent.unknown_since or ctx.now, known.since)
        ends = since + self._patience
        if ctx.now >= ends:
            waited = f"{self._patience / 1000:g} s"
            return system_failure(UNKNOWN_FUNCTION, f"{text}. It waited {waited} for one that does")
        if ctx.state.get(_Sent) != (sent := msgspec.structs.replace(sent, unknown_since=since)):
            ctx.state.put(1, sent)
        again = ctx.now + min(max(ctx.now - since, _LOOK_FOR_FUNCTION), _LOOK_FOR_FUNCTION_AT_MOST)
        return _queued(ctx, sent.times, text, min(again, ends))

    @staticmethod
    def _waiting(ctx: TaskExecutionContext, queue: str, times: int) -> PhaseInfo:
        again = f", sent {times} times" if times > 1 else ""
        return _queued(
            ctx, times, f'waiting for a worker of queue "{queue}"{again}', ctx.now + _LOOK_WHILE_WAITING
        )

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
            ctx.services.stop_attempt(ctx.action, _why_stopped(ctx))
        raise StillStopping(ctx.now, f"attempt {ctx.launch} on {attempt.owner}")


def _queued(ctx: TaskExecutionContext, times: int, reason: str, look: int) -> PhaseInfo:
    status = ctx.action.status
    if status.resumes and status.running_at:  # it goes on: the attempt has begun long ago
        again = f" (start {starts(ctx.action)})" if status.start_over is not None else ""
        return msgspec.structs.replace(running(0, requeue_at=look), reason=f"{GOES_ON}{again}: {reason}")
    return msgspec.structs.replace(queued(ctx.now, times - 1, reason), requeue_at=look)


def _why_stopped(ctx: TaskExecutionContext) -> str:
    """Write what the worker is told: the reason of an abort, or the time limit that has passed."""
    deletion = ctx.action.metadata.deletion
    if deletion is not None:
        return deletion.reason or "aborted"
    limit = expired(ctx.action, limits_of(ctx.shared_template), ctx.now)
    return f"[{limit.code}] {limit.message}" if limit else "aborted"


def _running(ctx: TaskExecutionContext) -> PhaseInfo:
    began = ctx.attempt.started_at
    info = TaskInfo(occurred_at=began, began_at=began, log_context={"worker": ctx.attempt.owner})
    return running(0, info, requeue_at=ctx.now + _LOOK_WHILE_RUNNING)


def _ended(outcome: AttemptOutcome) -> PhaseInfo:
    logs = (LogLink("log", outcome.log_uri, outcome.log_sha256),) if outcome.log_uri else ()
    info = TaskInfo(
        occurred_at=outcome.at, began_at=min(outcome.began, outcome.at), logs=logs, outputs=outcome.outputs
    )
    if outcome.ended == "returned":
        return success(info)
    if outcome.code == RUNNING_TIMED_OUT:
        error = ExecutionError(outcome.code, outcome.message, ErrorKind.USER)
        return attempt_timed_out(error, info)
    if outcome.ended == "unknown":  # said by workers of an earlier release, each for itself alone
        return system_retryable_failure(outcome.code, outcome.message, info)
    if not outcome.retryable:
        return failure(outcome.code, outcome.message, info)
    if outcome.ended == "stopped" or outcome.code == "Interrupted":
        return system_retryable_failure(outcome.code or "Interrupted", outcome.message, info)
    failed = retryable_failure(outcome.code, outcome.message, info)
    return msgspec.structs.replace(failed, asked=outcome.asked) if outcome.asked else failed


def entry(queue: str, kept: Kept = NOT_KEPT, patience: timedelta = _PATIENCE) -> PluginEntry:
    """Make the entry that sends to `queue` unless a template names another queue, and never to a kept one.

    `patience` is how long living workers may consume a queue without one that knows a function, until its actions fail.
    """
    return PluginEntry(
        id=TASK_TYPE, task_types=(TASK_TYPE,), load=lambda: FunctionPlugin(queue, kept, patience)
    )
