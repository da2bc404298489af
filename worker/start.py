"""Fail a start: end the process with a status that says whether somebody has to change something.

Celery logs what a signal handler raises and goes on: such a worker would stay up, do nothing, and eat messages.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

from reconciler.api.errors import InvalidSettings, Outage
from reconciler.core.retries import is_outage
from reconciler.core.visible import visible
from worker.faults import is_shortage

P = ParamSpec("P")
R = TypeVar("R")
CHANGE = 78
"""EX_CONFIG of sysexits.h: a setting or the installation has to be changed."""
AGAIN = 75
"""EX_TEMPFAIL: a server is away, or the host is short of something; start it again later."""
_PASSES = "Nothing has to be changed for that: it can be started again (status 75)."


def problems_of(error: Exception) -> list[str]:
    """List the problems in an error that ended a start, as sentences; one that may pass by itself is an `Outage`."""
    if isinstance(error, InvalidSettings):
        return error.problems
    text = str(error) or repr(error)
    if is_outage(error):
        return [Outage(text)]
    text = f"{type(error).__name__}: {text}"
    return [Outage(text) if is_shortage(error) else text]


def told(error: Exception) -> list[str]:
    """List the problems of an error; for an unexpected one the traceback is written as well."""
    if not (isinstance(error, InvalidSettings) or is_outage(error)):
        traceback.print_exc()
    return problems_of(error)


def status_of(problems: Sequence[str]) -> int:
    """Choose the exit status of a start with these problems: 75 when all of them may pass by themselves."""
    return AGAIN if all(isinstance(problem, Outage) for problem in problems) else CHANGE


def say(problems: Sequence[str], trace: str = "") -> int:
    """Write all problems to standard error; return the exit status.

    Args:
        problems: sentences.
        trace: the end of a traceback, for people.
    """
    status = status_of(problems)
    lines = ["this process of celery-reconciler cannot start:", *(f"  - {problem}" for problem in problems)]
    lines = [visible(line) for line in lines]  # an import of a user may raise anything
    last = [visible(text) for text in (trace.rstrip(), _PASSES if status == AGAIN else "") if text]
    sys.stderr.write("\n".join([*lines, *last]) + "\n")
    sys.stderr.flush()
    return status


def end(problems: Sequence[str], trace: str = "") -> NoReturn:
    """Write all problems and end this process at once; its children end with it."""
    os._exit(say(problems, trace))


def ends_start(handler: Callable[P, R]) -> Callable[P, R]:
    """Let every exception of a handler of a start signal end the process."""

    @wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # whatever it is, Celery would go on without what the handler does
            end(told(error))

    return guarded
