"""Signals of a child: timers, handlers and masks, put back after each call."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import signal
from functools import wraps
from typing import Any, Final

from worker.runner.kernel import libc, quick
from worker.runner.rights import Timers

_NUMBERS: Final = sorted(int(number) for number in signal.valid_signals())
_TIMERS: Final = (int(signal.ITIMER_REAL), int(signal.ITIMER_VIRTUAL), int(signal.ITIMER_PROF))
_DISARMED: Final = [(0.0, 0.0)] * len(_TIMERS)
_C: Final[Any] = importlib.import_module("_signal")
"""`signal` without its enums: 64 handlers are read in 1 µs instead of 30."""


_SET_BY_C: Final = (signal.SIGCHLD, signal.SIGTERM)
"""Those whose handlers are asked of C, too: ignored, they hide that a process has ended, or that a function shall."""
_FATAL: Final = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL}
_DUMPING: Final = [
    number for number in range(1, 32) if number not in {*_FATAL, signal.SIGKILL, signal.SIGSTOP}
]
"""Those that can be told to dump the stack."""
_ERRORS: Final = 2
"""The descriptor of standard error."""
_ACTION: Final = 256
"""Bytes: more than C keeps about one signal."""
_MEANT: Final = (slice(16), slice(136, 140))
"""Where, on Linux, handler, mask and flags are: C leaves what lies between as it was in memory."""


class Dumps:
    """Listens to which signals are told to dump the stack, by whomever. Make it before the imports of the user.

    Attributes:
        asked: the signals, since it was emptied.
    """

    def __init__(self) -> None:
        self.asked: set[int] = set()
        register = faulthandler.register

        @wraps(register)
        def listening(*args: Any, **named: Any) -> None:  # noqa: ANN401  # as `register`
            register(*args, **named)
            self.asked.add(int(args[0] if args else named["signum"]))

        faulthandler.register = listening


class Signals:
    """Takes the present setup of signals as the one that each call will find."""

    def __init__(self, dumps: Dumps) -> None:
        self._dumps = dumps
        dumps.asked.clear()
        self._timers = _armed()
        self._handlers = _handlers()
        self._blocked = _C.pthread_sigmask(signal.SIG_BLOCK, ())
        self._faults = faulthandler.is_enabled()
        self._made = Timers()
        self._buffers = [ctypes.create_string_buffer(_ACTION) for _ in _SET_BY_C]
        self._actions = [
            (int(number), ctypes.c_void_p(ctypes.addressof(buffer)))
            for number, buffer in zip(_SET_BY_C, self._buffers, strict=True)
        ]
        self._meant = [memoryview(buffer)[part] for buffer in self._buffers for part in _MEANT]
        self._of_c = self._read_actions()
        self._kept = [buffer.raw for buffer in self._buffers]
        known = {0, 1, _handler_of_c(signal.SIGTERM)}
        self._dumping = {number for number in _DUMPING if _handler_of_c(number) in known}

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
            if self._faults:  # it takes its own handlers, which only C has, for still there
                faulthandler.disable()
                faulthandler.enable(_ERRORS)
        if self._read_actions() != self._of_c:
            for (number, _), kept in zip(self._actions, self._kept, strict=True):
                libc.sigaction(number, kept, None)
            self._of_c = self._read_actions()  # C adds a flag of its own
        signal.set_wakeup_fd(-1)
        return ""

    def _restore_dumps(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        while self._dumps.asked:
            number = self._dumps.asked.pop()
            if number in self._dumping:
                faulthandler.unregister(number)
        if self._faults:
            faulthandler.enable(_ERRORS)  # also where a call had another file for it
        elif faulthandler.is_enabled():
            faulthandler.disable()

    def _read_actions(self) -> bytes:
        for number, action in self._actions:
            quick.sigaction(number, None, action)
        return b"".join(self._meant)

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


def _armed() -> list[tuple[float, float]]:
    """List for each timer whether it runs (else 0), and its interval."""
    found = list(map(_C.getitimer, _TIMERS))
    return found if found == _DISARMED else [(left > 0, interval) for left, interval in found]


def _handlers() -> list[Any]:
    return list(map(_C.getsignal, _NUMBERS))
