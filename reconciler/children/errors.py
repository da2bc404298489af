"""Turn answers of the supervisor into the errors that a function sees."""

from __future__ import annotations

from reconciler.api import errors
from reconciler.api.errors import ActionEnded, ReconcilerError, ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.children import requests as ask


class Suspended(BaseException):
    """Raised in a function where it waits with nothing else to do. `finally` and `with` clean up; it is called again later.

    Not an `Exception`: a function that keeps it from passing is ended by force.
    """


SWALLOWED = "SuspensionSwallowed"
"""Code of the error of a function that keeps `Suspended` from passing."""
WENT_ON = (
    "The function has called continue_as_new, and went on to its end all the same: let BaseException pass (catch Exception "
    "instead), or return what comes of it without calling continue_as_new."
)


def is_suspension(error: BaseException | None) -> bool:
    """Tell whether a call has ended with `Suspended`, alone or in a group; None: it has returned."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(Suspended) is not None
    return isinstance(error, Suspended)


def error_of(kind: str, message: str) -> ReconcilerError:
    """Make the error a refusal stands for."""
    found = getattr(errors, kind, ReconcilerError)
    if not (isinstance(found, type) and issubclass(found, ReconcilerError)):
        found = ReconcilerError
    error = found.__new__(found)
    Exception.__init__(error, message)
    return error


def ended_error_of(end: ask.End) -> ActionEnded | None:
    """Make the error of a child that did not succeed, caused by what its function raised; None when it succeeded."""
    phase = ActionPhase(end.phase)
    if end.document is not None:
        return None
    kinds = {ActionPhase.ABORTED: errors.ActionAborted, ActionPhase.TIMED_OUT: errors.ActionTimedOut}
    error = kinds.get(phase, errors.ActionFailed)(end.action, end.code, end.message, end.kind)
    if end.traceback:
        error.__cause__ = errors.ChildError(end.traceback)
    return error


def not_in_time(timeout: float) -> ResultTimeout:
    """Make the error of a wait whose time is over."""
    return ResultTimeout(f"it had not ended after {timeout} s; it goes on: wait again, or abort it")


def nothing_comes(timeout: float | None) -> ReconcilerError:
    """Make the error of a wait that could never end, because everything else in a lab stands still."""
    if timeout is not None:
        return not_in_time(timeout)
    return ReconcilerError(
        "a lab runs one thing at a time, and nothing ends while a thread of a function waits: wait in the function's own "
        "thread, or try this on `reconciler dev`"
    )
