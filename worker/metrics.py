"""The answer to a scrape: what all processes of a worker recorded, added up, and how the installation stands (R61)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.redis.store import RedisStore
from worker.standing import standing

ACTIVE = "taskaction_active"
PATIENCE = 0.5
"""How long a scrape waits for what is read from the store, seconds; then it goes without it."""

_RUNS = 1000
"""Runs whose actions are counted at a scrape: one read for each of them."""

ReadGauges = Callable[[], Sequence[GaugeMetricFamily]]
"""Asks the store for gauges; may take long or fail."""


def phases(store: Store) -> dict[str, int]:
    """Count the actions of the newest runs by phase, ended ones included."""
    found: Counter[str] = Counter()
    for run in store.list_runs(limit=_RUNS):
        found.update({str(phase): count for phase, count in run.counts.phases.items()})
    return dict(found)


class AtScrape(Collector):
    """Gauges that are read at a scrape. Never blocks: without an answer in time there are none.

    Args:
        read: asks the store; may take long or fail.
    """

    def __init__(self, read: ReadGauges) -> None:
        self._read_gauges = read
        self._reading = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return what could be read in time."""
        yield from self._read()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return nothing: registering it must not cost a read."""
        return iter(())

    def _read(self) -> Sequence[GaugeMetricFamily]:
        if not self._reading.acquire(blocking=False):
            return ()  # an earlier scrape still waits for a server that does not answer
        found: list[GaugeMetricFamily] = []
        thread = threading.Thread(target=self._fill, args=(found,), name="metrics-gauges", daemon=True)
        thread.start()
        thread.join(PATIENCE)
        return () if thread.is_alive() else found

    def _fill(self, found: list[GaugeMetricFamily]) -> None:
        try:
            with suppress(Exception):  # a server that is away is told by other numbers
                found += self._read_gauges()
        finally:
            self._reading.release()


def active_phases(counts: Mapping[str, int]) -> list[GaugeMetricFamily]:
    """Make the gauge of actions by phase."""
    gauge = GaugeMetricFamily(ACTIVE, "Actions of the newest runs", labels=("phase",))
    for phase, count in counts.items():
        gauge.add_metric([phase], count)
    return [gauge]


def gauges_of(store: Store | None, settings: Settings) -> list[Collector]:
    """Return the gauges read from the store at a scrape, each part with its own time limit; nothing without a store."""
    if store is None:
        return []
    found: list[Collector] = [AtScrape(lambda: active_phases(phases(store)))]
    if isinstance(store, RedisStore):
        found.append(AtScrape(lambda: standing(store, settings)))
    return found


def registry_of(folder: Path, gauges: Iterable[Collector] = ()) -> CollectorRegistry:
    """Make the registry that adds up what all processes wrote into `folder`, and reads the gauges at each scrape."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # the library has no types here
    for gauge in gauges:
        registry.register(gauge)
    return registry


def serve(folder: Path, address: str, port: int, gauges: Iterable[Collector] = ()) -> Callable[[], None]:
    """Answer `GET /metrics` from a thread; return a function that ends it.

    Raises:
        OSError: the address cannot be listened on.
    """
    server, thread = start_http_server(port, address, registry_of(folder, gauges))

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
