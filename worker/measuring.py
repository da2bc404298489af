"""The metrics of a worker: recorded by all its processes, added up and served by the main one (R61)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from reconciler import metrics
from reconciler.settings import Settings
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)


class Measuring:
    """The metrics of one worker, from its start to its end. Does nothing when no port is set.

    Args:
        settings: `metrics_port` and `metrics_address` count.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._stop: Callable[[], None] | None = None
        self._trouble = ""

    def prepare(self) -> None:
        """Record in this process; call it before others are forked, so that they know the folder."""
        if self._settings.metrics_port:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="reconciler-metrics-"))
                metrics.enable(self._folder)
            except OSError as error:
                log.warning("metrics.not_recorded", error=str(error))

    def join(self) -> None:
        """Record in a forked process too."""
        if self._folder is not None:
            try:
                metrics.enable(self._folder)
            except OSError as error:
                log.warning("metrics.not_recorded", error=str(error))

    def serve(self, store: Store | None) -> None:
        """Answer scrapes; with a store, also how the installation stands. A port in use is reported, no more."""
        if self._folder is None:
            return
        address, port = self._settings.metrics_address, self._settings.metrics_port
        try:
            from worker.metrics import gauges_of, serve  # noqa: PLC0415  # as `reconciler.instruments`

            self._stop = serve(self._folder, address, port, gauges_of(store, self._settings))
        except OSError as error:
            log.warning("metrics.not_served", address=address, port=port, error=str(error))
            self._trouble = (
                f"its metrics are not served at {address}:{port} ({error.strerror or error}): "
                "give this worker a RECONCILER_METRICS_PORT of its own, and restart it"
            )

    def troubles(self) -> tuple[str, ...]:
        """Say why nothing is served although it should be; empty when all is well."""
        return (self._trouble,) if self._trouble else ()

    def close(self) -> None:
        """Stop serving and forget what was recorded."""
        metrics.disable()
        if self._stop is not None:
            self._stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._stop = None
