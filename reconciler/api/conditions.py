"""What a status says and remembers: conditions, history, error (spec 2.4, 2.5, 2.6).

Stored as JSON arrays, a third of the size of objects; new fields are appended at the end, so older readers skip them.
Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import enum

import msgspec

MESSAGE_LIMIT = 4096
"""Longest message kept in a record, in characters (spec 2.4 allows 32768; spec W-16 asks for a bound)."""
CODE_LIMIT = 256
"""Longest code of an error that is stored, in characters (spec W-16)."""
HISTORY_LIMIT = 50
"""Most history entries kept; the first one and the newest ones survive (spec W-16)."""


class ConditionType(enum.StrEnum):
    """The three aspects a condition can state."""

    PROGRESSING = "Progressing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ConditionStatus(enum.StrEnum):
    """Whether the aspect holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(enum.StrEnum):
    """Why a condition has its status; also the phase names of the history (spec 2.4, 2.5)."""

    QUEUED = "Queued"
    INITIALIZING = "Initializing"
    EXECUTING = "Executing"
    COMPLETED = "Completed"
    RETRYABLE_FAILURE = "RetryableFailure"
    PERMANENT_FAILURE = "PermanentFailure"
    ABORTED = "Aborted"
    PLUGIN_NOT_FOUND = "PluginNotFound"
    INVALID_SPEC = "InvalidSpec"
    PAUSED = "Paused"
    SIGNALED = "Signaled"
    TIMED_OUT = "TimedOut"
    WEBHOOK_CALLED = "WebhookCalled"
    """Of the history alone: the webhook of a condition took the question (spec W-30)."""
    WEBHOOK_GIVEN_UP = "WebhookGivenUp"
    """Of the history alone: it did not, as often as it was tried."""


class Condition(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One aspect of an action, unique by type (spec 2.4)."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: int


class PhaseTransition(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One entry of the history: a reason name, when it was entered (controller clock), and a message (spec 2.5)."""

    phase: str
    occurred_at: int
    message: str = ""


class ErrorState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The last error, with the code an event's phase cannot carry (spec 2.6). `kind`: USER, SYSTEM or empty."""

    code: str = ""
    kind: str = ""
    message: str = ""


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text`, shortened to `limit` characters with a note of how much is missing (spec W-16).

    Halves of surrogate pairs become `?`: no record can hold them (spec W-28).
    """
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    if len(text) <= limit:
        return text
    note = f"… ({len(text)} characters, cut)"
    return text[: limit - len(note)] + note
