"""The process in which users' functions run: `worker.runner.process` starts it, one per runner.

It imports the modules that declare functions, then serves one call after another until its socket closes. It
opens no connection of ours. The kernel kills it, and its process group, when its supervisor
dies.
"""

from __future__ import annotations

import contextvars
import faulthandler
import inspect
import os
import signal
import socket
import sys
from os import getpid  # calls may replace that of `os`
from types import FrameType
from typing import Any, Final, NoReturn

import msgspec

from reconciler.api.errors import InvalidArguments, InvalidSettings
from reconciler.children.current import parent_context
from reconciler.children.errors import SWALLOWED, WENT_ON, is_suspension
from reconciler.children.parent import Parent
from reconciler.core.current import CurrentAttempt, attempt_context
from reconciler.core.functions import RegisteredFunction, registry
from reconciler.core.probe import PROBE, probe
from reconciler.core.published import LARGEST
from reconciler.core.signature import too_large
from worker.runner import spans
from worker.runner.ahead import GivenCalls
from worker.runner.errors import TRACEBACK_LIMIT, cut, describe
from worker.runner.frames import (
    HEADER,
    OVERHEAD,
    Flags,
    FrameReader,
    number_of,
    pack,
    readable,
    receive_whole,
    send_whole,
)
from worker.runner.kernel import die_with, peak_memory
from worker.runner.messages import (
    Call,
    Failed,
    FromChild,
    Hello,
    Importing,
    Interrupted,
    Last,
    Raised,
    Read,
    Ready,
    Returned,
    Suspended,
    ToChild,
    Unfit,
    Unknown,
    Wrote,
)
from worker.runner.pipe import PipeWay, too_large_to_ask
from worker.runner.projects import set_up_django
from worker.runner.python import own_decimals
from worker.runner.registrations import forget_ends
from worker.runner.surroundings import Surroundings

_DECODER: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(ToChild)
_LARGEST_FRAME: Final = (1 << 32) - 1
"""Inputs are the supervisor's to limit."""
_FORKED: Final = 70
"""Exit status of a process that the function has forked and in which it returned: only one may answer."""


class AttemptStopped(BaseException):
    """Raised inside a function that must end: it was aborted, superseded, or took too long.

    Not an `Exception`, so that `except Exception` lets it pass; `finally` and `with` clean up as ever. The
    process is killed if the function has not ended after the grace of its worker.
    """


