"""The few threads that make blocking calls of Redis and S3 for asyncio.

One pool serves all event loops of the process: it outlives each of them, so whatever a loop left behind, as the end of
a subscription, is still done. How many wait costs no thread, for waiting happens in the loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 8
"""Most calls at once, of all event loops of a process; each holds at most one connection of the store."""


class _Pool:
    """The threads of this process; made on first use."""

    executor: ThreadPoolExecutor | None = None


def begin(call: Callable[[], R]) -> Future[R]:
    """Run something in one of the threads; the future tells how it ended."""
    if _Pool.executor is None:
        _Pool.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="reconciler-aio")
    return _Pool.executor.submit(copy_context().run, call)


def begin_if_alive(call: Callable[[], object]) -> None:
    """Run something in one of the threads, unless the interpreter is ending: then nobody waits for it."""
    with suppress(RuntimeError):
        begin(call)


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call in a thread and return its result, or raise its error. Cancelling ends the wait, not the call."""
    return await asyncio.wrap_future(begin(partial(call, *args, **kwargs)))


def awaitable(call: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Make the same call awaitable, for asyncio."""

    @wraps(call)
    async def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return await in_thread(call, *args, **kwargs)

    return called


def _forget() -> None:
    """Forget the threads in a forked process: it has none of them and makes its own."""
    _Pool.executor = None


os.register_at_fork(after_in_child=_forget)
