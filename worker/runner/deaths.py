"""Say how a child ended: sentences for ends without an answer, and the line of the log when another one takes its place."""

from __future__ import annotations

import signal
from typing import Final

import structlog

from worker.runner.messages import Died

log = structlog.get_logger(__name__)

EXITED: Final = (
    "The process of the function ended with status {} before the function returned (os._exit, or C code)."
)
KILLED: Final = "The process of the function was killed by {}. The end of its log may show where."
OUT_OF_MEMORY: Final = (
    "The process of the function was killed by the kernel: out of memory. Give the worker more memory, let "
    "it run fewer attempts at once, or let the function hold less at a time."
)
NONSENSE: Final = (
    "The process of the function broke off the conversation with its worker and was killed. The function "
    "must not close or write to file descriptors it did not open."
)
FOREIGN_SIGTERM: Final = Died(
    int(signal.SIGTERM),
    None,
    oom=False,
    message="The function was ended by a SIGTERM that did not come from its worker.",
)
ENDED_IDLE: Final = "The process of the function ended again and again before it took up the call."
SLOW_START: Final = (
    "The process of the function was not ready{} after {:g} s: move slow work from the top level of the modules "
    "in RECONCILER_IMPORTS into the functions, or raise RECONCILER_IMPORT_TIMEOUT."
)
ENDED_EARLY: Final = (
    "The process of the function ended while it imported {}: correct that module, or the list in "
    "RECONCILER_IMPORTS. "
)


def tell_replaced(pid: int, why: str) -> None:
    """Log that another child takes the place of this one."""
    log.info("attempt.child_replaced", pid=pid, why=why)