class Child:
    """Serves calls. Its main thread runs the functions, so that a signal can interrupt them."""

    def __init__(self, connection: socket.socket, life: int, ahead: socket.socket) -> None:
        self._connection = connection
        self._ahead: GivenCalls | None = GivenCalls(ahead)
        self._number = 0
        self._reader = FrameReader(_LARGEST_FRAME)
        self._pid = getpid()
        self._in_function = False
        self._stop_asked = False
        self._surroundings = Surroundings(Flags((connection.fileno(), life, ahead.fileno())))
        os.register_at_fork(
            before=_hold_back_sigterm, after_in_parent=_let_sigterm_in, after_in_child=self._in_forked_process
        )

    def serve(self) -> int:
        """Import, then run calls until the supervisor closes the socket. Gives the exit status."""
        hello = self._receive()
        if not isinstance(hello, Hello):
            return 0
        self._number = self._reader.number
        registry.register(PROBE, probe)
        try:
            set_up_django()
            spans.prepare()
            registry.load(hello.imports, begin=lambda module: self._send(Importing(module)))
        except InvalidSettings as error:
            trace = describe(error.__cause__).traceback if error.__cause__ else ""
            self._send(Failed(cut("\n".join(error.problems), TRACEBACK_LIMIT), trace))
            return 1
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._surroundings.keep()
        self._send(
            Ready(registry.digests(), registry.secrets(), registry.needs(), registry.published(LARGEST))
        )
        while (call := self._next_call()) is not None:
            # in a context of its own, which ends with the call, also with what finalizers set
            reply = contextvars.copy_context().run(self._run, call, hello.result_limit)
            if getpid() != self._pid:
                os._exit(_FORKED)
            if isinstance(reply, Returned | Raised | Suspended | Unfit) and (
                why := self._spent(hello.memory_limit)
            ):
                reply = Last(reply, why)
            if isinstance(reply, Last | Interrupted):
                self._ahead = None  # it serves no other: what waits is given to the next child
            elif isinstance(reply, Returned | Raised | Suspended | Unfit) and self._surroundings.wrote():
                reply = Wrote(reply)
            self._send(reply)
            if isinstance(reply, Wrote) and not self._is_read():
                break
        return 0

    def _next_call(self) -> Call | None:
        """Wait for the next call; None when there will be none. What was sent to a call that has just ended is ignored."""
        while True:
            if self._ahead is not None:
                try:
                    frame = self._ahead.receive()
                except OSError:  # a function has closed it
                    return None
                if frame is not None:
                    self._number = number_of(frame)
                    call: Call = _DECODER.decode(memoryview(frame)[HEADER:])
                    return call
                if not readable((self._connection, self._ahead.theirs)):
                    continue
            message = self._receive()
            if message is None:
                return None
            if isinstance(message, Call):
                self._number = self._reader.number
                return message

    def _is_read(self) -> bool:
        """Wait until what the last call has written is read. False: the supervisor has gone."""
        while (message := self._receive()) is not None:
            if isinstance(message, Read):
                return True
        return False

    def _spent(self, memory_limit: int) -> str:
        """Say why this process cannot serve another call; empty when it can."""
        if self._surroundings.spent:
            return self._surroundings.spent
        if memory_limit and (peak := peak_memory()) > memory_limit:
            return f"it has held {peak} KiB of memory, {memory_limit} are allowed"
        return ""

    def _run(self, call: Call, result_limit: int) -> FromChild:
        registered = registry.get(call.function)
        if registered is None:
            return Unknown(call.function, registry.names())
        own_decimals()
        spans.enter(call.env)
        attempt = CurrentAttempt.from_context(call.context) if call.context else None
        parent = None
        if attempt is not None:
            way = PipeWay(self._connection, self._reader, _DECODER, self._number, result_limit + OVERHEAD)
            parent = Parent(
                attempt, way, registered.signature, patience=call.patience, suspends=call.suspends
            )
        with self._surroundings.around_call(call.env), attempt_context(attempt), parent_context(parent):
            # in a context of its own: what it holds has gone before cleaning up, as has what an exception holds
            return contextvars.copy_context().run(self._answer, registered, call.inputs, result_limit, parent)

    def _answer(
        self, registered: RegisteredFunction, inputs: bytes, result_limit: int, parent: Parent | None
    ) -> FromChild:
        """Call the function, and say how that ended. It keeps no exception: its frames hold what the function held."""
        raised: BaseException | None = None
        try:
            reply = self._call(registered, inputs, result_limit, parent)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are errors of the user as well
            if getpid() != self._pid:
                raise  # a process the function has forked ends here, as any Python process would
            raised, reply = error, Interrupted() if self._stop_asked else describe(error)
        try:
            if parent is not None and parent.suspended and not isinstance(reply, Interrupted):
                return _suspended(parent, raised, reply, result_limit)
            return reply
        finally:
            raised = None  # it and this frame hold each other

    def _call(
        self, registered: RegisteredFunction, inputs: bytes, result_limit: int, parent: Parent | None
    ) -> FromChild:
        """Decode, call, encode: each may run code of the user (`__post_init__`, `__eq__`), and may be stopped."""
        signature = registered.signature
        try:
            self._in_function = True
            if self._stop_asked:
                raise AttemptStopped
            try:
                args, kwargs = signature.call_form(signature.decode_arguments(inputs))
            except InvalidArguments as error:
                return Unfit(str(error))
            result = registered.function(*args, **kwargs)
            if inspect.iscoroutine(result):
                result = self._surroundings.loops.loop().run(result)
            if parent is not None:
                parent.settle()
            try:
                outputs = signature.encode_result(result, result_limit)
            except InvalidArguments as error:
                return Raised("InvalidResult", str(error), "", retryable=False)
        finally:
            self._in_function = False
            if parent is not None:
                parent.close()
        if len(outputs) > result_limit:
            text = too_large(registered.name, len(outputs), result_limit)
            return Raised("InvalidResult", text, "", retryable=False)
        return Returned(outputs)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        """Stop the function, if one is running."""
        self._stop_asked = True
        if self._in_function and not self._surroundings.loops.cancel():
            raise AttemptStopped

    def _in_forked_process(self) -> None:
        """Give a process that the user forks to the user: it does not have our socket, and SIGTERM ends it."""
        self._connection.close()
        if self._ahead is not None:
            self._ahead.theirs.close()
        forget_ends()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _let_sigterm_in()

    def _receive(self) -> ToChild | None:
        """Receive the next message; None when the supervisor has closed the socket."""
        try:
            frame = receive_whole(self._reader, self._connection)
        except (EOFError, OSError):
            return None
        message: ToChild = _DECODER.decode(frame)
        return message

    def _send(self, message: FromChild) -> None:
        send_whole(self._connection, pack(message, self._number))


def _suspended(
    parent: Parent, raised: BaseException | None, reply: FromChild, result_limit: int
) -> FromChild:
    """Return how a suspended call ended. A call that was to start over must let that pass, or its result would be lost."""
    if parent.again is not None and len(parent.again) > result_limit:
        text = too_large_to_ask(len(parent.again), result_limit)
        return Raised("InvalidArguments", text, "", retryable=False)
    if parent.again is None or is_suspension(raised):  # the others are called again, and come to the same end
        return Suspended(*parent.waits(), again=parent.again)
    return reply if raised is not None else Raised(SWALLOWED, WENT_ON, "", retryable=False)


def _hold_back_sigterm() -> None:
    """Hold back a SIGTERM for a process that has just been forked: our handler must not run in it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _let_sigterm_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def main() -> NoReturn:
    """Run as the process that `ChildProcess` starts: `sys.argv` ends with the numbers of three descriptors.

    The first is our end of the conversation; the second, a pipe, closes when the supervisor dies; the third brings calls
    before their turn.
    """
    control, life, ahead = descriptors = [int(text) for text in sys.argv[1:]]
    sys.argv[1:] = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    die_with(life)
    faulthandler.enable()
    sys.exit(Child(socket.socket(fileno=control), life, socket.socket(fileno=ahead)).serve())
