"""A collector of OpenTelemetry for tests: takes OTLP over HTTP, keeps the spans, and can hang or refuse."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Received(NamedTuple):
    """A span as it came.

    Attributes:
        name: of the span.
        trace, id, parent: hexadecimal digits; parent is empty for a root.
        start, end: ns since the epoch.
        values: attributes.
        links: trace and span of each.
        error: what its status says; None: it is well.
        service: of its resource.
        raw: all bytes of it, to look for what must not be there.
    """

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    values: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    error: str | None
    service: str
    raw: bytes


class Receiver:
    """Keeps what it was sent.

    Attributes:
        url: its base, for OTEL_EXPORTER_OTLP_ENDPOINT.
        requests: how many came.
    """

    def __init__(self, *, hangs: bool = False) -> None:
        self._spans: list[Received] = []
        self._lock = threading.Lock()
        self.requests = 0
        self.ended = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.take(self.path, body)
                if hangs:
                    receiver.ended.wait(120)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # of the library
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        """Keep the spans of one request."""
        assert path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(body)
        found = [
            _received(span, resource.resource)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.requests += 1
            self._spans += found

    def spans(self) -> list[Received]:
        """Return all that has come, each once."""
        with self._lock:
            return list({(one.trace, one.id): one for one in self._spans}.values())

    def close(self) -> None:
        """Listen no more."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def _received(span: Any, resource: Any) -> Received:
    values = {one.key: _value(one.value) for one in span.attributes}
    services = [one.value.string_value for one in resource.attributes if one.key == "service.name"]
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        values,
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        span.status.message if span.status.code == 2 else None,
        services[0],
        span.SerializeToString() + resource.SerializeToString(),
    )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def receiving(*, hangs: bool = False) -> Iterator[Receiver]:
    """Provide a collector that listens; with `hangs` it takes what comes and never answers."""
    made = Receiver(hangs=hangs)
    try:
        yield made
    finally:
        made.close()
