"""Run a check in a process of its own, so that the memory it takes is freed with that process.

A steps worker asks S3 only now and then, or never. The client of boto3 that the checks of its start need would stay: 14 MB.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from contextlib import suppress

from reconciler.plugins.loading import load_watch
from worker.start import told

_NO_ANSWER = (
    "the look at the servers ended without an answer: see what stands above, and start the worker again"
)


def apart(look: Callable[[], list[str]]) -> list[str]:
    """Let a forked process look for problems; an exception of it is a problem, too. Call it before there are threads."""
    heard, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(heard)
            _look(look, telling)
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(heard, "rb") as pipe:
        answer = pipe.read()
    with suppress(ChildProcessError):  # where the system reaps children
        os.waitpid(child, 0)
    found = _last(answer)
    return [_NO_ANSWER] if found is None else found


def _look(look: Callable[[], list[str]], telling: int) -> None:
    def say(found: list[str] | None) -> None:
        os.write(telling, pickle.dumps(found))

    load_watch.listen(lambda problem: say([problem] if problem else None))
    try:
        found = look()
    except Exception as error:  # noqa: BLE001  # whatever it is, it ends the start
        found = told(error)
    with os.fdopen(telling, "wb") as pipe:
        pickle.dump(found, pipe)


def _last(answer: bytes) -> list[str] | None:
    """Read the last thing said: the answer, or what the process was loading when it ended; None: nothing."""
    said, found = io.BytesIO(answer), None
    while said.tell() < len(answer):
        found = pickle.load(said)  # noqa: S301  # by ourselves, a moment ago
    return found
