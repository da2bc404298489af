"""Listen to what a call registers for the rest of its process, and acts in other calls: hooks, and codecs.

What a module registers while it is imported stays, as the module does.
"""

from __future__ import annotations

import atexit
import codecs
import os
import sys
import weakref
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any


class Registrations:
    """Listens to what is registered from now on. Make it before the names of modules are kept: it replaces some."""

    def __init__(self) -> None:
        self._why = ""
        self._codecs: list[Any] = []
        self._listen(sys, "addaudithook", lambda _: self._spend("it has left an audit hook"))
        self._listen(
            os, "register_at_fork", lambda _: self._spend("it has left something that acts at forks")
        )
        self._listen(codecs, "register", lambda args: self._codecs.extend(args[:1]))

    def restore(self) -> str:
        """Take codecs back. Returns why this process cannot serve another call, or nothing."""
        while self._codecs:
            codecs.unregister(self._codecs.pop())
        return self._why

    def _spend(self, why: str) -> None:
        self._why = why

    def _listen(self, module: Any, name: str, heard: Callable[[tuple[Any, ...]], None]) -> None:  # noqa: ANN401  # a module
        register = getattr(module, name)

        @wraps(register)
        def listening(*args: Any, **named: Any) -> Any:  # noqa: ANN401  # as `register`
            if not _is_import(sys._getframe(1)):  # noqa: SLF001  # the only way
                heard(args)
            return register(*args, **named)

        setattr(module, name, listening)


def forget_ends() -> None:
    """Forget, in a process that a call has just forked, what was registered for the end of the process of functions."""
    atexit._clear()  # noqa: SLF001  # there is no list to choose from
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # noqa: SLF001  # as above


def _is_import(frame: FrameType | None) -> bool:
    """Tell whether a module is being executed; the one this process has begun with does not count."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_back is not None:
            return True
        frame = frame.f_back
    return False
