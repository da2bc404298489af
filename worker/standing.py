"""Gauges of the state of the installation, read from the store at a scrape: backlog, workers, memory, clock."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily

from reconciler.core.liveness import WorkerFacts, read_facts
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore

QUEUES = 50
"""Queues that get samples of their own: the fullest ones. A label must not grow with what is submitted."""
_NEVER = 86_400_000
"""Age of a sweep that was not made within a day, ms: longer ago nobody remembers."""
_SWEEPS = ("resync", "collect")
GAUGES = {
    "reconciler_queue_waiting": ("Launches that wait for a worker", ("queue",)),
    "reconciler_queue_workers": ("Living workers that consume the queue", ("queue",)),
    "reconciler_queue_paused": ("Whether the queue is paused", ("queue",)),
    "reconciler_due_lateness_seconds": ("How late the oldest due action is", ()),
    "reconciler_workers_alive": ("Living workers", ("role",)),
    "reconciler_workers_troubled": ("Living workers that tell of a trouble", ()),
    "reconciler_sweep_age_seconds": ("Since when the sweep was not made", ("sweep",)),
    "reconciler_redis_memory_used_bytes": ("Memory of the records", ()),
    "reconciler_redis_memory_limit_bytes": ("What it may hold", ()),
    "reconciler_clock_ahead_seconds": ("Clock of this host, less that of Redis", ()),
}
"""Name, text and labels of each."""


class _Gauges:
    """Collects samples by the name of their gauge."""

    def __init__(self) -> None:
        self._made = {
            name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()
        }

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add one sample."""
        self._made[name].add_metric(labels, value)

    def all(self) -> list[GaugeMetricFamily]:
        """Return the gauges, in the order of docs/operations.md."""
        return list(self._made.values())


def standing(store: RedisStore, settings: Settings) -> list[GaugeMetricFamily]:
    """Read the state of the installation. Each scraped steps worker gives the same answer, except for its clock."""
    gauges = _Gauges()
    workers = [read_facts(facts) for facts in store.workers().values()]
    _add_queues(gauges, store, settings, workers)
    _add_workers(gauges, settings, workers)
    gauges.add("reconciler_due_lateness_seconds", max(0, store.latest().by) / 1000)
    for sweep in _SWEEPS:
        ago = store.swept_ago(sweep)
        gauges.add("reconciler_sweep_age_seconds", (_NEVER if ago is None else ago) / 1000, sweep)
    memory = store.memory()
    gauges.add("reconciler_redis_memory_used_bytes", memory.used)
    gauges.add("reconciler_redis_memory_limit_bytes", memory.limit)
    gauges.add("reconciler_clock_ahead_seconds", time.time() - store.now() / 1000)
    return gauges.all()


def _add_queues(
    gauges: _Gauges, store: RedisStore, settings: Settings, workers: Iterable[WorkerFacts]
) -> None:
    consumers: dict[str, int] = {}
    for facts in workers:
        for queue in facts.queues or ():
            consumers[queue] = consumers.get(queue, 0) + 1
    waiting = store.launches_waiting()
    others = {settings.attempts_queue, *consumers, *store.queues_with_rules()}
    names = _shown(waiting, others - {settings.steps_queue})
    for name, paused in zip(names, store.paused(names), strict=True):
        gauges.add("reconciler_queue_waiting", waiting.get(name, 0), name)
        gauges.add("reconciler_queue_workers", consumers.get(name, 0), name)
        gauges.add("reconciler_queue_paused", paused, name)


def _shown(waiting: Mapping[str, int], others: set[str]) -> list[str]:
    fullest = sorted(others | waiting.keys(), key=lambda name: (-waiting.get(name, 0), name))
    return sorted(fullest[:QUEUES])


def _add_workers(gauges: _Gauges, settings: Settings, workers: Iterable[WorkerFacts]) -> None:
    steps = attempts = troubled = 0
    for facts in workers:
        queues = set(facts.queues or ())
        steps += settings.steps_queue in queues
        attempts += bool(queues - {settings.steps_queue})
        troubled += bool(facts.troubles or facts.twin)
    gauges.add("reconciler_workers_alive", steps, "steps")
    gauges.add("reconciler_workers_alive", attempts, "attempts")
    gauges.add("reconciler_workers_troubled", troubled)
