"""Bound the time in which the module or the loader of a plugin may do its work: a start that stands still tells nothing."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta


class LoadWatch:
    """The watch over what is being loaded. It bounds nothing before it is armed: only the process can end what hangs."""

    def __init__(self) -> None:
        self._limit = 0.0
        self._hung: Callable[[str], None] | None = None
        self._heard: Callable[[str], object] | None = None

    def arm(self, limit: timedelta, hung: Callable[[str], None]) -> None:
        """Let `hung` be called, in a thread of its own, with the problem: a sentence with a remedy. It ends the process."""
        self._limit, self._hung = limit.total_seconds(), hung

    def listen(self, heard: Callable[[str], object]) -> None:
        """Let `heard` be called with what would be wrong if the process ended now; empty when nothing is being loaded."""
        self._heard = heard

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Watch something, named as in `the loader of plugin spark`, until the block ends."""
        if self._heard is not None:
            self._heard(
                f"{what} has ended the process (os._exit, or C code): correct it, or take the plugin out of "
                "RECONCILER_PLUGINS"
            )
        try:
            with self._in_time(what):
                yield
        finally:
            if self._heard is not None:
                self._heard("")

    @contextmanager
    def _in_time(self, what: str) -> Iterator[None]:
        if self._hung is None:
            yield
            return
        timer = threading.Timer(self._limit, self._tell, (what, threading.get_ident()))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # a process that is forked next shall find no thread

    def _tell(self, what: str, thread: int) -> None:
        assert self._hung is not None
        if self._heard is not None:
            self._heard("")  # it is we who end the process
        last = traceback.extract_stack(sys._current_frames()[thread])[-1]  # noqa: SLF001  # public but for its name
        self._hung(
            f"{what} has not ended after {self._limit:g} s ({last.filename}:{last.lineno}): take out what waits there, or "
            "raise RECONCILER_IMPORT_TIMEOUT, or take the plugin out of RECONCILER_PLUGINS"
        )


load_watch = LoadWatch()
"""That of this process."""
