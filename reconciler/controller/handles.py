"""Threads for rounds that may block, so that those of a step run side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from reconciler.api.action import TaskAction
from reconciler.stores.base import Write

_THREADS = 16


class Handles:
    """The threads of one process; there are none until the first round needs one.

    Args:
        patience: longest wait for a thread, seconds.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, play: Callable[[TaskAction], Write], action: TaskAction) -> Future[Write]:
        """Have a round played in a thread."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="handle")
            return self._threads.submit(self._in_time, play, action, time.monotonic())

    def _in_time(self, play: Callable[[TaskAction], Write], action: TaskAction, since: float) -> Write:
        """Play a round that has waited for a thread since a time of the monotonic clock.

        After half a lease, another step may take the action before this round ends, and what a plugin starts now may escape
        the clean-up of that step. So the round does nothing and gives the action back.
        """
        if time.monotonic() - since > self._patience:
            return Write(action=action, original=action, due=action.now)
        return play(action)

    def close(self) -> None:
        """End the threads once they are done."""
        with self._lock:
            if self._threads is not None:
                self._threads.shutdown(wait=True, cancel_futures=True)
