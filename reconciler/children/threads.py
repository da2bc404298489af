"""Let plain functions wait: each wait holds its thread."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from reconciler.children.errors import Suspended, not_in_time, nothing_comes

_TICK = 0.02
_SLICE = 1.0


class Call(Protocol):
    """The call that waits (`Parent`), as far as its threads need it."""

    def check(self) -> None:
        """Raise again the error that ended the call."""
        ...

    def is_looked_at(self, number: int) -> bool:
        """Tell whether the ends of what is waited for were looked up at least once."""
        ...

    def receive(self, seconds: float = 0) -> bool:
        """Take the answers that have come; tell whether there were any."""
        ...

    def deliver(self) -> bool:
        """Report the next end; False when there is none."""
        ...

    def may_suspend(self, idle: float, until: float | None = None) -> bool:
        """Tell whether to suspend after this many seconds without news."""
        ...

    def suspend(self) -> None:
        """Suspend the call."""
        ...


class Threads:
    """The waits of the threads of one call.

    Args:
        call: whose.
        brings: whether anything may come while a thread waits; in a lab nothing does.
    """

    def __init__(self, call: Call, *, brings: bool) -> None:
        self._call = call
        self._brings = brings
        self._waiting: Counter[int] = Counter()

    def awaited(self) -> list[int]:
        """List the numbers of what is waited for."""
        return list(self._waiting)

    def block(
        self,
        ready: Callable[[], bool],
        number: int,
        timeout: float | None = None,
        until: float | None = None,
    ) -> None:
        """Wait in this thread.

        Args:
            ready: whether the wait is over.
            number: what is waited for.
            timeout: how long at most, seconds.
            until: when the wait ends, if that is known, ms.

        Raises:
            ResultTimeout: it has not ended in time.
            Suspended: there is nothing to do but wait.
        """
        began = idle = time.monotonic()
        self._waiting[number] += 1
        try:
            while not ready():
                self._call.check()
                if self._call.deliver():
                    idle = time.monotonic()
                    continue
                now = time.monotonic()
                self._check_limit(number, now - began, timeout)
                if timeout is None and _is_main() and self._call.may_suspend(now - idle, until):
                    self._call.suspend()
                    raise Suspended
                left = min(_TICK, _SLICE if timeout is None else timeout - (now - began))
                if self._call.receive(max(left, 0.001)):
                    idle = time.monotonic()
        finally:
            self._waiting[number] -= 1
            self._waiting += Counter()

    def _check_limit(self, number: int, waited: float, timeout: float | None) -> None:
        """End a wait whose time is over, or that nothing could end, after its end was looked up once more."""
        if not self._call.is_looked_at(number):
            return
        if timeout is not None and waited >= timeout:
            raise not_in_time(timeout)
        if not self._brings and (timeout is not None or not _is_main()):
            raise nothing_comes(timeout)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
