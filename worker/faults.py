"""Faults of the installation around an attempt: reported at once, in plain words, and never counted against the user."""

from __future__ import annotations

import errno

from reconciler.api.action import AttemptOutcome

CODE = "WorkerFault"
"""Code of an attempt its worker could not run, or not finish, for a reason that is not the function's."""
_REMEDIES = {
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space on its disk",
    errno.EROFS: "let it write there",
    errno.EACCES: "let it write there",
    errno.EMFILE: "raise its limit of open files (ulimit -n)",
    errno.ENFILE: "raise the host's limit of open files (fs.file-max)",
    errno.EAGAIN: "raise its limit of processes (ulimit -u), or run fewer",
    errno.ENOMEM: "give it more memory, or lower its -c",
}
_NO_THREAD = "start new thread"  # all that Python says of it
_SHORT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})


def fault_of(error: Exception, worker: str, text: str) -> AttemptOutcome:
    """Make the outcome of an attempt that something other than its function ended: a system failure, which says why.

    Args:
        error: what was raised.
        worker: who ran the attempt, for people.
        text: what the error says, with secrets masked.
    """
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return AttemptOutcome(ended="stopped", code=CODE, message=storable(f"{worker}: {what}. {_remedy(error)}"))


def is_shortage(error: BaseException) -> bool:
    """Tell whether the host, or a server, is short of something just now: waiting may help."""
    if isinstance(error, OSError):
        return error.errno in _SHORT or isinstance(error, ConnectionError | TimeoutError)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_THREAD in str(error))


def storable(text: str) -> str:
    """Write out what no record can hold (half a character)."""
    return text.encode(errors="backslashreplace").decode()


def _remedy(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        number = errno.ENOMEM
    elif isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        number = errno.EAGAIN
    remedy = _REMEDIES.get(number) if number else None
    if remedy:
        return f"This is no fault of the function: look at its worker, and {remedy}."
    return "This is no fault of the function: the log of its worker says more."
