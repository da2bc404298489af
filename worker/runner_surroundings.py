"""What a call finds around itself in the child, and what is put back after it: no call sees another's."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from worker.runner_kernel import adopt_orphans, descendants, kill_all, libc

_LOG_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S"
_INHERITED: Final = (
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGCHLD,
    signal.SIGALRM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_KILL_TIME: Final = 5.0
_BETWEEN_KILLS: Final = 0.001


class Surroundings:
    """Streams, logging, environment, working directory and processes of the calls of this child."""

    def __init__(self) -> None:
        """Set up what imports shall find already: signals as in a fresh program, streams, logging."""
        signal.pthread_sigmask(
            signal.SIG_SETMASK, ()
        )  # ignored and blocked signals of the supervisor pass exec
        for number in _INHERITED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        adopt_orphans()
        self._pid = os.getpid()
        self._output = os.dup(1)
        self._streams: dict[int, TextIO] = {}
        self._handler = logging.StreamHandler()
        formatter = logging.Formatter(_LOG_FORMAT, _TIME_FORMAT)
        formatter.converter = time.gmtime
        self._handler.setFormatter(formatter)
        logging.basicConfig(level=logging.INFO, handlers=[self._handler])
        self._set_streams()

    def keep(self) -> None:
        """Take what is there now, after the imports, as what each call shall find."""
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._processes = descendants(os.getpid())

    @contextmanager
    def around_call(self, env: Mapping[str, str]) -> Iterator[None]:
        """Give a call its environment and its streams; clean up behind it."""
        self._set_streams()
        os.environ.update(env)
        try:
            yield
        finally:
            if os.getpid() == self._pid:  # not in a process that the function has forked
                self._clean_up()

    def _clean_up(self) -> None:
        self._end_processes()
        self._flush()
        if os.environ != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        with suppress(OSError):  # the folder may have been removed; then there is nothing to go back to
            os.chdir(self._folder)

    def _set_streams(self) -> None:
        """Point stdout and stderr at the log, whatever an earlier call did to them."""
        for descriptor in (1, 2):
            os.dup2(self._output, descriptor)
        sys.stdout, sys.stderr = self._stream(1), self._stream(2)
        self._handler.setStream(sys.stderr)

    def _stream(self, descriptor: int) -> TextIO:
        stream = self._streams.get(descriptor)
        if stream is None or stream.closed:
            stream = open(  # noqa: SIM115  # stays open between calls
                descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
            )
            self._streams[descriptor] = stream
        return stream

    def _flush(self) -> None:
        """Bring out what Python and C have buffered, while it still goes to the log of this call."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the user may have put anything there
                stream.flush()
        libc.fflush(None)

    def _end_processes(self) -> None:
        """Kill and reap what the function has started and not waited for, its daemons too."""
        deadline = time.monotonic() + _KILL_TIME
        while _reap() and time.monotonic() < deadline:
            left = descendants(os.getpid()) - self._processes
            if not left:
                return
            kill_all(left)
            time.sleep(_BETWEEN_KILLS)


def _reap() -> bool:
    """Take the statuses of children that have ended. True: children are left."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True
