"""Define what a remote plugin is set to, and what it remembers between rounds (R72)."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TypeVar

import msgspec

from reconciler import metrics
from reconciler.api.errors import CorruptedPluginState, InvalidSettings, PluginError
from reconciler.api.phase import PluginPhase
from reconciler.api.reading import read_json
from reconciler.plugins.state import PluginStateManager

T = TypeVar("T")
STATE_VERSION = 1
_SHORTEST, _LONGEST = timedelta(seconds=5), timedelta(hours=1)
_NOTHING = msgspec.Raw(b"null")


class RemoteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a remote plugin's polling.

    Flyte's size, workers and rates of the background refresh have no place here: each action is polled in a round of its
    own, on the handle threads of the steps workers, and how many resources exist at once is a matter of quotas.

    Attributes:
        resync_interval: time between two looks at a resource, 5 s to 1 h.
        max_sync_failures: failed looks in a row that are borne, at least 0; one more is a system failure.

    Raises:
        InvalidSettings: lists every value that is out of range.
    """

    resync_interval: timedelta = timedelta(seconds=30)
    max_sync_failures: int = 5

    def __post_init__(self) -> None:
        problems = []
        if not _SHORTEST <= self.resync_interval <= _LONGEST:
            problems.append(f"resync_interval must be from 5 seconds to 1 hour, got {self.resync_interval}")
        if self.max_sync_failures < 0:
            problems.append(f"max_sync_failures must not be negative, got {self.max_sync_failures}")
        if problems:
            raise InvalidSettings(problems)

    @property
    def resync(self) -> int:
        """The interval in ms."""
        return self.resync_interval // timedelta(milliseconds=1)


class RemotePhase(enum.StrEnum):
    """The progress of a launch (R72). A platform failure is launched again, so it is never stored."""

    NOT_STARTED = "NotStarted"
    ALLOCATION_TOKEN_ACQUIRED = "AllocationTokenAcquired"  # noqa: S105  # a unit of a quota, no password
    RESOURCES_CREATED = "ResourcesCreated"
    SUCCEEDED = "Succeeded"
    USER_FAILURE = "UserFailure"

    @property
    def ended(self) -> bool:
        """Tell whether the service said that the resource has ended."""
        return self in {RemotePhase.SUCCEEDED, RemotePhase.USER_FAILURE}


class ReturnedUnknown(PluginError):
    """`status` returned a phase no resource can be in: `WaitingForCache` and `Aborted` are the engine's own."""

    code = "RETURNED_UNKNOWN"


_PHASES = {
    PluginPhase.UNDEFINED: RemotePhase.NOT_STARTED,
    PluginPhase.NOT_READY: RemotePhase.NOT_STARTED,
    PluginPhase.WAITING_FOR_RESOURCES: RemotePhase.RESOURCES_CREATED,
    PluginPhase.QUEUED: RemotePhase.RESOURCES_CREATED,
    PluginPhase.INITIALIZING: RemotePhase.RESOURCES_CREATED,
    PluginPhase.RUNNING: RemotePhase.RESOURCES_CREATED,
    PluginPhase.SUCCESS: RemotePhase.SUCCEEDED,
    PluginPhase.RETRYABLE_FAILURE: RemotePhase.USER_FAILURE,
    PluginPhase.PERMANENT_FAILURE: RemotePhase.USER_FAILURE,
}


def remote_phase(phase: PluginPhase) -> RemotePhase:
    """Return what is remembered of a phase that `status` returned (R72).

    Raises:
        ReturnedUnknown: no resource can be in it.
    """
    found = _PHASES.get(phase)
    if found is None:
        raise ReturnedUnknown(
            f"status answered {phase.label}; answer a failure for what was cancelled at the service"
        )
    return found


class RemoteState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored document, version 1.

    Attributes:
        phase: how far the launch is.
        meta: how the service calls the resource, as JSON; null = not known.
        sync_failures: failed looks in a row (R72).
    """

    phase: RemotePhase = RemotePhase.NOT_STARTED
    meta: msgspec.Raw = _NOTHING
    sync_failures: int = 0


def read_state(state: PluginStateManager) -> RemoteState:
    """Read the state of the previous round, or make a new one when there is none.

    Raises:
        CorruptedPluginState: it cannot be decoded.
    """
    with metrics.unmarshalling():
        return state.get(RemoteState) or RemoteState()


def write_meta(meta: object) -> msgspec.Raw:
    """Encode a meta as it is stored.

    Raises:
        CorruptedPluginState: it cannot be written as JSON.
    """
    try:
        return msgspec.Raw(msgspec.json.encode(meta))
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptedPluginState(
            f"resource meta cannot be written as JSON: {error}. Let meta_type be a type msgspec can encode."
        ) from error


def read_meta(state: RemoteState, kind: type[T]) -> T:
    """Return the service's name for the resource.

    Raises:
        CorruptedPluginState: what is stored is no `kind`.
    """
    try:
        return read_json(state.meta, kind)
    except msgspec.DecodeError as error:
        raise CorruptedPluginState(f"failed to decode resource meta: {error}") from error


def known_meta(state: PluginStateManager, kind: type[T]) -> T | None:
    """Decode the meta for cleaning up. None when there is none, or it cannot be decoded, which must stop no abort (R72)."""
    try:
        return read_meta(read_state(state), kind)
    except CorruptedPluginState:
        return None
