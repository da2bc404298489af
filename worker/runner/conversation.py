"""Lead the conversation between a runner and its child, from a call to its end."""

from __future__ import annotations

import time
from typing import Final, cast, get_args

from reconciler.children.errors import SWALLOWED
from worker.runner.asking import Asking
from worker.runner.log import CappedLog
from worker.runner.messages import Raised, Reply
from worker.runner.process import ChildProcess
from worker.runner.stop import StopWatch

_REPLIES: Final = get_args(Reply)
NOT_SUSPENDED: Final = Raised(
    SWALLOWED,
    "The function was to end, because it had nothing to do but wait or had called continue_as_new, and has gone on: let "
    "BaseException pass (catch Exception instead). One that only waits keeps its worker with @env.task(suspend=False).",
    "",
    retryable=False,
)


def converse(
    child: ChildProcess,
    watch: StopWatch,
    asking: Asking,
    seconds: float | None,
    grace: float,
    log: CappedLog,
) -> Reply | None:
    """Wait for the end of a call, and serve its requests until then; None: the child is gone, or the time is over.

    Raises:
        StopAsked: there is a reason to stop.
    """
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        if asking.suspending_since is not None:
            ends = asking.suspending_since + grace
            until = ends if until is None else min(until, ends)
        message = child.step(asking.pause(watch.pause(until)), log)
        while asking.take(message):
            message = child.step(0, log)
        asking.work(child)
        if message is not None or child.gone:
            return cast("Reply | None", message)
        if until is not None and time.monotonic() >= until:
            return None
        watch.check()


def wait(child: ChildProcess, watch: StopWatch, seconds: float | None, log: CappedLog | None) -> Reply | None:
    """Wait for the next message of the child; None when it is gone, or when the time is over.

    Raises:
        StopAsked: there is a reason to stop.
    """
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        message = child.step(watch.pause(until), log)
        if isinstance(message, _REPLIES) or child.gone:
            return cast("Reply | None", message)
        if until is not None and time.monotonic() >= until:
            return None
        watch.check()
