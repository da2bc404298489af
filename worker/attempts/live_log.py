"""The log of a running attempt: stored now and then, so that any machine can read it before the end.

Where it lies is where the whole log will lie. A short attempt never comes here: nothing is started before its first
heartbeat, and nothing is stored that was stored before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

_EVERY = 2.0
"""Seconds between two writings of a short log."""
_PER_MEBIBYTE = 13.0
"""Further seconds for a long one, which is written as a whole each time."""


class LiveLog:
    """Writes what a function has written so far, from a thread of its own."""

    def __init__(self, so_far: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        """Prepare; start nothing yet.

        Args:
            so_far: gives what may be shown, without secrets; only ever longer.
            write: stores it.
        """
        self._so_far = so_far
        self._write = write
        self._lock = threading.Lock()
        self._is_over = False
        self._ends: threading.Event | None = None  # made with the thread: a short attempt has neither
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start writing, unless that is over; may be called again."""
        with self._lock:  # who ends it shall not meet a thread that is just being started
            if self._thread is None and not self._is_over:
                ends = self._ends = threading.Event()
                thread = threading.Thread(
                    target=self._follow, args=(ends,), name="reconciler-live-log", daemon=True
                )
                thread.start()
                self._thread = thread

    def leave(self) -> None:
        """Stop writing, after the current piece."""
        with self._lock:
            self._is_over = True
            if self._ends is not None:
                self._ends.set()

    def end(self) -> None:
        """Stop writing, and return when nothing is being written: then the whole log may take its place."""
        self.leave()
        if self._thread is not None:
            self._thread.join()

    def _follow(self, ends: threading.Event) -> None:
        stored, wait = 0, 0.0
        while not ends.wait(wait):
            try:
                text = self._so_far()
                if len(text) > stored:
                    self._write(text)
                    stored = len(text)
            except Exception as error:  # noqa: BLE001  # the whole log is stored at the end, and says what is wrong
                log.info("attempt.log_not_shown", error=str(error))
            wait = _EVERY + _PER_MEBIBYTE * stored / (1 << 20)
