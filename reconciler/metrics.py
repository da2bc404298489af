"""Define what the programs count and time, for Prometheus (R61). Off until `enable` is called.

Numbers of one worker come from several processes (prefork), so each process keeps its own in a file of a shared folder,
and the worker's main process adds them up when it is asked. A forked process starts disabled: locks and open files of its
parent are not its own; it calls `enable` with the same folder.

No label ever holds what a user chose: phases, reasons, verbs and outcomes are words of ours.
"""

from __future__ import annotations

import builtins
import os
import threading
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from prometheus_client import Counter, Histogram, values
from prometheus_client.metrics import MetricWrapperBase

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_FAST_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 5000)
_SWEEP_MS = (100, 500, 1000, 5000, 10_000, 30_000, 60_000, 300_000)
_BYTES = (256, 512, 1024, 2048, 4096, 8192, 16_384, 65_536, 262_144, 1_048_576)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_LAG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ATTEMPT = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


def _histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=None)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    return Counter(name, text, labels, registry=None)


_OURS = (
    "WorkerLost", "MaxSystemFailuresExceeded", "MaxRetriesExceeded", "UnknownFunction", "RunningTimedOut",
    "QueuedTimedOut", "DeadlineExceeded", "ConditionTimedOut", "BadTaskSpecification", "MetadataTooLarge",
    "CorruptedPluginState", "QuotaUnknown", "InvalidSpec", "InvalidArguments", "InvalidResult", "PluginNotFound",
    "ChildrenFailed", "OutputsExist", "OutputsNotWritten", "OutputsTooLarge", "Stopped", "Interrupted", "NotStarted",
    "WorkerFault", "READ_FAILED", "SecretUnavailable", "ResourceSyncFailed", "ErrorFileNotFound", "ErrorFileBadFormat",
    "CacheStepError", "RESPONSE_NOT_READY", "RETURNED_UNKNOWN", "SYSTEM_ERROR", "TaskFailedWithError", "PluginError",
    "OOMKilled", "Crashed", "ExitedPrematurely",
)  # fmt: skip
CODES = frozenset(_OURS) | {
    name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)
}
"""Codes of failures that may be a label: ours and Python's own. There are no more of them, whatever users do."""


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


class _Process:
    """The instruments of this process; None while disabled."""

    instruments: Instruments | None = None


def enable(folder: Path) -> None:
    """Record from now on, into files of this process in `folder`, which all processes of a worker share.

    Raises:
        OSError: the folder cannot be written.
    """
    before = os.environ.get(_FOLDER)
    os.environ[_FOLDER] = str(folder)
    try:
        _Process.instruments = Instruments()
    finally:
        # user code may count with Prometheus too; nothing of it belongs into our folder
        if before is None:
            del os.environ[_FOLDER]
        else:
            os.environ[_FOLDER] = before


def disable() -> None:
    """Stop recording."""
    _Process.instruments = None


def _forked() -> None:
    global _choosing  # noqa: PLW0603  # another thread of the parent may have held it
    _choosing = threading.Lock()
    disable()


os.register_at_fork(after_in_child=_forked)


def enabled() -> bool:
    """Tell whether this process records."""
    return _Process.instruments is not None


# -- recording -------------------------------------------------------------------------------------------------------
def claimed(sizes: Iterable[int], lag: int) -> None:
    """Count one claim: bytes of each record loaded, and how late the oldest was, ms; below 0 = none was due."""
    found = _Process.instruments
    if found is None:
        return
    total = _observe_all(found.record_size, _BYTES, sizes)
    if total:
        found.batch.observe(total)
    if lag >= 0:
        found.lag.observe(lag / 1000)


def _observe_all(histogram: Histogram, bounds: Sequence[float], amounts: Iterable[int]) -> int:
    """Observe many amounts by one write per bucket: one call of `observe` for each costs ten times as much."""
    tally: Tally[int] = Tally()
    count = total = 0
    for amount in amounts:
        tally[bisect_left(bounds, amount)] += 1
        total += amount
        count += 1
    if count:
        histogram._sum.inc(total)  # noqa: SLF001  # the library has no way to observe a batch
        for bucket, times in tally.items():
            histogram._buckets[bucket].inc(times)  # noqa: SLF001  # as above
    return count


def stepped() -> None:
    """Count a reconcile step that began."""
    if _Process.instruments is not None:
        _Process.instruments.steps.inc()


