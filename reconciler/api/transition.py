"""Define what a plugin answers: a transition with its phase, reason, error and details (R17, R18).

Times are milliseconds since the epoch, UTC; 0 means "not given" and is filled by the caller's clock.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from reconciler.api.asked import AskedRetry
from reconciler.api.phase import PluginPhase
from reconciler.api.status_conditions import Reason


class CacheStatus(enum.IntEnum):
    """The part the cache played for an action (R47)."""

    DISABLED = 0
    MISS = 1
    HIT = 2
    POPULATED = 3
    LOOKUP_FAILURE = 4
    PUT_FAILURE = 5
    SKIPPED = 6
    EVICTED = 7


class ErrorKind(enum.StrEnum):
    """The party at fault for an error."""

    UNKNOWN = ""
    USER = "USER"
    SYSTEM = "SYSTEM"


class ExecutionError(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reason why an attempt failed. `traceback` is text for people."""

    code: str
    message: str
    kind: ErrorKind = ErrorKind.UNKNOWN
    traceback: str = ""


class LogLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place where log lines can be read, and the SHA-256 of the finished log; empty: not known."""

    name: str
    uri: str
    sha256: str = ""


class ReasonInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A further reason with its own time (R18)."""

    reason: str
    occurred_at: int = 0


class ExternalResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thing outside the record that an attempt used, such as a job of a service (R18)."""

    external_id: str = ""
    cache_status: CacheStatus = CacheStatus.DISABLED
    index: int = 0
    logs: tuple[LogLink, ...] = ()
    retry_attempt: int = 0
    phase: PluginPhase = PluginPhase.UNDEFINED
    custom_info: dict[str, Any] = {}
    log_context: dict[str, str] | None = None


class OutputRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A reference to the outputs of an attempt, with size (bytes) and digest to check that they are complete.

    `inline` holds the bytes themselves when they are small: a copy for fast reading, S3 is the truth.
    """

    uri: str
    sha256: str = ""
    size: int = 0
    inline: bytes | None = None


class TaskInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Details of a phase (R18). `began_at`: when what the phase tells of began to run, ms since the epoch; 0 = not known."""

    logs: tuple[LogLink, ...] = ()
    log_context: dict[str, str] | None = None
    occurred_at: int = 0
    reported_at: int = 0
    began_at: int = 0
    custom_info: dict[str, Any] = {}
    external_resources: tuple[ExternalResource | None, ...] = ()
    additional_reasons: tuple[ReasonInfo, ...] = ()
    outputs: OutputRef | None = None


class PhaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A phase with all that belongs to it (R17).

    Attributes:
        version: grows when something inside the phase changes that is worth an event.
        requeue_at: when to look again (ms since the epoch, UTC); 0 means after the requeue duration. An exact time
            costs no polling.
        refill_at: the action wants more children: it is looked at when at most this many are open, and a moment after one
            has ended; 0: it wants none.
        failed_as: the reason a permanent failure, or the last retryable one, is stored under. TIMED_OUT makes it a
            `timed_out` end, of the attempt where another follows; no code of an error does, whatever it says.
        cleanup_on_failure: abort the plugin's resource when this failure is permanent (R35).
        asked: the next attempt, when what failed asks for one itself: it spends no retry.
    """

    phase: PluginPhase
    version: int = 0
    info: TaskInfo | None = None
    err: ExecutionError | None = None
    reason: str = ""
    failed_as: Reason = Reason.PERMANENT_FAILURE
    cleanup_on_failure: bool = False
    requeue_at: int = 0
    refill_at: int = 0
    asked: AskedRetry | None = None

    def with_version(self, version: int) -> PhaseInfo:
        """Make a copy with another version; the clean-up flag stays (R35)."""
        return msgspec.structs.replace(self, version=version)

    def with_reason(self, reason: str) -> PhaseInfo:
        """Make a copy with `reason` joined to the present one by `", "` (R17)."""
        joined = f"{self.reason}, {reason}" if self.reason else reason
        return msgspec.structs.replace(self, reason=joined)


class TransitionType(enum.IntEnum):
    """Kind of a transition; barriers are deprecated in Flyte (R18)."""

    EPHEMERAL = 0


class Transition(msgspec.Struct, frozen=True):
    """The result of a plugin's `handle`."""

    info: PhaseInfo
    type: TransitionType = TransitionType.EPHEMERAL


