"""The span a function finds as the current one: that of its launch, in its worker (R93)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from reconciler.api.traceparent import read_traceparent
from reconciler.otel.config import is_wanted

VARIABLE = "TRACEPARENT"
_API = "opentelemetry.trace"


def prepare() -> None:
    """Import what a function may need for the current span if traces are wanted, and not later during a call."""
    if is_wanted(os.environ):
        try:
            import opentelemetry.trace  # noqa: F401, PLC0415  # an extra
        except ImportError:
            return


def enter(variables: Mapping[str, str]) -> None:
    """Make the span that the variables of a call name the current one, until the context of the call ends.

    Costs nothing where no OpenTelemetry was imported: then nobody can ask.
    """
    api = sys.modules.get(_API)
    found = read_traceparent(variables.get(VARIABLE)) if api is not None else None
    if api is None or found is None:
        return
    flags = api.TraceFlags(api.TraceFlags.SAMPLED if found.sampled else api.TraceFlags.DEFAULT)
    context = api.SpanContext(
        int(found.trace_id, 16), int(found.span_id, 16), is_remote=True, trace_flags=flags
    )
    sys.modules["opentelemetry.context"].attach(api.set_span_in_context(api.NonRecordingSpan(context)))