def committed(superseded: int, launches: int) -> None:
    """Count one commit: writes refused by a newer claim, and launches accepted."""
    found = _Process.instruments
    if found is None:
        return
    if superseded:
        found.superseded.inc(superseded)
    if launches:
        found.launches.inc(launches)


def woken(*, sent: bool) -> None:
    """Count a wake-up message that was sent, or could not be."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.wake_ups, "sent" if sent else "failed").inc()


def failed(*, lease_lost: bool) -> None:
    """Count a system failure; `lease_lost`: because the worker of an attempt vanished."""
    found = _Process.instruments
    if found is None:
        return
    found.system_failures.inc()
    if lease_lost:
        found.lease_losses.inc()


def failed_with(code: str, kind: str) -> None:
    """Count an attempt or an action that failed with this code, by whose fault: `user` or `system`.

    A code that is neither ours nor Python's is counted as `other`: classes of users must not make labels.
    """
    found = _Process.instruments
    if found is not None:
        found.counter(found.failures, code if code in CODES else "other", kind).inc()


def resumed(how: str) -> None:
    """Count a suspended launch that no longer waits: it is `launched` again, or its action has `ended` meanwhile."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.resumptions, how).inc()


def archived(outcome: str, lag: float | None = None) -> None:
    """Count a run that was `archived` this many seconds after its retention had passed, or `refused`."""
    found = _Process.instruments
    if found is None:
        return
    found.counter(found.archived, outcome).inc()
    if lag is not None:
        found.archive_lag.observe(max(lag, 0.0))


def archive_passed(outcome: str) -> None:
    """Count a pass of the archive that is `done`, or was cut short because S3 is `unavailable`."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.archive_passes, outcome).inc()


def audited(reason: str) -> None:
    """Count a warning that was attached to a record."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.audit, reason).inc()


def called(outcome: str) -> None:
    """Count a call of a condition's webhook: `taken`, `failed`, or `given_up` with the last failure."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.webhooks, outcome).inc()


def forwarded(outcome: str, lag: float | None = None) -> None:
    """Count an event that was `sent` to the exchange this many seconds after it was reported, or `refused`."""
    found = _Process.instruments
    if found is None:
        return
    found.counter(found.forwarded, outcome).inc()
    if lag is not None:
        found.forward_lag.observe(max(lag, 0.0))


def attempted(ended: str, seconds: float) -> None:
    """Count an attempt that ended in this way after this many seconds."""
    found = _Process.instruments
    if found is None:
        return
    found.counter(found.attempts, ended).inc()
    found.attempt_duration.observe(seconds)


def allocated(*, granted: bool, waited: float) -> None:
    """Count a request for a quota that was granted after this many seconds in line, or not granted."""
    found = _Process.instruments
    if found is None:
        return
    (found.granted if granted else found.refused).inc()
    if granted:
        found.quota_wait.observe(max(waited, 0.0))


def released(*, given_back: bool) -> None:
    """Count units of a quota that were released, or left to the end of their lease since the store is away."""
    found = _Process.instruments
    if found is not None:
        (found.released if given_back else found.unreleased).inc()


@contextmanager
def unmarshalling() -> Iterator[None]:
    """Time the decoding of a plugin's state; an error is counted and passes through."""
    began = time.perf_counter()
    found = _Process.instruments
    try:
        yield
    except Exception:
        if found is not None:
            found.undecodable.inc()
        raise
    if found is not None:
        found.unmarshalled.observe((time.perf_counter() - began) * 1000)


def looked(phase: str) -> None:
    """Count a look of a remote plugin at its work, by the phase the service reported."""
    found = _Process.instruments
    if found is not None:
        found.counter(found.looks, phase).inc()


def deleted(outcome: str, count: int) -> None:
    """Count actions the collector tried to forget: `deleted`, `already_gone` or `failed`."""
    found = _Process.instruments
    if found is not None and count:
        found.counter(found.gc_deletions, outcome).inc(count)


@contextmanager
def sweep() -> Iterator[None]:
    """Time one pass of the collector."""
    began, error = time.perf_counter(), "true"
    try:
        yield
        error = "false"
    finally:
        found = _Process.instruments
        if found is not None:
            found.histogram(found.gc_sweep, error).observe((time.perf_counter() - began) * 1000)


def stored(op: str, began: float, *, error: bool) -> None:
    """Time a call of Redis that began at `began` (`time.perf_counter`) and has ended."""
    found = _Process.instruments
    if found is not None:
        duration = (time.perf_counter() - began) * 1000
        found.histogram(found.store_duration, op, "true" if error else "false").observe(duration)
