"""Turn our spans into those of OpenTelemetry's SDK, and let it send them from a thread of its own.

Spans are built as ended ones: their ids follow from the action, which a tracer of the SDK would draw. A queue of bounded
length lies between us and the exporter (`OTEL_BSP_MAX_QUEUE_SIZE`); one that is down or hangs costs spans and nothing else.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from functools import lru_cache

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.status import Status, StatusCode

from reconciler import tracing

SERVICE = "celery-reconciler"
PATIENCE = 2.0
"""Seconds a process that ends waits for what is left to be sent."""
_SCOPE = InstrumentationScope("celery-reconciler")
_FLAGS = TraceFlags(TraceFlags.SAMPLED)
_MS = 1_000_000


class OtelSink:
    """Exports spans.

    Args:
        env: the standard variables of OpenTelemetry, which its SDK reads from `os.environ` itself.
        exporter: where they go; by default OTLP over HTTP, as the variables say.

    Raises:
        ValueError: one of the variables cannot be used.
    """

    def __init__(self, env: Mapping[str, str] = os.environ, exporter: SpanExporter | None = None) -> None:
        self._resource = _resource(env)
        self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter())
        self.is_sampled = lru_cache(maxsize=4096)(self._is_sampled)

    def _is_sampled(self, trace_id: str, asked: bool | None) -> bool:  # noqa: FBT001  # of the protocol
        """Decide as OTEL_TRACES_SAMPLER says; the answer depends only on the trace, so all processes agree."""
        number, context = int(trace_id, 16), None
        if asked is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if asked else TraceFlags.DEFAULT)
            parent = SpanContext(number, 1, is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(parent))
        decision = self._sampler.should_sample(context, number, SERVICE).decision
        return decision is Decision.RECORD_AND_SAMPLE

    def emit(self, span: tracing.Span) -> None:
        """Queue a span."""
        self._processor.on_end(self._theirs(span))

    def close(self) -> None:
        """Send what is left, for at most two seconds."""
        thread = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        thread.start()
        thread.join(PATIENCE)

    def _theirs(self, span: tracing.Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent) if span.parent else None,
            resource=self._resource,
            attributes={**span.attributes, "error.type": span.error} if span.error else span.attributes,
            links=[Link(_context(one.trace_id, one.span_id)) for one in span.links],
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.OK),
            start_time=span.start * _MS,
            end_time=span.end * _MS,
            instrumentation_scope=_SCOPE,
        )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_FLAGS)


def _resource(env: Mapping[str, str]) -> Resource:
    values = {"service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    if not env.get("OTEL_SERVICE_NAME") and "service.name=" not in env.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        values["service.name"] = SERVICE
    return Resource.create(values)
