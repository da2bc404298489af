"""Functions that each change Python itself in another way, and look at it; imported by the child of a test."""

from __future__ import annotations

import asyncio
import builtins
import codecs
import copyreg
import csv
import datetime as dt
import decimal
import gc
import json
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import types
import urllib.request
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from reconciler.core.functions import registry

WAYS: dict[str, Callable[[], object]] = {}


def way(change: Callable[[], object]) -> Callable[[], object]:
    """List a way to change something."""
    WAYS[change.__name__] = change
    return change


def other(*_: object, **__: object) -> Any:
    """What stands in for something."""
    return "PATCHED"


def set_at(where: Any, name: str, value: object = other) -> Callable[[], object]:
    """Return a change of one attribute."""
    return lambda: setattr(where, name, value)


class OtherTime(dt.datetime):
    """A class in place of another one."""


WAYS |= {
    "json.dumps": set_at(json, "dumps"), "datetime.datetime": set_at(dt, "datetime", OtherTime),
    "uuid.uuid4": set_at(uuid, "uuid4"), "os.path.exists": set_at(os.path, "exists"),
    "asyncio.sleep": set_at(asyncio, "sleep"), "urlopen": set_at(urllib.request, "urlopen"),
    "opener": lambda: urllib.request.install_opener(urllib.request.build_opener()),
    "socket.connect": set_at(socket.socket, "connect"), "Popen": set_at(subprocess.Popen, "__init__"),
    "Path.exists": set_at(pathlib.Path, "exists"), "Logger.info": set_at(logging.Logger, "info"),
    "level name": lambda: logging.addLevelName(logging.INFO, "PATCHED"),
    "terminator": lambda: setattr(logging.root.handlers[0], "terminator", "PATCHED"),
    "emit": lambda: setattr(logging.root.handlers[0], "emit", other),
    "codec error": lambda: codecs.register_error("strict", lambda e: ("", e.end)),
    "field size": lambda: csv.field_size_limit(1),
    "copyreg": lambda: copyreg.pickle(complex, lambda _: (str, ("PATCHED",))),
    "default decimals": lambda: setattr(decimal.DefaultContext, "prec", 3),
    "options": lambda: sys._xoptions.update(left="1"), "encodevalue": lambda: setattr(os.environ, "encodevalue", other),
    "libraries": lambda: sys.setdlopenflags(257),
    "thread name": lambda: setattr(threading.current_thread(), "name", "PATCHED"),
    "fake module": lambda: sys.modules.update(boto_fake=types.ModuleType("boto_fake")),
    "no module": lambda: sys.modules.update(colorsys=None),  # type: ignore[dict-item]  # what blocks an import
}  # fmt: skip


class Speaks:
    """Lies in a cycle, and does something when it is collected."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.me, self.act = self, act

    def __del__(self) -> None:
        self.act()


def later() -> None:
    """Speak when the call is over."""
    threading.Event().wait(0.3)
    print("LATE", flush=True)


LATER = {
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 30),
    "mask": lambda: os.umask(0o777),
    "thread": lambda: threading.Thread(target=later, daemon=True).start(),
    "process": lambda: subprocess.Popen(["sleep", "60"]),
    "builtins": set_at(builtins, "open"),
    "speech": partial(print, "LATE", flush=True),
}


@way
def old_garbage() -> None:
    """Garbage that has survived collections speaks at the end of its call."""
    kept = Speaks(LATER["speech"])
    gc.collect()
    gc.collect()
    del kept


for name, act in LATER.items():
    WAYS[f"garbage: {name}"] = lambda act=act: Speaks(act)  # type: ignore[misc]  # each its own


def change(what: str) -> int:
    """Change something; tells in which process."""
    WAYS[what]()
    return os.getpid()


def look() -> dict[str, str]:
    """What a call finds; equal in each call of each child."""
    mask = os.umask(0o022)
    os.umask(mask)
    handler = logging.root.handlers[0]
    found: dict[str, object] = {
        "functions": [f"{getattr(f, '__module__', '')}.{f.__qualname__}" for f in _functions()],
        "opener": urllib.request._opener, "levels": logging.getLevelName(20),
        "handler": (handler.terminator, "emit" in vars(handler)),
        "codecs": codecs.lookup_error("strict") is codecs.strict_errors, "fields": csv.field_size_limit(),
        "pickle": complex in copyreg.dispatch_table and copyreg.dispatch_table[complex].__module__,
        "decimals": decimal.DefaultContext.prec, "options": sys._xoptions, "libraries": sys.getdlopenflags(),
        "thread": [thread.name for thread in threading.enumerate()], "mask": mask,
        "timers": signal.getitimer(signal.ITIMER_REAL),
        "modules": ("boto_fake" in sys.modules, "colorsys" in sys.modules), "open": open.__module__,
        "children": pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
    }  # fmt: skip
    return {name: repr(value) for name, value in found.items()}


def _functions() -> list[Any]:
    return [
        json.dumps, dt.datetime, uuid.uuid4, os.path.exists, urllib.request.urlopen, socket.socket.connect,
        subprocess.Popen.__init__, pathlib.Path.exists, logging.Logger.info, os.environ.encodevalue, asyncio.sleep,
    ]  # fmt: skip


def import_and_patch() -> int:
    """Be the first to import a module, and change it."""
    import sched  # noqa: PLC0415  # that is the point

    sched.scheduler.empty = other  # type: ignore[method-assign]  # as above
    return os.getpid()


def is_empty() -> bool:
    """What that module says."""
    import sched  # noqa: PLC0415  # as above

    return bool(sched.scheduler().empty())


def forge() -> int:
    """Write an answer to the call after this one into every socket there is."""
    from worker.runner.frames import pack  # noqa: PLC0415  # as a function could
    from worker.runner.messages import Returned  # noqa: PLC0415  # as above

    for number in range(3, 64):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        found.send(pack(Returned(b'{"o0":"forged"}'), 1))
        found.close()
    return os.getpid()


def honest() -> str:
    """Say so."""
    return "honest"


for each in (change, look, import_and_patch, is_empty, forge, honest):
    registry.register(f"patching.{each.__name__}", each)
