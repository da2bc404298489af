"""Make the spans of an action (R93). Their ids follow from its identity, so nobody has to store them or hand them on.

A run is a trace: that of the program that submitted it, or one of its own. Its root is the span of the run, each child a
span below that of its parent; below an action lie its attempts, below these their launches, and the times without a launch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from reconciler import tracing
from reconciler.api.action import ActionId, TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.api.traceparent import TraceParent, read_traceparent
from reconciler.core.events import observed_attempts
from reconciler.core.naming import task_name
from reconciler.core.paths import launch_id
from reconciler.tracing import Link, Span, Value


class Trace(msgspec.Struct, frozen=True, gc=False):
    """The trace an action belongs to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        parent: span of the program that submitted the run; empty: none is known.
        sampled: whether that program records it; None: it does not say.
    """

    trace_id: str
    parent: str = ""
    sampled: bool | None = None


def trace_of(action: TaskAction) -> Trace:
    """Return the trace of an action: the one it was submitted in, else that of its run."""
    given = read_traceparent(action.metadata.traceparent)
    if given is not None:
        return Trace(given.trace_id, given.span_id, given.sampled)
    return Trace(_digest(f"{action.id.run_id}@{action.metadata.incarnation}", 16))


def action_span_id(action: TaskAction) -> str:
    """Name the span of an action."""
    return _span_id(action, action.id, "")


def launch_span_id(action: TaskAction, launch: str) -> str:
    """Name the span of a launch, by its name in the record."""
    return _span_id(action, action.id, f"launch {launch}")


def launch_context(action: TaskAction, launch: str) -> str:
    """Return the trace context for the code of a launch; empty when nobody traces."""
    return _context(action, lambda: launch_span_id(action, launch))


def attempt_context(action: TaskAction) -> str:
    """Return the trace context of the current attempt; empty when nobody traces."""
    return _context(action, lambda: _attempt_span_id(action, observed_attempts(action)))


def _context(action: TaskAction, span_id: Callable[[], str]) -> str:
    """Return a span of ours if this process exports them, else the one that the run was submitted in."""
    sink = tracing.sink()
    if sink is None:
        given = read_traceparent(action.metadata.traceparent) if action.metadata.traceparent else None
        return str(given) if given is not None else ""
    trace = trace_of(action)
    return str(TraceParent(trace.trace_id, span_id(), sink.is_sampled(trace.trace_id, trace.sampled)))


def action_span(action: TaskAction, event: ActionEvent, trace: Trace) -> Span:
    """Make the span of an action that ends with this event; for a root, the span of its run."""
    parent = action.spec.parent_action_name
    above = _span_id(action, action.id.run_id.action(parent), "") if parent else trace.parent
    kind = "action" if parent else "run"
    values: dict[str, Value] = {
        **_identity(action), "reconciler.phase": str(event.phase), "reconciler.attempts": observed_attempts(action),
    }  # fmt: skip
    return Span(
        name=f"{kind} {task_name(action)}",
        trace_id=trace.trace_id,
        span_id=action_span_id(action),
        parent=above,
        start=action.metadata.creation_timestamp,
        end=event.updated_time,
        attributes=values,
        error=_code(event),
    )


def attempt_span(action: TaskAction, event: ActionEvent, since: int, trace: Trace) -> Span:
    """Make the span of an attempt that ended with this event and had begun to wait at `since`, ms."""
    values: dict[str, Value] = {**_identity(action), "reconciler.attempt": event.attempt}
    return Span(
        name=f"attempt {task_name(action)}",
        trace_id=trace.trace_id,
        span_id=_attempt_span_id(action, event.attempt),
        parent=action_span_id(action),
        start=min(since, event.updated_time),
        end=event.updated_time,
        attributes=values,
        error=_code(event),
    )


def launch_span(
    action: TaskAction, trace: Trace, *, start: int, end: int, ended: str, error: str = "", waits_for: int = 0
) -> Span:
    """Make the span of a launch that a worker held; linked to the launch before it."""
    attempt, launch, status = observed_attempts(action), action.attempt.launch, action.status
    before = ""
    if status.launches:
        before = launch_id(attempt, status.launches - 1)
    elif attempt > 1:
        before = launch_id(attempt - 1, status.previous_launches)
    values: dict[str, Value] = {
        **_identity(action),
        "reconciler.attempt": attempt,
        "reconciler.launch": launch,
        "reconciler.worker": action.attempt.owner,
        "reconciler.ended": ended,
        "reconciler.waited_ms": max(0, action.attempt.started_at - action.attempt.sent_at),
    }
    if waits_for:
        values["reconciler.waits_for"] = waits_for
    return Span(
        name=f"launch {task_name(action)}",
        trace_id=trace.trace_id,
        span_id=launch_span_id(action, launch),
        parent=_attempt_span_id(action, attempt),
        start=start,
        end=max(start, end),
        attributes=values,
        links=(Link(trace.trace_id, launch_span_id(action, before)),) if before else (),
        error=error,
    )


def suspended_span(action: TaskAction, trace: Trace, end: int) -> Span:
    """Make the span of a wait without a worker, until `end`, ms. `action`: the record that waited."""
    outcome, launch = action.attempt.outcome, action.attempt.launch
    assert outcome is not None
    values: dict[str, Value] = {**_identity(action), "reconciler.waits_for": outcome.waits_for}
    return Span(
        name=f"suspended {task_name(action)}",
        trace_id=trace.trace_id,
        span_id=_span_id(action, action.id, f"suspended {launch}"),
        parent=_attempt_span_id(action, observed_attempts(action)),
        start=outcome.at,
        end=max(outcome.at, end),
        attributes=values,
        links=(Link(trace.trace_id, launch_span_id(action, launch)),),
    )


def reconcile_span(action: TaskAction, trace: Trace, *, end: int, step: Link) -> Span:
    """Make the span of one reconcile of an action, a part of a step."""
    values: dict[str, Value] = {
        **_identity(action), "reconciler.phase": str(action.status.plugin_phase), "reconciler.version": action.version,
    }  # fmt: skip
    return Span(
        name="reconcile",
        trace_id=trace.trace_id,
        span_id=_span_id(action, action.id, f"reconcile {action.token}"),
        parent=action_span_id(action),
        start=min(action.now, end) or end,
        end=end,
        attributes=values,
        links=(step,),
    )


def is_end_of_attempt(event: ActionEvent) -> bool:
    """Tell whether an attempt ends with an event, be it the last one or not."""
    return event.final or event.phase is ActionPhase.FAILED


def _identity(action: TaskAction) -> dict[str, Value]:
    id = action.id  # noqa: A001  # the word of the field
    return {
        "reconciler.project": id.project,
        "reconciler.domain": id.domain,
        "reconciler.run": id.run,
        "reconciler.action": id.action,
    }


def _code(event: ActionEvent) -> str:
    if event.error_info is not None:
        return event.error_info.code or "error"
    return str(event.phase) if event.phase in {ActionPhase.ABORTED, ActionPhase.TIMED_OUT} else ""


def _attempt_span_id(action: TaskAction, attempt: int) -> str:
    return _span_id(action, action.id, f"attempt {attempt}")


def _span_id(action: TaskAction, of: ActionId, part: str) -> str:
    return _digest(f"{of}@{action.metadata.incarnation}#{part}", 8)


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
