"""Define what a status says and remembers: conditions, history, error (R12, R13, R14).

Stored as JSON arrays, a third of the size of objects; new fields are appended at the end, so older readers skip them.
Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

import enum

import msgspec

MESSAGE_LIMIT = 4096
"""Longest message kept in a record, in characters (R15; Flyte allows 32768)."""
CODE_LIMIT = 256
"""Longest code of an error that is stored, in characters (R15)."""
HISTORY_LIMIT = 50
"""Most history entries kept; the first one and the newest ones survive (R15)."""


class ConditionType(enum.StrEnum):
    """The three aspects a condition can state."""

    PROGRESSING = "Progressing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ConditionStatus(enum.StrEnum):
    """The value of a condition: whether its aspect holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(enum.StrEnum):
    """The reason for the status of a condition; also the phase names of the history (R12, R13)."""

    QUEUED = "Queued"
    INITIALIZING = "Initializing"
    EXECUTING = "Executing"
    COMPLETED = "Completed"
    RECOVERED = "Recovered"
    """It did not run: outputs of the same action of an earlier run were taken over."""
    RETRYABLE_FAILURE = "RetryableFailure"
    PERMANENT_FAILURE = "PermanentFailure"
    ABORTED = "Aborted"
    PLUGIN_NOT_FOUND = "PluginNotFound"
    INVALID_SPEC = "InvalidSpec"
    PAUSED = "Paused"
    SIGNALED = "Signaled"
    TIMED_OUT = "TimedOut"
    WEBHOOK_CALLED = "WebhookCalled"
    """The webhook of a condition took the question; said in the history only (R53)."""
    WEBHOOK_GIVEN_UP = "WebhookGivenUp"
    """The webhook did not take the question, as often as it was tried; said in the history only."""


class Condition(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One aspect of an action, unique by type (R12)."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: int


class PhaseTransition(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One entry of the history: a reason name, when it was entered (controller clock), and a message (R13).

    `began`: when it began to run, ms since the epoch, in the first entry that knows; 0 = an earlier one says so, or nobody.
    """

    phase: str
    occurred_at: int
    message: str = ""
    began: int = 0


class ErrorState(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """The last error, with the code an event's phase cannot carry (R14). `kind`: USER, SYSTEM or empty."""

    code: str = ""
    kind: str = ""
    message: str = ""


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Shorten `text` to `limit` characters, with a note of how much is missing (R15).

    Halves of surrogate pairs become `?`: no record can hold them (R59).
    """
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    if len(text) <= limit:
        return text
    note = f"… ({len(text)} characters, cut)"
    return text[: limit - len(note)] + note
