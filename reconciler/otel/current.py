"""Find the trace context of the program that submits. Costs nothing where no OpenTelemetry was imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from reconciler.api.traceparent import TraceParent, read_traceparent

VARIABLE = "TRACEPARENT"
_API = "opentelemetry.trace"


class _Process:
    started_in: str = ""


def join_trace(env: Mapping[str, str]) -> None:
    """Take the trace context from TRACEPARENT, set by the program that started this one, where there is no current span.

    For commands: a program that lives for long would put all it ever submits into one trace.
    """
    found = read_traceparent(env.get(VARIABLE))
    _Process.started_in = str(found) if found is not None else ""


def current_traceparent() -> str:
    """Return the context of the current span; empty when there is none, as in programs that do not trace."""
    api = sys.modules.get(_API)
    if api is None:
        return _Process.started_in
    try:
        context = api.get_current_span().get_span_context()
        if not context.is_valid:
            return _Process.started_in
        sampled = bool(context.trace_flags & 1)
        return str(TraceParent(f"{context.trace_id:032x}", f"{context.span_id:016x}", sampled))
    except Exception:  # noqa: BLE001  # of others' code: no submission fails for want of its trace
        return ""