UNKNOWN_TRANSITION = Transition(PhaseInfo(phase=PluginPhase.UNDEFINED))
"""Returned together with "nothing decided" (R18)."""


def _at(t: int, info: TaskInfo | None) -> TaskInfo:
    return TaskInfo(occurred_at=t) if info is None else info


def not_ready(t: int, version: int, reason: str) -> PhaseInfo:
    """Report that the attempt cannot be launched yet."""
    return PhaseInfo(phase=PluginPhase.NOT_READY, version=version, reason=reason, info=_at(t, None))


def waiting_for_resources(t: int, version: int, reason: str, info: TaskInfo | None = None) -> PhaseInfo:
    """Report that a quota is used up; `reason` says which."""
    return PhaseInfo(
        phase=PluginPhase.WAITING_FOR_RESOURCES, version=version, reason=reason, info=_at(t, info)
    )


def waiting_for_cache(version: int, info: TaskInfo | None = None, reason: str = "") -> PhaseInfo:
    """Report that somebody else fills the cache key."""
    return PhaseInfo(phase=PluginPhase.WAITING_FOR_CACHE, version=version, reason=reason, info=_at(0, info))


def queued(t: int, version: int, reason: str, info: TaskInfo | None = None) -> PhaseInfo:
    """Report that the attempt waits for a worker."""
    return PhaseInfo(phase=PluginPhase.QUEUED, version=version, reason=reason, info=_at(t, info))


def initializing(t: int, version: int, reason: str, info: TaskInfo | None = None) -> PhaseInfo:
    """Report that the attempt is being prepared."""
    return PhaseInfo(phase=PluginPhase.INITIALIZING, version=version, reason=reason, info=_at(t, info))


def running(version: int, info: TaskInfo | None = None, requeue_at: int = 0) -> PhaseInfo:
    """Report that the attempt runs."""
    return PhaseInfo(phase=PluginPhase.RUNNING, version=version, info=_at(0, info), requeue_at=requeue_at)


def success(info: TaskInfo | None = None) -> PhaseInfo:
    """Report that the attempt succeeded; its outputs are readable."""
    return PhaseInfo(phase=PluginPhase.SUCCESS, info=_at(0, info))


def aborted(t: int, version: int, reason: str) -> PhaseInfo:
    """Report that the attempt was aborted."""
    return PhaseInfo(phase=PluginPhase.ABORTED, version=version, reason=reason, info=_at(t, None))


def failed(
    phase: PluginPhase,
    err: ExecutionError | None,
    info: TaskInfo | None = None,
    *,
    cleanup: bool = False,
    failed_as: Reason = Reason.PERMANENT_FAILURE,
) -> PhaseInfo:
    """Report a failure phase with its error, which may be missing."""
    return PhaseInfo(phase=phase, err=err, info=_at(0, info), cleanup_on_failure=cleanup, failed_as=failed_as)


def _failure(
    phase: PluginPhase, kind: ErrorKind, code: str, message: str, info: TaskInfo | None, *, cleanup: bool
) -> PhaseInfo:
    return failed(phase, ExecutionError(code, message, kind), info, cleanup=cleanup)


def failure(code: str, message: str, info: TaskInfo | None = None, *, cleanup: bool = False) -> PhaseInfo:
    """Report a permanent failure by the user's fault."""
    return _failure(PluginPhase.PERMANENT_FAILURE, ErrorKind.USER, code, message, info, cleanup=cleanup)


def system_failure(
    code: str, message: str, info: TaskInfo | None = None, *, cleanup: bool = False
) -> PhaseInfo:
    """Report a permanent failure by the platform's fault."""
    return _failure(PluginPhase.PERMANENT_FAILURE, ErrorKind.SYSTEM, code, message, info, cleanup=cleanup)


def retryable_failure(
    code: str, message: str, info: TaskInfo | None = None, *, cleanup: bool = False
) -> PhaseInfo:
    """Report a failure by the user's fault that spends a retry."""
    return _failure(PluginPhase.RETRYABLE_FAILURE, ErrorKind.USER, code, message, info, cleanup=cleanup)


def system_retryable_failure(
    code: str, message: str, info: TaskInfo | None = None, *, cleanup: bool = False
) -> PhaseInfo:
    """Report a failure by the platform's fault: it spends the system budget, never a user retry."""
    return _failure(PluginPhase.RETRYABLE_FAILURE, ErrorKind.SYSTEM, code, message, info, cleanup=cleanup)
