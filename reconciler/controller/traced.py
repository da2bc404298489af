"""Make the spans of a commit: of the step, of each reconcile, and of the launches and actions that ended (R93)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import structlog

from reconciler import tracing
from reconciler.controller.launches import is_suspended, lost
from reconciler.core import spans
from reconciler.core.retries import WORKER_LOST
from reconciler.stores.base import CommitOutcome, CommitReport, Write

log = structlog.get_logger(__name__)
_LINKS = 100
"""Actions a step names; of more it only says how many."""


def trace(shard: int, accepted: Sequence[Write], report: CommitReport) -> None:
    """Pass the spans of a commit to the exporter, if there is one. Never fails."""
    sink = tracing.sink()
    if sink is None:
        return
    try:
        for span in _spans(sink, shard, accepted, report):
            sink.emit(span)
    except Exception:
        log.exception("traces.failed")


def _spans(
    sink: tracing.Sink, shard: int, accepted: Sequence[Write], report: CommitReport
) -> Iterator[tracing.Span]:
    recorded = []
    for write in accepted:
        trace = spans.trace_of(write.action)
        if sink.is_sampled(trace.trace_id, trace.sampled):
            recorded.append((write, trace))
    if not recorded:
        return
    step = tracing.Link(secrets.token_hex(16), secrets.token_hex(8))
    for write, trace in recorded:
        if write.status or write.events or write.launch is not None:
            yield spans.reconcile_span(write.action, trace, end=report.now, step=step)
        yield from _ended(write, trace, report.now)
    yield _step(step, shard, accepted, recorded, report)


def _step(
    step: tracing.Link,
    shard: int,
    accepted: Sequence[Write],
    recorded: Sequence[tuple[Write, spans.Trace]],
    report: CommitReport,
) -> tracing.Span:
    begun = [write.action.now for write in accepted if write.action.now]
    links = [
        tracing.Link(trace.trace_id, spans.action_span_id(write.action)) for write, trace in recorded[:_LINKS]
    ]
    return tracing.Span(
        name="reconcile step",
        trace_id=step.trace_id,
        span_id=step.span_id,
        start=min(begun, default=report.now),
        end=report.now,
        attributes={
            "reconciler.shard": shard,
            "reconciler.actions": len(accepted),
            "reconciler.superseded": report.outcomes.count(CommitOutcome.SUPERSEDED),
        },
        links=tuple(links),
    )


def _ended(write: Write, trace: spans.Trace, now: int) -> Iterator[tracing.Span]:
    before, after = write.original, write.action
    if is_suspended(before) and not is_suspended(after):
        yield spans.suspended_span(before, trace, now)
    if lost(write):
        attempt = before.attempt
        yield spans.launch_span(
            before, trace, start=attempt.started_at, end=now, ended="lost", error=WORKER_LOST
        )
    since = before.status.attempt_at or before.metadata.creation_timestamp
    for event in write.events:
        if spans.is_end_of_attempt(event):
            yield spans.attempt_span(after, event, since, trace)
        if event.final:
            yield spans.action_span(after, event, trace)
