"""Runs users' functions in a process of their own, one after another.

User code can hold the GIL, eat memory, crash, never return, close what it did not open. All of it happens in
the child; the supervising process keeps its heartbeats, its connections and its credentials, and always
learns how the call ended. The child is used again after a call that returned or raised, and replaced after
any other.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

from reconciler.api.errors import InvalidSettings
from reconciler.api.template import SecretRef
from reconciler.core.functions import Needs
from worker.runner.ahead import CallsAhead
from worker.runner.asking import Asking, MakeDesk
from worker.runner.conversation import NOT_SUSPENDED, converse, wait
from worker.runner.deaths import ENDED_EARLY, ENDED_IDLE, FOREIGN_SIGTERM, SLOW_START, tell_replaced
from worker.runner.log import SMALLEST_LIMIT, CappedLog, Sink
from worker.runner.messages import (
    Call,
    Died,
    Ended,
    Failed,
    Hello,
    Importing,
    Interrupted,
    Last,
    NotStarted,
    Raised,
    Ready,
    Reply,
    Returned,
    Stopped,
    Suspended,
    Unfit,
    Unknown,
)
from worker.runner.process import ChildProcess
from worker.runner.stop import StopAsked, StopRequests, StopWatch

__all__ = [
    "TIMED_OUT", "Call", "Died", "Ended", "NotStarted", "Raised", "Returned", "Runner", "Stopped", "Suspended", "Unfit",
    "Unknown",
]  # fmt: skip

TIMED_OUT: Final = "timed out"
"""Reason of a call that took longer than its timeout."""

_CHILDREN: Final = 3
"""How many may end before they take up a call: what made them end can lie in the modules, too."""
_LEAVE_TIME: Final = 1.0
"""Seconds an idle child has for what it registered with `atexit`."""


class Runner:
    """Owns one child process. Make it in the process that uses it, after any fork.

    `run` serves one call at a time; `request_stop` may come from any thread.

    Attributes:
        children: how many there have been; another number after a call means another process for the next one.
    """

    def __init__(
        self,
        imports: Sequence[str],
        *,
        log_limit: int,
        result_limit: int = 64 * 1024 * 1024,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 60.0,
        memory_limit: int = 0,
    ) -> None:
        """Prepare; start nothing before `start` or the first `run`.

        Args:
            imports: modules that declare functions.
            log_limit: most bytes of the log of a call.
            result_limit: most bytes of an encoded result.
            environment: variables of the child; those of this process when not given.
            start_timeout: seconds the imports may take.
            memory_limit: memory in KiB; a child that has held more is replaced after its call. 0: no limit.

        Raises:
            InvalidSettings: `log_limit` leaves no room for output.
        """
        if log_limit < SMALLEST_LIMIT:
            raise InvalidSettings(
                [f"the limit of a log must be at least {SMALLEST_LIMIT} bytes, got {log_limit}"]
            )
        self._hello = Hello(tuple(imports), result_limit, memory_limit)
        self._log_limit = log_limit
        self._environment = environment
        self._start_timeout = start_timeout
        self._requests = StopRequests()
        self._one_call = threading.Lock()
        self._child: ChildProcess | None = None
        self._functions: Mapping[str, str] | None = None
        self.needs: Mapping[str, Needs] = {}
        self.published: Mapping[str, bytes] = {}
        self.secrets: Mapping[str, tuple[SecretRef, ...]] = {}
        self._is_closed = False
        self.children = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the child if there is none, so that its imports run while nobody waits for them.

        Raises:
            OSError: no process could be started.
        """
        with self._one_call:
            if not self._is_closed:
                self._living_child()

    def functions(
        self, *, stop: Callable[[], str | None] = lambda: None, poll: float = 1.0
    ) -> Mapping[str, str] | NotStarted | Stopped:
        """Return what the child can run: name → digest of the interface. Starts it, and waits for its imports.

        Args:
            stop: as for `run`.
            poll: as for `run`.

        Raises:
            RuntimeError: the runner is closed.
        """
        with self._one_call:
            self._check_open()
            known, child = self._functions, self._child
            if known is not None and child is not None and child.serves() and stop() is None:
                return known  # nothing to wait for: asked before each call
            watch = self._begin(stop, poll)
            try:
                watch.check()
                ready = self._ready_child(watch)
            except StopAsked as asked:
                return Stopped(asked.reason, killed=False)
            except BaseException:
                self._kill(None)
                raise
            finally:
                self._requests.finish()
            return ready if isinstance(ready, NotStarted) else self._functions or {}

    def secrets_of(
        self, function: str, *, stop: Callable[[], str | None], poll: float
    ) -> tuple[SecretRef, ...] | NotStarted | Stopped | Unknown:
        """Ask the child which secrets a function declares, before it gets any; or return how the call ends without it.

        Args:
            function: its registered name.
            stop: as for `run`.
            poll: as for `run`.

        Raises:
            RuntimeError: the runner is closed.
        """
        known = self.functions(stop=stop, poll=poll)
        if isinstance(known, NotStarted | Stopped):
            return known
        if function not in known:
            return Unknown(function, tuple(known))
        return self.secrets.get(function, ())

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("this runner is closed; make another one")

    def _begin(self, stop: Callable[[], str | None], poll: float) -> StopWatch:
        self._requests.begin()
        return StopWatch(self._requests, stop, poll)

    def run(
        self,
        call: Call,
        *,
        stop: Callable[[], str | None],
        poll: float,
        timeout: float | None,
        grace: float,
        log: Sink,
        desk: MakeDesk | None = None,
    ) -> Ended:
        """Run one call and wait for its end.

        To stop it, `AttemptStopped` is raised inside the function; if that has not ended it after `grace`,
        its process is killed. Processes the function has started are killed when it ends, however it ends.

        Args:
            call: what to run.
            stop: asked at once and every `poll` seconds; a text ends the call for that reason.
            poll: seconds.
            timeout: seconds the function may take, not counting the start of the child; None: no limit.
            grace: seconds between asking the function to stop and killing its process.
            log: gets what the function writes, prints and logs; it is emptied first, a file is made.
            desk: makes what does for the function what it asks for while it runs; without it nothing is done.

        Raises:
            OSError: a file for the log cannot be made. RuntimeError: the runner is closed. BaseException: what `stop`
            raises, and whatever a signal handler raises here; the child is killed first.
        """
        with self._one_call:
            self._check_open()
            file = CappedLog(log, self._log_limit)
            watch = self._begin(stop, poll)
            asking = Asking(desk, self._requests.nudge)
            try:
                for _ in range(_CHILDREN):
                    if (ended := self._run(call, watch, asking, timeout, grace, file)) is not None:
                        return ended
                return NotStarted(ENDED_IDLE)
            except BaseException:
                self._kill(file)
                raise
            finally:
                self._requests.finish()
                asking.close()
                file.close()

    def request_stop(self, reason: str) -> bool:
        """Stop the running call at once, without waiting for the next poll. For other threads.

        Returns:
            Whether a call was running. If not, nothing happens, also not to the next call.
        """
        return self._requests.request(reason)

    @property
    def ahead(self) -> CallsAhead | None:
        """The calls its child was given before their turn; None when that is not possible now."""
        child = self._child if self._functions is not None else None
        return child.ahead if child is not None and child.serves() else None

    def renew(self) -> None:
        """Let another child serve the next call, if there is a child."""
        with self._one_call:
            if self._child is not None:
                self._replace(None)

    def close(self) -> None:
        """End the child; a running call is stopped first. May be repeated."""
        self.request_stop("closed")
        with self._one_call:
            if self._is_closed:
                return
            self._is_closed = True
            if self._child is not None:
                self._child.leave(_LEAVE_TIME)
                self._child = None
            self._requests.close()

    def _run(
        self,
        call: Call,
        watch: StopWatch,
        asking: Asking,
        timeout: float | None,
        grace: float,
        log: CappedLog,
    ) -> Ended | None:
        """Run it in the child; None: that had ended before it took up the call, and another one is being started."""
        try:
            child = self._child_with(call, watch)
        except StopAsked as asked:
            return Stopped(asked.reason, killed=False)
        if isinstance(child, NotStarted):
            return child
        try:
            watch.check()
            reply = converse(child, watch, asking, timeout, grace, log)
        except StopAsked as asked:
            return self._stop(child, asked.reason, watch, grace, log)
        if isinstance(reply, Last):
            tell_replaced(child.pid, reply.why)
            self._replace(log)
            reply = reply.reply
        if isinstance(reply, Suspended):
            reply = msgspec.structs.replace(reply, names=tuple(asking.names(reply.waits)))
        if isinstance(reply, Returned | Raised | Suspended | Unfit | Unknown):
            return reply
        in_time = reply is not None or child.gone
        if not in_time and asking.suspending_since is None:
            return self._stop(child, TIMED_OUT, watch, grace, log)
        died = self._death(child, reply, log) if in_time else NOT_SUSPENDED
        self._replace(log if died is not None else None)
        return died

    def _child_with(self, call: Call, watch: StopWatch) -> ChildProcess | NotStarted:
        """Return the child that has a call: it was given it before, or is sent it now.

        Raises:
            StopAsked: there is a reason to stop.
        """
        if self._child is not None and self._child.begin_given(call):
            return self._child
        watch.check()
        child = self._ready_child(watch)
        if not isinstance(child, NotStarted):
            child.begin_call()
            child.send(call)
        return child

    @staticmethod
    def _death(child: ChildProcess, reply: Reply | None, log: CappedLog) -> Died | None:
        """Say how it ended in the call; None: it had ended before it took it up."""
        if child.untaken or child.ahead.take_back_all():
            tell_replaced(child.pid, "it ended before it took up a call")
            return None
        return FOREIGN_SIGTERM if isinstance(reply, Interrupted) else child.post_mortem(log)

    def _stop(
        self, child: ChildProcess, reason: str, watch: StopWatch, grace: float, log: CappedLog
    ) -> Stopped:
        """Ask, wait, kill.

        The child is replaced also when it obeyed: an exception at a random place may have left a module of
        the user half changed, or a lock locked.
        """
        watch.silence()
        if child.ahead.take_back_all():  # not begun
            return Stopped(reason, killed=False)
        if len(child.ahead):  # the next one has begun, so this one has ended
            wait(child, watch, grace, log)
            return Stopped(reason, killed=False)
        child.ask_to_stop()
        reply = wait(child, watch, grace, log)
        self._replace(log)
        return Stopped(reason, killed=reply is None)

    def _ready_child(self, watch: StopWatch) -> ChildProcess | NotStarted:
        """Return a child that takes calls: the existing one, or a new one.

        Raises:
            StopAsked: there is a reason to stop; the child goes on with its imports.
        """
        if self._child is not None and self._child.has_ended():
            self._kill(None)  # between two calls, so none has suffered
        try:
            child = self._living_child()
        except OSError as error:
            return NotStarted(f"No process can be started for the function: {error}.")
        if self._functions is not None:
            return child
        ends, module = time.monotonic() + self._start_timeout, ""
        while isinstance(reply := wait(child, watch, ends - time.monotonic(), None), Importing):
            module = reply.module
        if isinstance(reply, Ready):
            self._functions, self.secrets, self.needs = reply.functions, reply.secrets, reply.needs
            self.published = reply.published
            return child
        trace = ""
        if isinstance(reply, Failed):
            why, trace = reply.message, reply.traceback
        elif reply is None and not child.gone:
            why = SLOW_START.format(f" with importing {module!r}" if module else "", self._start_timeout)
        else:
            why = ENDED_EARLY.format(repr(module)) if module else ""
            why += child.post_mortem(None).message
        self._kill(None)  # not replaced at once: it would fail again
        return NotStarted(why, trace)

    def _living_child(self) -> ChildProcess:
        if self._child is None:
            environment = os.environ if self._environment is None else self._environment
            self._functions = None
            self._child = ChildProcess(self._hello, environment, self._requests.wake)
            self.children += 1
        return self._child

    def _replace(self, log: CappedLog | None) -> None:
        """Start a new child, whose imports run while the caller deals with the end of this call."""
        self._kill(log)
        with suppress(OSError):  # the next call tries again, and tells
            self._living_child()

    def _kill(self, log: CappedLog | None) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(log)
