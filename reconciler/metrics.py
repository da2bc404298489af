"""Define what the programs count and time, for Prometheus (R61). Off until `enable` is called.

Numbers of one worker come from several processes (prefork), so each process keeps its own in a file of a shared folder,
and the worker's main process adds them up when it is asked. A forked process starts disabled: locks and open files of its
parent are not its own; it calls `enable` with the same folder.

No label ever holds what a user chose: phases, reasons, verbs and outcomes are words of ours.
"""

from __future__ import annotations

import builtins
import os
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Histogram

    from reconciler.instruments import Instruments

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
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


class _Process:
    """The instruments of this process; None while disabled."""

    instruments: Instruments | None = None


def enable(folder: Path) -> None:
    """Record from now on, into files of this process in `folder`, which all processes of a worker share.

    Raises:
        OSError: the folder cannot be written.
    """
    from reconciler.instruments import (  # noqa: PLC0415  # 4 MB in each process, also of functions, and most count nothing
        Instruments,
    )

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


os.register_at_fork(after_in_child=disable)


def enabled() -> bool:
    """Tell whether this process records."""
    return _Process.instruments is not None


# -- recording -------------------------------------------------------------------------------------------------------
def claimed(sizes: Iterable[int], lag: int) -> None:
    """Count one claim: bytes of each record loaded, and how late the oldest was, ms; below 0 = none was due."""
    found = _Process.instruments
    if found is None:
        return
    total = _observe_all(found.record_size, sizes)
    if total:
        found.batch.observe(total)
    if lag >= 0:
        found.lag.observe(lag / 1000)


def _observe_all(histogram: Histogram, amounts: Iterable[int]) -> int:
    """Observe many amounts by one write per bucket: one call of `observe` for each costs ten times as much."""
    tally: Tally[int] = Tally()
    count = total = 0
    for amount in amounts:
        tally[bisect_left(histogram._upper_bounds, amount)] += 1  # noqa: SLF001  # the library has no way to observe a batch
        total += amount
        count += 1
    if count:
        histogram._sum.inc(total)  # noqa: SLF001  # as above
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
