"""The helper processes of `multiprocessing` that a call has started: they end with it, and the next call starts others.

They would pass the environment of that call on. Python does not expect them to end before the process they help.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any


class Helpers:
    """Takes the helpers that imports have started, and their processes, as those that may run on."""

    def __init__(self) -> None:
        self._tracker = _pid(_tracker())
        self._server = _pid(_server())
        self._children = set(_children())

    def let_go(self) -> int:
        """Forget those of the call.

        Returns:
            The id of the one that ends by itself, once the others have ended: it removes what the call has left of shared
            memory and semaphores, and writes that into its log. 0: there is none.
        """
        children = _children()
        if len(children) > len(self._children):
            children.intersection_update(self._children)
        server = _server()
        if _pid(server) != self._server:
            _close(server._forkserver_alive_fd)  # noqa: SLF001  # it has no way to say that it was killed
            with suppress(OSError, TypeError):  # its address may be no path
                os.unlink(server._forkserver_address)  # noqa: PTH108, SLF001  # as above
            server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None  # noqa: SLF001  # as above
        tracker = _tracker()
        pid = _pid(tracker)
        if pid == self._tracker:
            return 0
        _close(tracker._fd)  # noqa: SLF001  # its own `_stop` would wait for all that have it open
        tracker._fd = tracker._pid = None  # noqa: SLF001  # as above
        return pid


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(OSError):  # the call may have closed it
            os.close(descriptor)


def _tracker() -> Any:  # noqa: ANN401  # it has no public name
    return getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)


def _server() -> Any:  # noqa: ANN401  # as above
    return getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)


def _pid(helper: Any) -> int:  # noqa: ANN401  # as above
    return getattr(helper, "_pid", None) or getattr(helper, "_forkserver_pid", None) or 0


def _children() -> set[Any]:
    found: set[Any] = getattr(sys.modules.get("multiprocessing.process"), "_children", _NONE)
    return found


_NONE: set[Any] = set()
