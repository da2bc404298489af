"""The event loop of a child, from the first call that needs one: importing asyncio costs 30 ms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.runner.child_loop import ChildLoop

_PATH = list(sys.path)
"""Where this module was found, and Python's own: the boot code adds the user's folders later."""


class Loops:
    """Gives calls their one loop, and cleans asyncio up when a call or an import uses it by itself."""

    def __init__(self) -> None:
        self._loop: ChildLoop | None = None
        if "asyncio" in sys.modules:
            self.loop()

    def loop(self) -> ChildLoop:
        """Return the loop of all calls."""
        if self._loop is None:
            with _own_path():
                from worker.runner.child_loop import ChildLoop  # noqa: PLC0415  # asyncio: 30 ms, only where needed

            self._loop = ChildLoop()
        return self._loop

    def cancel(self) -> bool:
        """Cancel the waiting coroutine, see `ChildLoop.cancel`. False: there is none."""
        return self._loop is not None and self._loop.cancel()

    @property
    def acted(self) -> bool:
        """Tell whether code of the user may have run in the last `restore`."""
        return self._loop is not None and self._loop.acted

    def restore(self) -> str:
        """End what a call has left in the loop. Returns why the process cannot serve another call, or nothing."""
        if self._loop is None:
            if "asyncio" not in sys.modules:
                return ""
            with _own_path():
                from worker.runner.child_loop import ChildLoop  # noqa: PLC0415  # see `loop`

            self._loop = ChildLoop.after_a_call()
        return self._loop.restore()


@contextmanager
def _own_path() -> Iterator[None]:
    """Import past the user's folders: asyncio could not use a `queue.py` there."""
    path = sys.path[:]
    sys.path[:] = _PATH
    try:
        yield
    finally:
        sys.path[:] = path
