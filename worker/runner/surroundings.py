"""Prepare the surroundings of a call in the child, and put them back after it, so that no call sees another's.

What cannot be put back ends the child: `around_call` says why, and the supervisor takes another one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from io import TextIOWrapper
from os import getpid  # calls may replace that of `os`
from time import gmtime, monotonic, sleep
from types import ModuleType
from typing import Any, Final, Protocol, TextIO

from worker.runner.arithmetic import Arithmetic
from worker.runner.bodies import Bodies
from worker.runner.chance import Chance
from worker.runner.environment import Environment
from worker.runner.garbage import Garbage
from worker.runner.helpers import Helpers
from worker.runner.kernel import LINUX, adopt_orphans, descendants, kill_all, libc, quick, unread
from worker.runner.limits import Limits
from worker.runner.loggers import Loggers
from worker.runner.loops import Loops
from worker.runner.names import Builtins
from worker.runner.python import Modules, Settings, Tracers
from worker.runner.registrations import Registrations
from worker.runner.signals import Dumps, Signals
from worker.runner.threads import Threads

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
_STREAM: Final[dict[str, Any]] = {
    "encoding": "utf-8",
    "errors": "backslashreplace",
    "newline": None,
    "line_buffering": True,
    "write_through": False,
}
_OUTPUTS: Final = ((1, "stdout"), (2, "stderr"))
_ROUNDS: Final = 4
_KILL_TIME: Final = 5.0
_HELPER_TIME: Final = 2.0
_BETWEEN_KILLS: Final = 0.001


class Kept(Protocol):
    """A part of the surroundings that a call may change."""

    def restore(self) -> str:
        """Put it back. Returns why the process cannot serve another call, or nothing."""


class Surroundings:
    """Streams, logging, environment, processes and everything else a call of this child finds.

    Attributes:
        spent: why this process cannot serve another call; empty as long as it can.
        loops: the event loop of its calls.
    """

    def __init__(self, *also: Kept) -> None:
        """Set up what imports must find already: signals as in a fresh program, streams, logging."""
        self._also = also
        signal.pthread_sigmask(
            signal.SIG_SETMASK, ()
        )  # ignored and blocked signals of the supervisor pass exec
        for number in _INHERITED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        adopt_orphans()
        self._dumps = Dumps()
        self.spent = ""
        self._pid = getpid()
        self._input = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._output = os.dup(1)
        self._streams: dict[int, TextIOWrapper] = {}
        self._methods: list[dict[str, Any]] = []  # what is put into each stream; calls put methods there
        self._kept_methods: list[dict[str, Any]] = []
        self._noted, self._written, self._read = False, Bodies(), Bodies()
        self._around = _Around(self._leave)
        self._handler = logging.StreamHandler()
        formatter = logging.Formatter(_LOG_FORMAT, _TIME_FORMAT)
        formatter.converter = gmtime
        self._handler.setFormatter(formatter)
        logging.basicConfig(level=logging.INFO, handlers=[self._handler])
        self._set_streams()

    def keep(self) -> None:
        """Take the present state, after the imports, as the one that each call will find."""
        self._set_streams()
        self._processes = descendants(getpid())
        self._environment = Environment()
        self._helpers = Helpers()
        self._builtins = Builtins()
        registrations = Registrations()
        self._modules = Modules()
        self.loops = Loops()
        kernel: tuple[Kept, ...] = (Signals(self._dumps), Limits(), *self._also)
        self._first: tuple[Kept, ...] = (Arithmetic(), self._modules, Tracers(), registrations, *kernel)
        self._last: tuple[Kept, ...] = (Settings(), Chance(), Loggers())
        self._threads = Threads()
        self._garbage = Garbage()

    def around_call(self, env: Mapping[str, str]) -> AbstractContextManager[None]:
        """Give a call its environment, and clean up after it."""
        self._environment.enter(env)
        return self._around

    def _leave(self) -> None:
        if getpid() == self._pid:  # not in a process that the function has forked
            try:
                self.spent = self._clean_up()
            except BaseException as error:  # noqa: BLE001  # a handler of the user, a limit that is too low
                self.spent = f"cleaning up behind the function failed ({type(error).__name__}: {error})"

    def wrote(self) -> bool:
        """Tell whether something that calls have written has not been read yet; what a system cannot tell may be so."""
        return not LINUX or unread(self._output) > 0

    def _clean_up(self) -> str:
        """Stop what may fire or forbid, then end what acts, then write all remaining output to this log."""
        self._builtins.restore()  # all that follows is written with them
        if self._methods != self._kept_methods:
            for names, kept in zip(self._methods, self._kept_methods, strict=True):
                names.clear()
                names.update(kept)
        if self._let_go_of_given():
            self._set_outputs()
        why = self._calm()
        for _ in range(_ROUNDS):
            if not (self._garbage.collect() or self.loops.acted or self._threads.acted):
                break
            why += self._calm()  # code of the user ran, and may have done anything
        else:
            why.append("what it left does something again each time it is ended")
        why += [kept.restore() for kept in self._last]  # what they let go of may write, and set variables
        self._flush()
        self._set_streams()
        why.append(self._environment.restore())
        return "; ".join(filter(None, why))

    def _let_go_of_given(self) -> bool:
        """Let go of what a call has put in the place of our streams, which may close ours; tell whether there was any."""
        found = False
        for number, name in _OUTPUTS:
            given = getattr(sys, name, None)
            if given is not self._streams[number]:
                with suppress(Exception):  # the user may have put anything there
                    given.flush()  # type: ignore[union-attr]  # as above
                setattr(sys, name, self._streams[number])
                found = True
        return found

    def _calm(self) -> list[str]:
        why = [kept.restore() for kept in self._first]
        why += self.loops.restore(), self._end_processes(), self._threads.restore()
        return why

    def _set_streams(self) -> None:
        """Point the standard streams where they pointed before, whatever a call did to them."""
        os.dup2(self._input, 0)
        self._set_outputs()
        if self._read.changed() or sys.stdin is not self._stdin:
            self._set_input()
        if not self._noted:
            self._note_streams()

    def _set_outputs(self) -> None:
        """Do that for the two that are written to."""
        os.dup2(self._output, 1)
        os.dup2(self._output, 2)
        if not os.get_blocking(1):
            os.set_blocking(1, True)
        for number, name in _OUTPUTS:
            stream = self._streams.get(number)
            if stream is None or not _is_open(stream):
                self._noted, self._written = False, Bodies()
                stream = self._streams[number] = _opened(number)
                setattr(sys, name, stream)
                setattr(
                    sys, f"__{name}__", stream
                )  # else what a call writes there waits in a buffer until a later one
                self._adopt(sys, name)
                self._adopt(sys, f"__{name}__")
            if getattr(sys, name) is not stream:
                setattr(sys, name, stream)
        if self._handler.stream is not sys.stderr:
            self._handler.stream = sys.stderr  # `setStream` would flush the other one, which may be closed
            self._adopt(self._handler, "stream")

    def _set_input(self) -> None:
        if not _is_at_its_end(sys.stdin):
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # stays open between calls
            sys.__stdin__ = sys.stdin  # type: ignore[misc]  # as with the others
            self._adopt(sys, "stdin")
            self._adopt(sys, "__stdin__")
        self._noted, self._stdin = False, sys.stdin

    def _note_streams(self) -> None:
        """Take the streams as they are now."""
        written = [part for stream in self._streams.values() for part in _parts(stream)]
        read = _parts(self._stdin)
        self._methods = [getattr(part, "__dict__", {}) for part in (*written, *read)]
        self._kept_methods = list(map(dict, self._methods))
        self._noted, self._written, self._read = True, Bodies(*written), Bodies(*read)

    def _adopt(self, owner: ModuleType | logging.Handler, name: str) -> None:
        """Keep a newly opened stream from now on."""
        if hasattr(self, "_modules"):
            self._modules.adopt(owner, name)

    def _flush(self) -> None:
        """Flush what Python and C have buffered, while it still goes to the log of this call."""
        if self._written.changed():
            for stream in self._streams.values():
                if _is_open(stream):
                    try:
                        stream.reconfigure(**_STREAM)  # flushes, too
                    except OSError:  # the call has closed the descriptor, or does not want to wait for it
                        self._set_outputs()
                        stream.reconfigure(**_STREAM)
            self._written.settle()
        libc.fflush(None)

    def _end_processes(self) -> str:
        """Kill and reap what the function has started and not waited for, its daemons too."""
        adopt_orphans()  # a call may have refused them
        helper = {self._helpers.let_go()}
        if quick.waitpid(-1, None, os.WNOHANG) < 0:  # there is none; Python would make an exception of it
            return ""
        begun = monotonic()
        while _reap():
            left = descendants(getpid()) - self._processes
            if not left:
                return ""
            took = monotonic() - begun
            if took >= _KILL_TIME:
                return f"a process was left running ({', '.join(map(str, sorted(left)[:3]))})"
            kill_all(left - helper if took < _HELPER_TIME else left)
            sleep(_BETWEEN_KILLS)
        return ""


class _Around:
    """The frame around a call: it does something at its end."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._leave()


def _opened(descriptor: int) -> TextIOWrapper:
    stream = open(descriptor, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115  # stays open
    stream.reconfigure(**_STREAM)
    return stream


def _is_open(stream: TextIO) -> bool:
    try:
        return not stream.closed
    except ValueError:  # detached
        return False


def _parts(stream: Any) -> tuple[Any, ...]:  # noqa: ANN401  # what it consists of has no common type
    """Return a stream with the two below it, of which a call may have replaced methods."""
    buffer = getattr(stream, "buffer", stream)
    return stream, buffer, getattr(buffer, "raw", buffer)


def _is_at_its_end(stream: TextIO | None) -> bool:
    """Drop what a call had read ahead of another input. False: it cannot be read any more."""
    try:
        return stream is not None and stream.read() == stream.read() == ""
    except Exception:  # noqa: BLE001  # closed, detached, or no text
        return False


def _reap() -> bool:
    """Take the exit statuses of children that have ended. True: children are left."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True
