"""Build the import path of the processes of functions, the same as their worker's.

`celery -A` puts the working folder before `sys.path` while it loads the application, and takes it away afterwards. What
was found that way must be found by the child too, which starts later and by another command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _working_folder() -> str:
    """Return the working folder of this process; empty when it has been removed."""
    with suppress(OSError):
        return str(Path.cwd())
    return ""


_FOLDER = _working_folder()
"""Where this process was when it loaded the application. What it does to its working folder later moves no module."""


class _Held:
    """The path of children, if that of this process is another one."""

    path: tuple[str, ...] = ()


def look_here_last() -> None:
    """Find plugins in the working folder of this process as well, but Python's and our modules first.

    Its children find the user's modules first, as ever.
    """
    path = import_path()
    _Held.path = tuple(path)
    sys.path[:] = [*(entry for entry in path if entry != _FOLDER), _FOLDER] if _FOLDER else path


@contextmanager
def past_the_folder() -> Iterator[None]:
    """Import past the working folder, where a `queue.py` of the user may lie, unless our modules lie there, too."""
    before = sys.path[:]
    if Path(__file__).resolve().parents[1] != Path(_FOLDER).resolve():
        sys.path[:] = [entry for entry in before if os.path.normpath(os.path.join(_FOLDER, entry)) != _FOLDER]  # noqa: PTH118  # "" is one
    try:
        yield
    finally:
        sys.path[:] = before


def import_path() -> list[str]:
    """Build `sys.path` for a child: absolute, the worker's working folder first unless it has a place there."""
    if _Held.path:
        return list(_Held.path)
    entries = (entry for entry in sys.path if isinstance(entry, str))
    # what is absolute stays as it is written: a link is not followed, and zip files are entries, too
    found = [e if os.path.isabs(e) else os.path.normpath(f"{_FOLDER}/{e}") for e in entries]  # noqa: PTH117  # "" is one
    first = [_FOLDER] if _FOLDER and _FOLDER not in found else []
    return list(dict.fromkeys([*first, *found]))
