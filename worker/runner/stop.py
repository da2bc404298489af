"""Decide when a call must stop: a callback is asked now and then, or another thread says so."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class StopAsked(Exception):  # a turn of events between two modules, not an error
    """The running call must stop, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequests:
    """Requests of other threads to stop the running call; a pipe carries them into the wait.

    Attributes:
        wake: file descriptor, readable from a request until `drain`.
    """

    def __init__(self) -> None:
        self.wake, self._waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._waker, False)
        self._guard = threading.Lock()
        self._in_call = False
        self._reason: str | None = None
        self._written = False

    def begin(self) -> None:
        """Begin a call: requests count from now on."""
        with self._guard:
            self._in_call = True
            self._reason = None

    def finish(self) -> None:
        """Finish the call: later requests are for no call."""
        with self._guard:
            self._in_call = False
            self.drain()

    def request(self, reason: str) -> bool:
        """Ask for a stop. False: no call is running, and nothing was done."""
        with self._guard:
            if not self._in_call:
                return False
            self._reason = self._reason or reason
            self._write(b"!")
            return True

    def nudge(self) -> None:
        """Wake the wait because there is news for the call, without a reason to stop. May be called in any thread."""
        with self._guard:
            if self._in_call:
                self._write(b".")

    def _write(self, byte: bytes) -> None:
        with suppress(BlockingIOError):  # the pipe is full of earlier requests: it is readable all right
            os.write(self._waker, byte)
        self._written = True  # afterwards, or it could be drained too early and stay readable for good

    def drain(self) -> str | None:
        """Make `wake` unreadable again, and return what was asked for. Runs six times a call, nearly always for nothing."""
        if self._written:
            self._written = False
            with suppress(BlockingIOError):
                while os.read(self.wake, 1024):
                    pass
        return self._reason

    def close(self) -> None:
        """Close both ends of the pipe."""
        os.close(self.wake)
        os.close(self._waker)


class StopWatch:
    """Watches, during one call, for a reason to stop it. After the first reason it stays quiet."""

    def __init__(self, requests: StopRequests, stop: Callable[[], str | None], poll: float) -> None:
        self._requests = requests
        self._stop = stop
        self._poll = poll
        self._next = time.monotonic()
        self._quiet = False

    def check(self) -> None:
        """Ask, if it is time to.

        Raises:
            StopAsked: there is a reason to stop.
        """
        reason = self._requests.drain()
        if self._quiet:
            return
        if reason is None and time.monotonic() >= self._next:
            reason = self._stop()
            self._next = time.monotonic() + self._poll
        if reason is not None:
            self._quiet = True
            raise StopAsked(reason)

    def silence(self) -> None:
        """Note that the call is already being stopped, so that further reasons no longer matter."""
        self._quiet = True

    def pause(self, until: float | None) -> float:
        """Return the seconds to wait until something happens, `check` is due or `until` (monotonic) has come."""
        now = time.monotonic()
        ends = [end for end in (until, None if self._quiet else self._next) if end is not None]
        return max(0.0, min(ends, default=now + self._poll) - now)
