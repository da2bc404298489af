"""The instruments of a process: what `reconciler.metrics` records with, once it is told to (R61)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from prometheus_client import Counter, Histogram, values
from prometheus_client.metrics import MetricWrapperBase

_FAST_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000)
_BYTES = (256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144, 1_048_576)
_SWEEP_MS = (100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_LAG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ATTEMPT = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


def _histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=None)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    return Counter(name, text, labels, registry=None)


class Instruments:
    """Every instrument of a process. docs/operations.md lists them, and a test compares."""

    def __init__(self) -> None:
        # a class of its own: fresh locks, and files named after this process
        self._values = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # the library has no types here
        self._children: dict[tuple[MetricWrapperBase, tuple[str, ...]], Any] = {}
        with _using(self._values):
            self._make()

    def _make(self) -> None:
        self.record_size = _histogram("taskaction_record_size_bytes", "Stored fields of a record", _BYTES)
        self.store_duration = _histogram(
            "taskaction_store_duration_milliseconds", "Calls of Redis", _FAST_MS, ("op", "error")
        )
        self.gc_deletions = _counter("taskaction_gc_deletions_total", "Tries to forget", ("outcome",))
        self.gc_sweep = _histogram(
            "taskaction_gc_sweep_duration_milliseconds", "Passes of the collector", _SWEEP_MS, ("error",)
        )
        self.steps = _counter("reconciler_steps_total", "Reconcile steps")
        self.batch = _histogram("reconciler_step_batch_size", "Actions claimed at once", _BATCH)
        self.lag = _histogram("reconciler_step_due_lag_seconds", "Lateness of a claim's oldest action", _LAG)
        self.superseded = _counter("reconciler_superseded_commits_total", "Writes refused by a newer claim")
        self.lease_losses = _counter("reconciler_lease_losses_total", "Attempts whose worker vanished")
        self.launches = _counter("reconciler_launches_total", "Launches committed")
        self.attempts = _counter("reconciler_attempts_total", "Attempts that ended", ("ended",))
        self.attempt_duration = _histogram("reconciler_attempt_duration_seconds", "Attempts", _ATTEMPT)
        self.system_failures = _counter("reconciler_system_failures_total", "System failures counted")
        self.failures = _counter(
            "reconciler_failures_total", "Attempts and actions that failed", ("code", "kind")
        )
        self.resumptions = _counter(
            "reconciler_resumptions_total", "Suspended launches that wait no more", ("how",)
        )
        self.audit = _counter("reconciler_audit_total", "Warnings attached to records", ("reason",))
        self.archived = _counter("reconciler_archived_runs_total", "Runs to be archived", ("outcome",))
        self.archive_lag = _histogram(
            "reconciler_archive_lag_seconds", "Runs archived after their time", _ATTEMPT
        )
        self.archive_passes = _counter(
            "reconciler_archive_passes_total", "Passes of the archive", ("outcome",)
        )
        self.wake_ups = _counter("reconciler_wake_ups_total", "Wake-up messages", ("outcome",))
        self.webhooks = _counter("reconciler_webhook_calls_total", "Calls of webhooks", ("outcome",))
        self.forwarded = _counter(
            "reconciler_events_forwarded_total", "Events for the exchange", ("outcome",)
        )
        self.forward_lag = _histogram("reconciler_forward_lag_seconds", "Age of forwarded events", _LAG)
        self._make_of_plugins()

    def _make_of_plugins(self) -> None:
        self.granted = _counter("reconciler_allocation_grant_success_total", "Quotas asked for and granted")
        self.refused = _counter(
            "reconciler_allocation_grant_failed_total", "Requests for quotas that were not granted"
        )
        self.released = _counter("reconciler_resource_release_success_total", "Quota leases given back")
        self.unreleased = _counter("reconciler_resource_release_failed_total", "Quota leases left to expire")
        self.quota_wait = _histogram("reconciler_resource_wait_time_seconds", "Waits for quotas", _ATTEMPT)
        self.unmarshalled = _histogram(
            "reconciler_unmarshal_state_success_milliseconds", "Plugin states decoded", _FAST_MS
        )
        self.undecodable = _counter("reconciler_unmarshal_state_failed_total", "Plugin states not decoded")
        self.looks = _counter("reconciler_connector_get_task_phase_total", "Looks at services", ("phase",))

    def all(self) -> list[MetricWrapperBase]:
        """List the instruments, in the order above."""
        return [one for one in vars(self).values() if isinstance(one, MetricWrapperBase)]

    def counter(self, of: Counter, *labels: str) -> Counter:
        """Return the part of a counter that belongs to these values of its labels."""
        return cast("Counter", self._child(of, labels))

    def histogram(self, of: Histogram, *labels: str) -> Histogram:
        """Return the part of a histogram that belongs to these values of its labels."""
        return cast("Histogram", self._child(of, labels))

    def _child(self, of: MetricWrapperBase, labels: tuple[str, ...]) -> Any:  # noqa: ANN401  # of the kind of `of`
        key = (of, labels)
        child = self._children.get(key)
        if child is None:
            with _using(self._values):
                child = self._children[key] = of.labels(*labels)
        return child


_choosing = threading.Lock()


@contextmanager
def _using(kind: Any) -> Iterator[None]:  # noqa: ANN401  # the library has no types here
    """Let instruments made inside the block keep their numbers in this way; those that others make do not."""
    with _choosing:
        chosen = values.ValueClass
        values.ValueClass = kind
        try:
            yield
        finally:
            values.ValueClass = chosen


def _forked() -> None:
    global _choosing  # noqa: PLW0603  # another thread of the parent may have held it
    _choosing = threading.Lock()


os.register_at_fork(after_in_child=_forked)
