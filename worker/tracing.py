"""Export the traces of a worker, in each process that takes steps or runs attempts, if OTEL_* variables ask (R93)."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from reconciler import tracing
from reconciler.otel.config import is_wanted, problems_of

log = structlog.get_logger(__name__)


class Traces:
    """The export of traces by one worker. What keeps it from that is told, and stops nothing.

    Args:
        env: the variables.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._wanted = is_wanted(env)
        self._problems = problems_of(env) if self._wanted else []
        for problem in self._problems:
            log.warning("traces.not_exported", error=problem)

    def begin(self) -> None:
        """Export from this process, until `tracing.close`; to be called behind the fork that made it."""
        if not self._wanted or self._problems:
            return
        try:
            from reconciler.otel.export import OtelSink  # noqa: PLC0415  # an extra, and dear to import

            tracing.install(OtelSink())
        except Exception as error:  # noqa: BLE001  # of their libraries: no trace is worth a worker
            log.warning("traces.not_exported", error=str(error))
            self._problems = [f"OpenTelemetry refuses its variables: {error}"]

    def troubles(self) -> tuple[str, ...]:
        """Tell why nothing is exported although it should be, as sentences; empty when all is well."""
        return tuple(f"its traces are not exported: {problem}" for problem in self._problems)
