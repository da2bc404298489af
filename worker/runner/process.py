"""The child process of a runner, seen from the runner: start it, talk to it, end it, tell how it ended.

Started by exec, not by fork: the supervisor has threads (a forked lock may stay locked for ever), open
connections and credentials, and none of them may reach user code. `multiprocessing` is no way either: it
refuses to start processes inside the daemonic processes of a prefork pool.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from worker.import_path import import_path
from worker.runner.ahead import CallsAhead
from worker.runner.deaths import EXITED, KILLED, NONSENSE, OUT_OF_MEMORY
from worker.runner.frames import OVERHEAD, FrameReader, pack
from worker.runner.kernel import OomCounter, adopt_orphans, descendants, kill_all, marked, unread
from worker.runner.log import CappedLog
from worker.runner.messages import Call, Died, FromChild, Hello, Read, ToChild, Wrote

MARK: Final = "_CHILD_OF_RUNNER"
"""Environment variable by which processes are found that a dead child has left behind."""

_BOOT: Final = """
import sys, os
given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
pythons = os.path.dirname(os.__file__)
own = [entry for entry in sys.path if entry and (entry not in given or entry.startswith(pythons))]
sys.path[:] = [*own, sys.argv.pop(), *filter(None, given)]
from worker.runner.child import main
import json, reconciler.environment
sys.path[:] = json.loads(sys.argv.pop())
main()
"""
"""Python and our own modules are loaded before the user's folders are looked into: a `json.py` or `worker.py` hides none."""
_ROOT: Final = str(Path(__file__).parents[2])
_CHUNK: Final = 1 << 16
_DRAIN_CHUNKS: Final = 64
_REAP_TIMEOUT: Final = 10.0
_BETWEEN_KILLS: Final = 0.005
_KEPT_STARTUP_OUTPUT: Final = 8192
_DECODER: Final[msgspec.msgpack.Decoder[FromChild]] = msgspec.msgpack.Decoder(FromChild)


class _Ours:
    """The processes this one has started. `all`: it starts only children, so other processes are orphans of theirs."""

    living: ClassVar[set[int]] = set()
    all = False


def own_all_children() -> None:
    """Make this process the parent of what a dead child leaves, daemons too, and end all of it with the child.

    For a process that starts no others by itself (without Linux: no effect).
    """
    _Ours.all = True
    adopt_orphans()


def _strays() -> set[int]:
    """Find descendants of this process that belong to no living child."""
    if not _Ours.all:
        return set()
    return descendants(os.getpid()).difference(_Ours.living, *map(descendants, _Ours.living))


