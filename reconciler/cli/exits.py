"""Define the exit codes, and the error object of `--json`."""

from __future__ import annotations

import enum

import click

from reconciler.api.errors import (
    ActionAborted,
    ActionConflict,
    ActionEnded,
    ActionNotFound,
    ActionTimedOut,
    ArchiveUnreadable,
    BlobCorrupt,
    BlobNotFound,
    CallbackRefused,
    InvalidInput,
    InvalidSettings,
    NotACondition,
    QueueFull,
    ReconcilerError,
    ResultTimeout,
    SignalRefused,
    Unavailable,
)
from reconciler.cli.format import scrub
from reconciler.core.visible import visible


class ExitCode(enum.IntEnum):
    """The exit code of a command; the same table stands in the docstring of `reconciler.cli`."""

    SUCCEEDED = 0
    UNEXPECTED = 1
    USAGE = 2
    FAILED = 3
    ABORTED = 4
    TIMED_OUT = 5
    NOT_FOUND = 6
    UNREACHABLE = 7
    STILL_RUNNING = 8
    NOT_READY = 9
    GARBAGE = 10
    QUEUE_FULL = 11
    GIVEN_UP = 130


MEANING = {
    ExitCode.SUCCEEDED: "succeeded",
    ExitCode.UNEXPECTED: "unexpected error",
    ExitCode.USAGE: "wrong usage or input; nothing was stored",
    ExitCode.FAILED: "the action failed",
    ExitCode.ABORTED: "the action was aborted",
    ExitCode.TIMED_OUT: "the action timed out",
    ExitCode.NOT_FOUND: "no such action, or its object is gone or damaged",
    ExitCode.UNREACHABLE: "a server cannot be reached, or refuses us",
    ExitCode.STILL_RUNNING: "the wait timed out; the action goes on",
    ExitCode.NOT_READY: "wrong settings, or doctor found problems",
    ExitCode.GARBAGE: "doctor --audit found what nobody owns",
    ExitCode.QUEUE_FULL: "the queue is full; nothing was stored, try again later",
    ExitCode.GIVEN_UP: "given up at the keyboard",
}
"""One line each, for `--help`."""

_BY_ERROR: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (ActionAborted, ExitCode.ABORTED),
    (ActionTimedOut, ExitCode.TIMED_OUT),
    (ActionEnded, ExitCode.FAILED),
    (ActionNotFound, ExitCode.NOT_FOUND),
    (BlobNotFound, ExitCode.NOT_FOUND),
    (BlobCorrupt, ExitCode.NOT_FOUND),
    (ArchiveUnreadable, ExitCode.NOT_FOUND),
    (Unavailable, ExitCode.UNREACHABLE),
    (QueueFull, ExitCode.QUEUE_FULL),
    (ResultTimeout, ExitCode.STILL_RUNNING),
    (InvalidSettings, ExitCode.NOT_READY),
    (InvalidInput, ExitCode.USAGE),
    (ActionConflict, ExitCode.USAGE),
    (NotACondition, ExitCode.USAGE),
    (SignalRefused, ExitCode.USAGE),
    (CallbackRefused, ExitCode.USAGE),
)


class GivenUp(click.ClickException):
    """The person at the keyboard has stopped waiting; what was asked for goes on."""

    exit_code = ExitCode.GIVEN_UP


def exit_code_of(error: BaseException) -> ExitCode:
    """Choose the exit code of an error."""
    if isinstance(error, click.ClickException):
        return ExitCode(error.exit_code)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return ExitCode.GIVEN_UP
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)


def sentence_of(error: BaseException) -> str:
    """Write the sentence for people: no traceback, no credentials, nothing that could control a terminal."""
    if isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, ReconcilerError):
        text = str(error)
    elif isinstance(error, (click.Abort, KeyboardInterrupt)):
        text = "given up at the keyboard."
    else:
        text = (
            f"unexpected {type(error).__name__}: {error}. "
            "`reconciler --traceback …` shows where; please report it."
        )
    return visible(scrub(text))


def error_document(error: BaseException) -> dict[str, object]:
    """Write the error as one JSON object.

    Keys: `type`, `message` and `exit_code`; `action`, `code` and `kind` when an action ended otherwise than
    by success; `queue`, `limit` and `waiting` of a full queue; `problems` for settings.
    """
    kind = "GivenUp" if isinstance(error, (click.Abort, KeyboardInterrupt)) else type(error).__name__
    found: dict[str, object] = {
        "type": kind,
        "message": sentence_of(error),
        "exit_code": int(exit_code_of(error)),
    }
    if isinstance(error, (ActionNotFound, ActionConflict, ActionEnded)):
        found["action"] = str(error.action)
    if isinstance(error, ActionEnded):
        found |= {"code": error.code, "kind": error.kind, "message": visible(scrub(error.message))}
    if isinstance(error, QueueFull):
        found |= {"queue": error.queue, "limit": error.limit, "waiting": error.waiting}
    if isinstance(error, InvalidSettings):
        found["problems"] = [visible(scrub(problem)) for problem in error.problems]
    return {"error": found}
