"""The two phase lists: what a plugin reports, and what users see of an action (R19)."""

from __future__ import annotations

import enum


class PluginPhase(enum.IntEnum):
    """The phase a plugin reports of its attempt, in the order of R16. `label` is what records store."""

    UNDEFINED = 0
    NOT_READY = 1
    WAITING_FOR_RESOURCES = 2
    QUEUED = 3
    INITIALIZING = 4
    RUNNING = 5
    SUCCESS = 6
    RETRYABLE_FAILURE = 7
    PERMANENT_FAILURE = 8
    WAITING_FOR_CACHE = 9
    ABORTED = 10

    @property
    def label(self) -> str:
        """The stored name, e.g. `PhaseRunning` (R16)."""
        return _LABELS[self]

    @classmethod
    def from_label(cls, label: str) -> PluginPhase:
        """Find the phase of a stored name. Anything unknown, also the empty string, is UNDEFINED."""
        return _BY_LABEL.get(label, cls.UNDEFINED)

    def is_failure(self) -> bool:
        """Tell whether the attempt failed, retryable or not."""
        return self in _FAILURES

    def is_success(self) -> bool:
        """Tell whether the attempt succeeded."""
        return self is PluginPhase.SUCCESS

    def is_aborted(self) -> bool:
        """Tell whether the attempt was aborted."""
        return self is PluginPhase.ABORTED

    def is_terminal(self) -> bool:
        """Tell whether the *plugin* is done. A retryable failure is terminal for the plugin, not for the action."""
        return self in _DONE

    def is_waiting_for_resources(self) -> bool:
        """Tell whether the plugin waits for a quota."""
        return self is PluginPhase.WAITING_FOR_RESOURCES


_FAILURES = frozenset({PluginPhase.RETRYABLE_FAILURE, PluginPhase.PERMANENT_FAILURE})
_DONE = _FAILURES | {PluginPhase.SUCCESS, PluginPhase.ABORTED}
_LABELS = {p: "Phase" + "".join(w.capitalize() for w in p.name.split("_")) for p in PluginPhase}
_BY_LABEL = {label: phase for phase, label in _LABELS.items()}


class ActionPhase(enum.IntEnum):
    """The phase of an action, as users, events and views see it. Numbers as in Flyte's protocol (R19)."""

    UNSPECIFIED = 0
    """Never stored: an unknown action is `ActionNotFound`, not a phase."""
    QUEUED = 1
    """Accepted, or between two attempts. A reconcile step moves it on."""
    WAITING_FOR_RESOURCES = 2
    """Waits for a quota, or for the owner of a cache reservation. Moved on by a release or a put."""
    INITIALIZING = 3
    """The plugin prepares the attempt."""
    RUNNING = 4
    """An attempt runs. Moved on by its outcome, an abort, a limit of time or the end of its lease."""
    SUCCEEDED = 5
    """Terminal: outputs are readable."""
    FAILED = 6
    """Terminal as the phase of an action; as the phase of an event it also ends a single attempt (R32)."""
    ABORTED = 7
    """Terminal: somebody asked for it; reason and actor are stored."""
    TIMED_OUT = 8
    """Terminal: a limit of time ended it."""
    PAUSED = 9
    """A condition waits for its signal."""
    RECOVERED = 10
    """Terminal from the start: outputs of the same action of an earlier run were taken over (`Client.recover`)."""

    def __str__(self) -> str:
        return self.name.lower()

    def is_terminal(self) -> bool:
        """Tell whether there is no way out of this phase."""
        return self in TERMINAL

    def has_outputs(self) -> bool:
        """Tell whether outputs can be read: the action succeeded, or those of an earlier run were taken over."""
        return self is ActionPhase.SUCCEEDED or self is ActionPhase.RECOVERED


TERMINAL = frozenset(
    {
        ActionPhase.SUCCEEDED,
        ActionPhase.FAILED,
        ActionPhase.ABORTED,
        ActionPhase.TIMED_OUT,
        ActionPhase.RECOVERED,
    }
)

_ENDS = frozenset({ActionPhase.SUCCEEDED, ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT})
TRANSITIONS: dict[ActionPhase, frozenset[ActionPhase]] = {
    ActionPhase.QUEUED: _ENDS
    | {ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.INITIALIZING, ActionPhase.RUNNING, ActionPhase.PAUSED},
    ActionPhase.WAITING_FOR_RESOURCES: _ENDS
    | {ActionPhase.QUEUED, ActionPhase.INITIALIZING, ActionPhase.RUNNING},
    ActionPhase.INITIALIZING: _ENDS
    | {ActionPhase.QUEUED, ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.RUNNING},
    ActionPhase.RUNNING: _ENDS
    | {ActionPhase.QUEUED, ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.INITIALIZING},
    ActionPhase.PAUSED: _ENDS,
    ActionPhase.SUCCEEDED: frozenset(),
    ActionPhase.FAILED: frozenset(),
    ActionPhase.ABORTED: frozenset(),
    ActionPhase.TIMED_OUT: frozenset(),
    ActionPhase.RECOVERED: frozenset(),
}
"""Legal moves of an action. The picture in docs/lifecycle.md is compared with this table by a test."""
