"""Runs coroutine functions in the child, all in one event loop: clients that a module keeps work on from call to call.

A module of its own because importing asyncio costs 30 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from os import getpid  # calls may replace that of `os`
from time import monotonic
from typing import Any, Final, Self

_PATIENCE: Final = 5.0
"""Seconds for what a call has left behind to end when it is cancelled."""
_TURNS: Final = 10
"""Turns of the loop in which callbacks that are due may run out."""

_SLOW: Final = 0.1
"""Seconds from which on a new loop calls a callback slow, when it is debugged."""
_METHODS: Final = frozenset(
    name for name in dir(asyncio.SelectorEventLoop) if callable(getattr(asyncio.SelectorEventLoop, name))
)


class ChildLoop:
    """The event loop of all calls of this child. What a call leaves in it is ended with the call.

    Attributes:
        acted: code of the user may have run in the last `restore`.
    """

    acted = False

    def __init__(self) -> None:
        self._policy = asyncio.get_event_loop_policy()
        self._loop = _current(self._policy)
        self._debug = self._loop is not None and self._loop.get_debug()
        self._slow: float = getattr(self._loop, "slow_callback_duration", _SLOW)
        self._executor = _Executor()
        self._main: asyncio.Task[object] | None = None
        self._pid = getpid()
        self._spent = ""

    @classmethod
    def after_a_call(cls) -> Self:
        """Make the loop after a call that was the first to import asyncio: a policy set by that call does not stay."""
        if type(asyncio.get_event_loop_policy()) is not asyncio.DefaultEventLoopPolicy:
            asyncio.set_event_loop_policy(None)
        return cls()

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Run a coroutine to its end; tasks it leaves behind are cancelled, and awaited."""
        loop = self._usable()
        self._main = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(self._main)
        finally:
            self._main = None
            if getpid() == self._pid:  # not in a process that the function has forked
                self._wind_up(loop)

    def cancel(self) -> bool:
        """Cancel the coroutine from a signal handler, if it waits, so that its loop winds up in order.

        Returns:
            False: it, or a task of it, is computing right now, and only an exception raised on the spot can end that.
        """
        task = self._main
        if task is None:
            return False
        loop = task.get_loop()
        loop.call_soon_threadsafe(task.cancel)
        return asyncio.current_task(loop) is None

    def restore(self) -> str:
        """Put the policy back, end what a plain function left in the loop. Returns why this process is spent, or nothing."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001  # set by hand: no call runs any more
            asyncio._set_running_loop(None)  # noqa: SLF001  # as above
        getattr(asyncio.tasks, "_current_tasks", {}).clear()  # before Python 3.14
        if asyncio.get_event_loop_policy() is not self._policy:
            asyncio.set_event_loop_policy(self._policy)
        current = _current(self._policy)
        if self._loop is None or self._loop.is_closed():
            self._loop = current  # one that a call has made, and may have bound its clients to
        if self._loop is None:
            _forget(self._policy)
        elif current is not self._loop:
            self._policy.set_event_loop(self._loop)
        if self._loop is not None:
            _unpatch(self._loop)
            with suppress(Exception):  # a loop of the user's may lack any of this
                self._reset(self._loop)
        self.acted = False
        if self._loop is not None and (asyncio.all_tasks(self._loop) or _callbacks(self._loop)):
            self.acted = True
            self._wind_up(self._loop)
        spent, self._spent = self._spent, ""
        return spent

    def _usable(self) -> asyncio.AbstractEventLoop:
        """Return the existing loop, of an earlier call or of an import, or else a new one."""
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            self._debug = self._loop.get_debug()
            self._slow = getattr(self._loop, "slow_callback_duration", _SLOW)
            self._executor = _Executor()  # closing a loop shuts its own down
        asyncio.set_event_loop(self._loop)
        self._loop.set_default_executor(self._executor)
        return self._loop

    def _wind_up(self, loop: asyncio.AbstractEventLoop) -> None:
        _unpatch(loop)
        try:
            left = loop.run_until_complete(_end_tasks(loop))
            _disarm(loop)
            self._reset(loop)
            if self._executor.used:
                left = left or self._executor.end(_PATIENCE)
                self._executor = _Executor()
            if getattr(loop, "_executor_shutdown_called", False):
                left = left or "the default executor of its event loop was shut down"
        except Exception as error:  # noqa: BLE001  # the user may have stopped, closed or patched it
            left = f"its event loop cannot be used again ({type(error).__name__}: {error})"
        self._spent = self._spent or left

    def _reset(self, loop: asyncio.AbstractEventLoop) -> None:
        getattr(loop, "_signal_handlers", {}).clear()  # the signals themselves are put back with all others
        if getattr(loop, "_stopping", False) and not loop.is_running():
            loop._stopping = False  # type: ignore[attr-defined]  # noqa: SLF001  # it would stop when it runs next
        loop.set_exception_handler(None)
        loop.set_task_factory(None)
        loop.set_debug(self._debug)
        loop.slow_callback_duration = self._slow


class _Executor(ThreadPoolExecutor):
    """Threads of `asyncio.to_thread` for one call. A loop would not take another executor after its own was shut down."""

    used = False

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401  # as the base
        """Submit as the base does."""
        self.used = True
        return super().submit(*args, **kwargs)

    def end(self, seconds: float) -> str:
        """Wait for its threads. Returns what is wrong when one does not end."""
        self.shutdown(wait=False, cancel_futures=True)
        ends = monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, ends - monotonic()))
            if thread.is_alive():
                return f"a thread was left running ({thread.name})"
        return ""


def _current(policy: asyncio.AbstractEventLoopPolicy) -> asyncio.AbstractEventLoop | None:
    """Return the loop that is set, without making one."""
    loop: asyncio.AbstractEventLoop | None = getattr(getattr(policy, "_local", None), "_loop", None)
    return None if loop is None or loop.is_closed() else loop


def _callbacks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Handle]:
    """List those that wait for their turn or time (of uvloop: none, since it does not list them)."""
    found = (*getattr(loop, "_ready", ()), *getattr(loop, "_scheduled", ()))
    return [handle for handle in found if not handle.cancelled()]


def _unpatch(loop: asyncio.AbstractEventLoop) -> None:
    """Give a loop its methods again where a call has put others into it."""
    own = getattr(loop, "__dict__", {})
    if not _METHODS.isdisjoint(own):
        for name in _METHODS.intersection(own):
            del own[name]


def _forget(policy: asyncio.AbstractEventLoopPolicy) -> None:
    """Let the policy make a new loop for the next caller, as in a fresh process."""
    local: Any = getattr(policy, "_local", None)
    if local is not None:
        local._loop, local._set_called = None, False  # noqa: SLF001  # `set_event_loop(None)` would make it refuse


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """Cancel and await tasks, close generators, let due callbacks run. Returns what does not end."""
    ends = loop.time() + _PATIENCE
    own = asyncio.current_task()
    while tasks := asyncio.all_tasks() - {own}:
        for task in tasks:
            task.cancel()
        done, _ = await asyncio.wait(tasks, timeout=max(0.0, ends - loop.time()))
        for task in done:
            _tell(loop, task)
        if loop.time() >= ends:
            return "a task does not end although it was cancelled"
    for generator in list(getattr(loop, "_asyncgens", ())):
        try:
            await asyncio.wait_for(generator.aclose(), max(0.0, ends - loop.time()))
        except Exception as error:  # noqa: BLE001  # of the user
            loop.call_exception_handler(
                {"message": "an asynchronous generator could not be closed", "exception": error}
            )
    for _ in range(_TURNS):
        await asyncio.sleep(0)
        if not getattr(loop, "_ready", ()):
            break
    return ""


def _tell(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Write an error nobody has seen into the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        message = "a task that the function left behind failed when it was cancelled"
        loop.call_exception_handler({"message": message, "exception": error, "task": task})


def _disarm(loop: asyncio.AbstractEventLoop) -> None:
    """Remove what would run during the next call."""
    for handle in _callbacks(loop):
        handle.cancel()
