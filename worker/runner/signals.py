"""Signals of a child: timers, handlers and masks, put back after each call."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import signal
from typing import Any, Final

from worker.runner.kernel import libc
from worker.runner.rights import Timers

_NUMBERS: Final = sorted(int(number) for number in signal.valid_signals())
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_C: Final[Any] = importlib.import_module("_signal")
"""`signal` without its enums: 64 handlers are read in 1 µs instead of 30."""


_SET_BY_C: Final = (signal.SIGCHLD, signal.SIGTERM)
"""Those whose handlers are asked of C, too: ignored, they hide that a process has ended, or that a function shall."""
_FATAL: Final = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
_DUMPING: Final = [
    number for number in range(1, 32) if number not in {*_FATAL, signal.SIGKILL, signal.SIGSTOP}
]
"""Those that can be told to dump the stack; 0.1 µs each."""
_ERRORS: Final = 2
"""The descriptor of standard error."""
_ACTION: Final = 256
"""Bytes: more than C keeps about one signal."""


class Signals:
    """Takes the present setup of signals as the one that each call will find."""

    def __init__(self) -> None:
        self._timers = _armed()
        self._handlers = _handlers()
        self._blocked = _C.pthread_sigmask(signal.SIG_BLOCK, ())
        self._faults = faulthandler.is_enabled()
        self._made = Timers()
        self._buffer = ctypes.create_string_buffer(_ACTION * len(_SET_BY_C))
        start = ctypes.addressof(self._buffer)
        self._actions = [
            (int(number), ctypes.c_void_p(start + _ACTION * place)) for place, number in enumerate(_SET_BY_C)
        ]
        self._of_c = self._read_actions()
        known = {0, 1, _handler_of_c(signal.SIGTERM)}
        self._dumping = [number for number in _DUMPING if _handler_of_c(number) in known]

    def restore(self) -> str:
        """Disarm timers, and put handlers and mask back. Returns nothing: all of it can be restored."""
        self._restore_dumps()
        self._made.restore()
        if _armed() != self._timers:
            for timer, (armed, interval) in zip(_TIMERS, self._timers, strict=True):
                signal.setitimer(timer, interval if armed else 0, interval)
        self._unblock()
        if _handlers() != self._handlers:
            for number, handler in zip(_NUMBERS, self._handlers, strict=True):
                if handler is not None and _C.getsignal(number) != handler:
                    signal.signal(number, handler)
        if self._read_actions() != self._of_c:
            self._buffer.raw = self._of_c
            for number, action in self._actions:
                libc.sigaction(number, action, None)
        signal.set_wakeup_fd(-1)
        return ""

    def _restore_dumps(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        for number in self._dumping:
            faulthandler.unregister(number)
        if self._faults:
            faulthandler.enable(_ERRORS)  # also where a call had another file for it
        elif faulthandler.is_enabled():
            faulthandler.disable()

    def _read_actions(self) -> bytes:
        for number, action in self._actions:
            libc.sigaction(number, None, action)
        return self._buffer.raw

    def _unblock(self) -> None:
        """Take signals that waited behind the mask, before a handler runs that is not meant for them."""
        if _C.pthread_sigmask(signal.SIG_BLOCK, ()) == self._blocked:
            return
        while waiting := signal.sigpending() - {signal.SIGTERM}:
            signal.sigtimedwait(waiting, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)


def _handler_of_c(number: int) -> int:
    action = ctypes.create_string_buffer(_ACTION)
    libc.sigaction(number, None, action)
    return ctypes.c_size_t.from_buffer(action).value


def _armed() -> list[tuple[bool, float]]:
    """List for each timer whether it runs, and its interval."""
    return [(left > 0, interval) for left, interval in map(signal.getitimer, _TIMERS)]


def _handlers() -> list[Any]:
    return list(map(_C.getsignal, _NUMBERS))
