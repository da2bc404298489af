"""Check that the traces which are asked for would arrive."""

from __future__ import annotations

import logging
import os

from reconciler.address import mask
from reconciler.cli.finding import Finding, skipped
from reconciler.otel.config import endpoint_of, is_wanted, problems_of
from reconciler.settings import Settings

_TIMEOUT = 3.0
_LOGGER = "opentelemetry"


def check_traces(settings: Settings) -> Finding:
    """Check whether the collector that the OTEL_* variables name takes traces, by sending it none."""
    del settings
    if not is_wanted(os.environ):
        return skipped("traces", "no OTEL_* variable asks for them (docs/tracing.md)")
    where = mask(endpoint_of(os.environ))
    problems = problems_of(os.environ) or _refusals(where)
    return Finding(name="traces", detail=f"{where} takes traces", problems=tuple(problems))


class _Said(logging.Handler):
    """Keeps what the exporter says about a failure: it only writes to its log."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def _refusals(where: str) -> list[str]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415  # as above

    logger, said = logging.getLogger(_LOGGER), _Said()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(said)
    try:
        exporter = OTLPSpanExporter(timeout=_TIMEOUT)
        taken = exporter.export([]) is SpanExportResult.SUCCESS
        exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no types here
    except Exception as error:  # noqa: BLE001  # of their libraries
        taken = False
        said.texts.append(str(error))
    finally:
        logger.removeHandler(said)
        logger.propagate = propagates
    if taken:
        return []
    why = f" ({said.texts[-1].partition(chr(10))[0]:.200})" if said.texts else ""
    return [
        (
            f"{where} takes no traces{why}: see that a collector listens there for OTLP over HTTP, "
            "and that OTEL_EXPORTER_OTLP_HEADERS has what it asks for"
        )
    ]
