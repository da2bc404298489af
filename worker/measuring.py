"""The metrics of a worker: recorded by all its processes, served by the main one."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from reconciler import metrics
from reconciler.settings import Settings
from reconciler.stores.base import Store
from worker import scraping

log = structlog.get_logger(__name__)

_RUNS = 1000
"""Runs whose actions are counted at a scrape: one read for each of them."""


class Measuring:
    """What one worker has for its metrics, from its start to its end. Does nothing when no port is set.

    Args:
        settings: `metrics_port` and `metrics_address` count.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self._stop: Callable[[], None] | None = None
        self._trouble = ""

    def prepare(self) -> None:
        """Record in this process; to be called before others are forked, so that they know the folder."""
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
        """Answer scrapes; with a store, also how many actions there are. A port in use is told and harms nothing else."""
        if self._folder is None:
            return
        address, port = self._settings.metrics_address, self._settings.metrics_port
        try:
            counts = (lambda: phases(store)) if store is not None else None
            self._stop = scraping.serve(self._folder, address, port, counts)
        except OSError as error:
            log.warning("metrics.not_served", address=address, port=port, error=str(error))
            self._trouble = (
                f"its metrics are not served at {address}:{port} ({error.strerror or error}): "
                "give this worker a RECONCILER_METRICS_PORT of its own, and restart it"
            )

    def troubles(self) -> tuple[str, ...]:
        """Why nothing is served although it should be, as a sentence; empty when all is well."""
        return (self._trouble,) if self._trouble else ()

    def close(self) -> None:
        """End serving and forget what was recorded."""
        metrics.disable()
        if self._stop is not None:
            self._stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._stop = None


def phases(store: Store) -> dict[str, int]:
    """Actions of the newest runs by phase, ended ones included.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    found: Counter[str] = Counter()
    for run in store.list_runs(limit=_RUNS):
        found.update({str(phase): count for phase, count in run.counts.phases.items()})
    return dict(found)
