"""What Prometheus is answered: the numbers of all processes of a worker, added up, and the actions by phase (R61)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

ACTIVE = "taskaction_active"
PATIENCE = 0.5
"""How long a scrape waits for the phases, seconds; then it goes without them."""

PhaseCounts = Callable[[], Mapping[str, int]]
"""How many actions there are in each phase, by the name of the phase."""


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
