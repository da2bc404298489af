"""Threads that do what they are given, or refuse it and never do it.

Where no thread can be started, the executor of the standard library raises `RuntimeError`, but has noted the work by then:
another of its threads does it later. Launches that it draws then would belong to nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A pool of threads whose refusals stand."""

    def submit(self, do: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it in a thread. Raises RuntimeError: no thread is left on this host, and it will not be done."""
        done = Future[T]()

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                found = do(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
                done.set_exception(error)
            else:
                done.set_result(found)

        try:
            super().submit(work)
        except RuntimeError:
            if done.cancel():
                raise
        return done
