"""Functions that leave what acts, or lets go of something, when they are over; imported by the child of a test."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import importlib
import io
import logging
import os
import signal
import sys
import threading
import types
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from reconciler.core.functions import registry
from worker.runner.child import Child

KEPT: list[logging.Logger] = []
PAUSE = threading.Event()
CRASHES = (signal.SIGABRT, signal.SIGSEGV)
VARIABLE: ContextVar[object] = ContextVar("VARIABLE")
WAYS: dict[str, Callable[[], object]] = {}


class Late:
    """Speaks, and sets a variable, when it is let go of."""

    def __del__(self) -> None:
        sys.stdout.write("LATE")  # not a whole line: that would stay in a buffer
        os.environ["LATE"] = "1"


class LateTee(Late):
    """Stands in for a stream."""

    def write(self, text: str) -> int:
        """Write it in upper case."""
        assert sys.__stdout__
        return sys.__stdout__.write(text.upper())


class LateHandler(logging.NullHandler, Late):
    """Handles nothing."""


class Hook:
    """Finds no module in any folder."""

    def __init__(self, folder: str) -> None: ...

    def find_spec(self, *_: object) -> None:
        """Find nothing."""


def way(leave: Callable[[], object]) -> Callable[[], object]:
    """List a way to leave something."""
    WAYS[leave.__name__] = leave
    return leave


def wrapper(stream: Any) -> Any:
    """Return one that closes our stream at its end, as many programs set the encoding."""
    return io.TextIOWrapper(stream.buffer, encoding="utf-8")


def loop() -> Any:
    """Return the loop of all calls, which does not run."""
    return asyncio.get_event_loop_policy().get_event_loop()


# ruff: noqa: D103  # what a way leaves is its name


@way
def speaks_in_an_exception() -> NoReturn:
    speaking = Late()
    raise ValueError(str(speaking))


@way
def speaks_in_a_context() -> None:
    VARIABLE.set(Late())


@way
def speaks_as_a_stream() -> None:
    sys.stdout = LateTee()  # type: ignore[assignment]  # left behind


@way
def speaks_as_a_handler() -> None:
    logging.root.addHandler(LateHandler())


@way
def speaks_in_the_loop() -> None:
    loop().call_soon(lambda: setattr(Late(), "at", "once"))


def _change() -> None:
    """Change what was looked at first."""
    os.umask(0o777)
    sys.setswitchinterval(1)
    importlib.import_module = None  # type: ignore[assignment]  # the point of it


@way
def changes_in_the_loop() -> None:
    loop().call_soon(_change)


@way
def changes_in_the_loop_soon_after() -> None:
    loop().call_soon(lambda: loop().call_soon(_change))


@way
def changes_in_a_thread_that_ends() -> None:
    threading.Timer(0.01, _change).start()


@way
def streams_wrapped() -> None:
    sys.stdout, sys.stderr = wrapper(sys.stdout), wrapper(sys.stderr)


@way
def stream_wrapped_in_a_context() -> None:
    VARIABLE.set(wrapper(sys.stdout))


@way
def streams_by_descriptor() -> None:
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")


@way
def stream_by_descriptor_in_an_exception() -> NoReturn:
    file = os.fdopen(1, "w")
    sys.stdout.write("before it closes")
    raise ValueError(str(file))


@way
def streams_detached() -> None:
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")  # type: ignore[attr-defined]  # a real one
    sys.stderr.detach()  # type: ignore[attr-defined]  # as above


@way
def streams_closed() -> None:
    for stream in (sys.stderr, sys.stdout, sys.stdin):
        stream.close()


@way
def no_stream() -> None:
    del sys.stdout


@way
def input_patched() -> None:
    sys.stdin.readline = lambda *_: "PATCHED"  # type: ignore[method-assign]  # the point of it


@way
def process_id_patched() -> None:
    os.getpid = lambda: 1


@way
def loop_told_to_stop() -> None:
    loop().stop()


@way
def handler_in_the_loop() -> None:
    loop().add_signal_handler(signal.SIGUSR2, print)


@way
def handlers_of_crashes() -> None:
    for number in CRASHES:
        signal.signal(number, lambda *_: None)


@way
def hook_of_imports() -> None:
    sys.path_hooks.insert(0, Hook)  # type: ignore[arg-type]  # finds nothing
    sys.path_importer_cache.clear()
    sys.modules.pop("colorsys")
    with contextlib.suppress(ImportError):
        importlib.import_module("colorsys")


@way
def hook_of_imports_taken_back() -> None:
    before = sys.path_hooks
    sys.path_hooks = []
    sys.path_importer_cache.clear()
    sys.modules.pop("colorsys")
    with contextlib.suppress(ImportError):
        importlib.import_module("colorsys")
    sys.path_hooks = before


@way
def garbage_saved() -> None:
    gc.set_debug(gc.DEBUG_SAVEALL)
    found: list[object] = []
    found.append(found)


@way
def package_made_by_hand() -> None:
    for name in ("made_by_hand", "made_by_hand.below"):
        sys.modules[name] = types.ModuleType(name)


def leave(what: str) -> int:
    """Leave something."""
    WAYS[what]()
    return 0


def hold(path: str) -> NoReturn:
    """Hold a lock, and fail."""
    file = open(path, "w")  # noqa: SIM115, PTH123  # the point of it
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    raise ValueError(f"held {file.name}")


@dataclass
class Unfit:
    """An argument that is refused, and leaves a thread."""

    text: str

    def __post_init__(self) -> None:
        threading.Thread(target=PAUSE.wait, daemon=True).start()
        raise ValueError("it does not fit")


def refuse(given: Unfit) -> int:
    """Take nothing."""
    return len(given.text)


def make_loggers(*, kept: bool) -> int:
    """Make some, of which the module keeps one; tells how many there are."""
    for number in range(3):
        made = logging.getLogger(f"made.{uuid.uuid4()}.{number}")
        made.setLevel(number)
    if kept:
        KEPT.append(made)
    assert all(logging.getLogger(each.name) is each for each in KEPT)
    return len(logging.root.manager.loggerDict)


def look() -> dict[str, str]:
    """Tell what a call finds; equal in each call of each child."""
    sys.modules.pop("colorsys", None)
    found: dict[str, object] = {
        "late": "LATE" in os.environ,
        "written": [stream.write("") for stream in (sys.stdout, sys.stderr)],
        "descriptors": [os.fstat(number).st_ino == os.fstat(1).st_ino for number in (1, 2)],
        "read": (sys.stdin.read(), sys.stdin.readline(), sys.__stdin__ is sys.stdin),
        "process": os.getpid() == os.getppid(),
        "imported": importlib.import_module("colorsys").__name__,
        "changed": (_mask(), sys.getswitchinterval()),
        "saved": len(gc.garbage),
        "crashes": list(map(_handler_of_c, CRASHES)),
        "made": [name for name in sys.modules if name.startswith("made_by_hand")],
        "loop": (len(loop()._ready), len(loop()._signal_handlers)),
    }
    return {name: repr(value) for name, value in found.items()}


def unsettled() -> int:
    """Count what is looked at behind this call although it has changed nothing."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and not isinstance(child := frame.f_locals.get("self"), Child):
        frame = frame.f_back
    changes = child._surroundings._modules._library._changes
    return len(changes.changed()) if changes is not None else 0


def _mask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def _handler_of_c(number: int) -> bytes:
    action = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).sigaction(number, None, action)
    return action.raw[:8]


async def wait() -> str:
    """Wait a moment."""
    await asyncio.sleep(0.001)
    return "waited"


for each in (leave, hold, refuse, make_loggers, look, unsettled, wait):
    registry.register(f"late.{each.__name__}", each)
