"""Turn a user's exception into an error of a record: code, message, traceback, and whether to try again."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from reconciler import core
from reconciler.api.asked import RetryAsked
from worker.runner.messages import Raised

MESSAGE_LIMIT: Final = 8 * 1024
"""Most bytes of a message, as UTF-8."""
TRACEBACK_LIMIT: Final = 32 * 1024
"""Most bytes of a traceback, as UTF-8."""

_CUT: Final = b"\n[... cut ...]\n"
_OURS: Final = (
    str(Path(__file__).with_name("child.py")),
    str(Path(__file__).with_name("child_loop.py")),
    str(Path(os.__file__).with_name("asyncio")),
    str(Path(core.__file__).parents[1] / "celery_tasks"),
)
"""Beginnings of the files whose frames lie between the child's loop and the user's function."""

_T = TypeVar("_T")


def describe(error: BaseException) -> Raised:
    """Describe an exception of user code. Never raises, whatever looking at the exception does.

    One that asks for another attempt is shown as what it was raised from.
    """
    if isinstance(error, RetryAsked):
        return replace(describe(error.__cause__ or Exception(str(error))), asked=error.asked, retryable=True)
    kind = type(error)
    code = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return Raised(
        code=cut(code, MESSAGE_LIMIT),
        message=cut(_try(lambda: str(error), "(this exception cannot be printed)"), MESSAGE_LIMIT),
        traceback=cut(_try(lambda: _format(error), "(this traceback cannot be printed)"), TRACEBACK_LIMIT),
        retryable=_try(lambda: getattr(error, "retryable", True) is not False, fallback=True),
    )


def cut(text: str, limit: int) -> str:
    """Cut the text to `limit` bytes of UTF-8; its middle is left out, because the ends tell most."""
    data = text.encode(errors="backslashreplace")
    if len(data) > limit:
        room = limit - len(_CUT)
        data = data[: room // 3] + _CUT + data[len(data) - (room - room // 3) :]
    return data.decode(errors="ignore")


def _format(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _try(read: Callable[[], _T], fallback: _T) -> _T:
    try:
        return read()
    except BaseException:  # noqa: BLE001  # methods of a user's exception can raise anything, SystemExit too
        return fallback
