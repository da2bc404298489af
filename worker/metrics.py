"""The metrics of a worker: recorded by all its processes, added up and served by the main one (R61)."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from reconciler import metrics
from reconciler.settings import Settings
from reconciler.stores.base import Store

log = structlog.get_logger(__name__)

ACTIVE = "taskaction_active"
PATIENCE = 0.5
"""How long a scrape waits for the phases, seconds; then it goes without them."""

_RUNS = 1000
"""Runs whose actions are counted at a scrape: one read for each of them."""

PhaseCounts = Callable[[], Mapping[str, int]]
"""How many actions there are in each phase, by the name of the phase."""


class Measuring:
    """Holds what one worker has for its metrics, from its start to its end. Does nothing when no port is set.

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
            self._stop = serve(self._folder, address, port, counts)
        except OSError as error:
            log.warning("metrics.not_served", address=address, port=port, error=str(error))
            self._trouble = (
                f"its metrics are not served at {address}:{port} ({error.strerror or error}): "
                "give this worker a RECONCILER_METRICS_PORT of its own, and restart it"
            )

    def troubles(self) -> tuple[str, ...]:
        """Tell why nothing is served although it should be, as a sentence; empty when all is well."""
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


class ActivePhases(Collector):
    """The gauge of actions by phase, read when somebody asks. Never blocks: without an answer in time it is empty."""

    def __init__(self, counts: PhaseCounts) -> None:
        self._counts = counts
        self._reading = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample for each phase."""
        gauge = GaugeMetricFamily(ACTIVE, "Actions of the newest runs", labels=("phase",))
        for phase, count in self._read().items():
            gauge.add_metric([phase], count)
        yield gauge

    def _read(self) -> Mapping[str, int]:
        if not self._reading.acquire(blocking=False):
            return {}  # an earlier scrape still waits for a server that does not answer
        found: dict[str, int] = {}
        thread = threading.Thread(target=self._fill, args=(found,), name="metrics-phases", daemon=True)
        thread.start()
        thread.join(PATIENCE)
        return {} if thread.is_alive() else found

    def _fill(self, found: dict[str, int]) -> None:
        try:
            with suppress(Exception):  # a server that is away is told by other numbers
                found.update(self._counts())
        finally:
            self._reading.release()


def registry_of(folder: Path, counts: PhaseCounts | None = None) -> CollectorRegistry:
    """Adds up what all processes wrote into `folder`, and asks for the phases, where given, at each scrape."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # the library has no types here
    if counts is not None:
        registry.register(ActivePhases(counts))
    return registry


def serve(folder: Path, address: str, port: int, counts: PhaseCounts | None = None) -> Callable[[], None]:
    """Answer `GET /metrics` from a thread; returns what ends it.

    Raises:
        OSError: the address cannot be listened on.
    """
    server, thread = start_http_server(port, address, registry_of(folder, counts))

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
