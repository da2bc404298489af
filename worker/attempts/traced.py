"""The span of a launch, made by the worker that held it (R93)."""

from __future__ import annotations

import structlog

from reconciler import tracing
from reconciler.core import spans
from worker.attempts.attempt import Attempt

log = structlog.get_logger(__name__)


def trace(attempt: Attempt) -> None:
    """Pass the span of a reported launch to the exporter, if there is one. Never fails."""
    sink = tracing.sink()
    if sink is None or attempt.outcome is None:
        return
    try:
        record, outcome = attempt.record, attempt.outcome
        of = spans.trace_of(record)
        if sink.is_sampled(of.trace_id, of.sampled):
            start, end = attempt.times()
            code = "" if outcome.ended in {"returned", "suspended"} else outcome.code or outcome.ended
            span = spans.launch_span(
                record, of, start=start, end=end, ended=outcome.ended, error=code, waits_for=outcome.waits_for
            )
            sink.emit(span)
    except Exception:
        log.exception("traces.failed")
