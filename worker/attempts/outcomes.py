"""Turn the end of a call into an outcome of the record: each kind of death has its own code."""

from __future__ import annotations

import signal

from msgspec.structs import replace

from reconciler.api.action import SUSPENDED, AttemptOutcome
from reconciler.api.transition import OutputRef
from reconciler.core.deadlines import RUNNING_TIMED_OUT
from reconciler.plugins.suspension import NAMED
from worker.runner.runner import (
    TIMED_OUT,
    Died,
    Ended,
    NotStarted,
    Raised,
    Returned,
    Stopped,
    Suspended,
    Unfit,
    Unknown,
)

NOT_STARTED = "NotStarted"
"""Code of an attempt for which there was no process of functions."""


def describe(ended: Ended, log: OutputRef | None = None) -> AttemptOutcome:
    """Describe the outcome of a call that did not return (R74: each kind of death has its own code), and its log, if any."""
    outcome = _outcome(ended)
    return outcome if log is None else replace(outcome, log_uri=log.uri, log_sha256=log.sha256)


def _outcome(ended: Ended) -> AttemptOutcome:
    match ended:
        case Unfit():
            return AttemptOutcome(
                ended="raised", code="InvalidArguments", message=ended.message, retryable=False
            )
        case Raised():
            return AttemptOutcome(
                ended="raised",
                code=ended.code,
                message=ended.message,
                traceback=ended.traceback,
                retryable=ended.retryable,
                asked=ended.asked,
            )
        case Died():
            code = _death(ended)
            how = (
                "stopped" if code == NOT_STARTED else "died"
            )  # that there is no process is not the function's fault
            return AttemptOutcome(ended=how, code=code, message=ended.message)
        case Stopped(reason=reason) if reason == TIMED_OUT:
            text = "the attempt has run longer than its running limit"
            return AttemptOutcome(ended="raised", code=RUNNING_TIMED_OUT, message=text, retryable=False)
        case Stopped():
            return AttemptOutcome(ended="stopped", code="Stopped", message=ended.reason)
        case Suspended(names=names, until=until):
            return AttemptOutcome(
                ended=SUSPENDED, waits=names[:NAMED], waits_for=len(names), until=until, retryable=True
            )
        case Returned() | NotStarted() | Unknown():
            raise AssertionError(ended)


def _death(died: Died) -> str:
    if died.oom:
        return "OOMKilled"
    if died.signal in {signal.SIGKILL, signal.SIGTERM}:
        return "Interrupted"
    if died.signal is not None:
        return "Crashed"
    return "ExitedPrematurely" if died.status is not None else NOT_STARTED