class ChildProcess:
    """One child. Not for two threads at once.

    Attributes:
        gone: it has ended, or cannot be talked to any more.
        untaken: it had ended before it took up the call it was sent: what made it end was not that call.
        ahead: the calls it was given before their turn.
    """

    def __init__(self, hello: Hello, environment: Mapping[str, str], wake: int) -> None:
        """Start it.

        Args:
            hello: what it shall import.
            environment: its environment variables.
            wake: file descriptor that ends a wait when it becomes readable.

        Raises:
            OSError: no process could be started.
        """
        self.gone = self.untaken = self._answered = False
        self._is_ended = False
        self._mark = secrets.token_hex(16)
        self._reader = FrameReader(hello.result_limit + OVERHEAD)
        self._unsent = memoryview(b"")
        self._startup_output: bytes | None = b""
        self._open = ExitStack()
        with ExitStack() as on_error:
            on_error.callback(self._open.close)
            self._start(environment)
            self._watch(wake)
            on_error.pop_all()
        self.send(hello)

    def _start(self, environment: Mapping[str, str]) -> None:
        with ExitStack() as theirs:
            self._control, control = socket.socketpair()
            self._open.callback(self._control.close)
            theirs.callback(control.close)
            self._control.setblocking(False)
            life, life_line = os.pipe()
            self._open.callback(os.close, life_line)
            theirs.callback(os.close, life)
            self._output, output = os.pipe()
            self._open.callback(os.close, self._output)
            theirs.callback(os.close, output)
            os.set_blocking(self._output, False)
            self.ahead = CallsAhead()
            self._open.callback(self.ahead.close)
            descriptors = (control.fileno(), life, self.ahead.theirs.fileno())
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-P", "-c", _BOOT, *map(str, descriptors), json.dumps(import_path()), _ROOT],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,
                env={**environment, MARK: self._mark},
            )

        _Ours.living.add(self.pid)

    def _watch(self, wake: int) -> None:
        """Make everything that can happen end one wait.

        The kernel tells of its end by the pidfd: the socket may be held open by processes it has forked.
        """
        self._oom_counter = OomCounter(self.pid)
        self._open.callback(self._oom_counter.close)
        self._oom_kills = self._oom_counter.read()
        self._poll = select.poll()
        for descriptor in (self._control.fileno(), self._output, wake):
            self._poll.register(descriptor, select.POLLIN)
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self._process.pid)
            self._open.callback(os.close, self._pidfd)
            self._poll.register(self._pidfd, select.POLLIN)
            self._end = select.poll()
            self._end.register(self._pidfd, select.POLLIN)

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group and session."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Tell whether the process has ended. It may still have to be reaped, which `end` does."""
        if self._pidfd is None:
            return self._process.poll() is not None
        return bool(self._end.poll(0))

    def serves(self) -> bool:
        """Tell whether it lives, or has been given something of which its death has yet to be told."""
        return len(self.ahead) > 0 or not self.has_ended()

    def send(self, message: ToChild) -> None:
        """Send a message. What the socket does not take at once is sent by the following `step`s."""
        self._number = secrets.randbits(64)
        self.untaken = self._answered = False
        frame = pack(message, self._number)
        # answers to a call that ended while they were on their way go before it, or the frames would not be whole
        self._unsent = memoryview(b"".join([self._unsent, frame]) if self._unsent else frame)
        self._flush()

    def answer(self, messages: Iterable[ToChild]) -> None:
        """Send answers to the running call, after what is still to be sent."""
        self._answered = True
        self._unsent = memoryview(
            b"".join([self._unsent, *(pack(message, self._number) for message in messages)])
        )
        self._flush()

    def begin_given(self, call: Call) -> bool:
        """Turn to a call that was given before; False: it was not, and is to be sent."""
        if (number := self.ahead.begin(call)) is None:
            return False
        self._number = number
        self.untaken = False
        self._answered = True  # what is unread is of the call before: `ahead` tells if this one began
        kills = self._oom_counter.read()
        if not self.has_ended():  # else it may have run out of memory in this very call
            self._oom_kills = kills
        return True

    def begin_call(self) -> None:
        """Drop output that no call has caused, and note how many processes have run out of memory so far."""
        if self._startup_output is not None or unread(self._output):
            self._read_output(None)
        self._startup_output = None
        self._oom_kills = self._oom_counter.read()

    def step(self, seconds: float, log: CappedLog | None) -> FromChild | None:
        """Wait for anything to happen, and deal with it.

        Args:
            seconds: how long to wait at most.
            log: takes what the child's processes write.

        Returns:
            A message of the child when one is complete. `gone` tells when none will follow.
        """
        ready = dict(self._poll.poll(seconds * 1000))
        ended = self._pidfd is not None and self._pidfd in ready
        if self._unsent:
            self._flush()
        # counted before the end of this call is looked for: what comes after that may be the next one's
        written = unread(self._output) if self._output in ready else 0
        message = self._receive() if ended or written or self._control.fileno() in ready else None
        if isinstance(message, Wrote):
            self._read_output(log)
            self.answer([Read()])
            message = message.reply
        elif message is None and (ended or self._output in ready):
            self._read_output(None if self.untaken else log, None if ended else written)
        self.gone = self.gone or ended
        return message

    def ask_to_stop(self) -> None:
        """Raise `AttemptStopped` inside the function."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def end(self, log: CappedLog | None) -> int | None:
        """Kill it with everything it has started, and collect what they had written. May be repeated.

        Returns:
            As `subprocess.Popen.returncode`; None when the kernel does not let it go (it is stuck in a
            device).
        """
        self.gone = True
        if self._is_ended:
            return self._process.returncode
        self._is_ended = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(
                self.pid, signal.SIGKILL
            )  # before it is reaped: until then the number is certainly its own
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_TIMEOUT)
        deadline = time.monotonic() + _REAP_TIMEOUT
        _Ours.living.discard(self.pid)
        while (left := marked(MARK, self._mark) | _strays()) and time.monotonic() < deadline:
            kill_all(left)
            _reap(left)
            time.sleep(_BETWEEN_KILLS)
        self._read_output(log)
        self._open.close()
        return self._process.returncode

    def leave(self, seconds: float) -> None:
        """Let an idle child end by itself within `seconds`, then `end` it."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.end(None)

    def post_mortem(self, log: CappedLog | None) -> Died:
        """End it as `end` does, and say how it had ended."""
        talked_nonsense = self._process_lives()
        out_of_memory = self._oom_counter.read() > self._oom_kills
        returncode = self.end(log)
        if talked_nonsense or returncode is None:
            return Died(None, None, oom=False, message=NONSENSE)
        if returncode >= 0:
            return Died(
                None, returncode, oom=False, message=f"{EXITED.format(returncode)}{self._last_words()}"
            )
        number = -returncode
        if number == signal.SIGKILL and out_of_memory:
            return Died(number, None, oom=True, message=OUT_OF_MEMORY)
        text = KILLED.format(signal.Signals(number).name if number in _SIGNALS else number)
        return Died(number, None, oom=False, message=text + self._last_words())

    def _process_lives(self) -> bool:
        """Tell whether only the conversation has ended; a child that has just closed its socket gets a moment."""
        if self._pidfd is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            return self._process.returncode is None
        return not self._end.poll(1000)

    def _last_words(self) -> str:
        """Read what it wrote before its first call: usually why it could not start."""
        words = (self._startup_output or b"").decode(errors="replace").strip()
        return f" It had written: {words}" if words else ""

    def _flush(self) -> None:
        """Send what is waiting, as far as the socket takes it."""
        was_waiting = bool(self._unsent)
        try:
            while self._unsent:
                self._unsent = self._unsent[self._control.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # the child has closed its end: reading will tell
            self._unsent = memoryview(b"")
            self.untaken = not self._answered
        if was_waiting:
            events = select.POLLIN | (select.POLLOUT if self._unsent else 0)
            self._poll.modify(self._control.fileno(), events)

    def _receive(self) -> FromChild | None:
        try:
            while (frame := self._reader.receive(self._control)) is None:
                pass
            if self._reader.number != self._number:
                return None  # a function has written it, for a call that was not its own
            message: FromChild = _DECODER.decode(frame)
        except BlockingIOError:
            return None
        except (EOFError, OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            self.gone = True
            # the kernel says so when the other side closes with something unread
            self.untaken = self.untaken or (isinstance(error, ConnectionResetError) and not self._answered)
            return None
        return message

    def _read_output(self, log: CappedLog | None, size: int | None = None) -> None:
        """Take what is in the pipe; the rest of a writer that never pauses is left for the next time.

        Args:
            log: takes it.
            size: take so much only. Once the pipe is empty the call in hand may end, and the next one write.
        """
        with suppress(BlockingIOError):
            for _ in range(_DRAIN_CHUNKS if size is None else 1):
                data = os.read(self._output, _CHUNK if size is None else max(1, size))
                if not data:  # all writers have ended: from now on it would be readable for ever
                    with suppress(KeyError):
                        self._poll.unregister(self._output)
                    return
                if log is not None:
                    log.write(data)
                elif self._startup_output is not None:
                    self._startup_output = (self._startup_output + data)[-_KEPT_STARTUP_OUTPUT:]


def _reap(pids: Iterable[int]) -> None:
    """Take the exit statuses of processes whose parent this process has become."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


_SIGNALS: Final = {int(known) for known in signal.Signals}
