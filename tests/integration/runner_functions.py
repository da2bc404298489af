"""Functions of users, good and bad, for test_runner.py. The child process imports this module."""
# ruff: noqa: D103  # their names say what they do, and users print

from __future__ import annotations

import asyncio
import ctypes
import itertools
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from reconciler.api.errors import NonRetryableError
from reconciler.core.current import current_attempt
from reconciler.core.functions import registry

Function = TypeVar("Function", bound=Callable[..., object])


def function(declared: Function) -> Function:
    """Register under its own name."""
    registry.register(declared.__name__, declared)
    return declared


class OddError(NonRetryableError):
    """Another attempt cannot help."""


class Unprintable(Exception):  # raised on purpose
    """Its text cannot be had."""

    def __str__(self) -> NoReturn:
        raise SystemExit(3)


def wait_for_ever() -> None:
    """Block in a system call."""
    select.select([], [], [])


@function
def add(a: int, b: int = 2) -> int:
    return a + b


@function
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@function
def pid() -> int:
    return os.getpid()


@function
def big(size: int) -> str:
    return "x" * size


@function
def measure(text: str) -> int:
    return len(text)


@function
def where_am_i() -> dict[str, Any]:
    attempt = current_attempt()
    return (
        {}
        if attempt is None
        else {"path": attempt.path, "attempt": attempt.attempt, "launch": attempt.launch}
    )


@function
async def where_am_i_async() -> str:
    attempt = current_attempt()
    return attempt.path if attempt else ""


@function
def environment() -> dict[str, str]:
    return {**os.environ, "current folder": str(Path.cwd())}


@function
def make_a_mess() -> None:
    os.environ["MESS"] = "1"
    os.environ.pop("PATH", None)
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.close()
    os.close(1)


@function
def descriptors() -> list[str]:
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(entry.readlink()))
        except OSError:  # the one that lists the folder
            continue
    return held


@function
def imported() -> list[str]:
    return sorted(sys.modules)


@function
def fail(text: str) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        raise ValueError(text) from error


@function
async def fail_async() -> None:
    await asyncio.sleep(0)
    raise LookupError("lost")


@function
def fail_for_good() -> None:
    raise OddError("no way")


@function
def fail_unprintably() -> None:
    raise Unprintable


@function
def leave(how: str) -> None:
    if how == "exit":
        sys.exit(7)
    raise KeyboardInterrupt


@function
def wrong_result() -> int:
    return "one"  # type: ignore[return-value]  # the point of it


@function
def unhinted_result() -> Any:
    """Return what comes back from JSON as something else, where no hint names it."""
    return {"pair": (1, 2)}


@function
def segfault() -> None:
    ctypes.string_at(0)


@function
def os_exit(status: int) -> None:
    os._exit(status)


@function
def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)
    wait_for_ever()


@function
def hog() -> None:
    held = []
    while True:
        held.append(bytearray(1 << 20))


@function
def close_everything() -> None:
    os.closerange(3, 65536)
    wait_for_ever()


@function
def spin() -> None:
    print("started")
    while True:
        pass


@function
def block(trace: str) -> None:
    print("started")
    try:
        wait_for_ever()
    finally:
        Path(trace).write_text("cleaned up")


@function
async def block_async(trace: str) -> None:
    print("started")
    try:
        await asyncio.Event().wait()
    finally:
        Path(trace).write_text("cleaned up")  # noqa: ASYNC240  # nothing else is to run


@function
async def spin_async() -> None:
    print("started")
    while True:
        pass


@function
def stubborn() -> None:
    print("started")
    while True:
        try:
            wait_for_ever()
        except BaseException as error:  # noqa: BLE001  # the point of it
            print("ignored", type(error).__name__)


@function
def hold_the_gil() -> None:
    print("started")
    sum(itertools.repeat(1))  # a loop in C that never ends and never looks for signals


@function
def talk() -> None:
    print("print")
    print("error", file=sys.stderr)
    os.write(1, b"descriptor\n")
    subprocess.run(["/bin/echo", "subprocess"], check=True)
    ctypes.CDLL(None).puts(b"C library")
    logging.getLogger("mine").info("logged %d", 1)
    logging.getLogger("mine").debug("not logged")
    print("lone \ud800 surrogate")


@function
def flood(size: int) -> None:
    os.write(1, b"first\n")
    with open(1, "wb", closefd=False) as out:
        out.write(b"y" * size)


@function
def start_processes() -> list[int]:
    """Return a process, one in a session of its own, and a daemon whose parent has ended."""
    plain = subprocess.Popen(["/bin/sleep", "1000"])
    detached = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    daemon = subprocess.run(
        ["/bin/sh", "-c", "setsid sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True
    )
    return [plain.pid, detached.pid, int(daemon.stdout)]


@function
def start_processes_and_die() -> None:
    print(*start_processes(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


@function
def start_daemon_and_die() -> None:
    daemon = ["env", "-i", "setsid", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]
    print(*subprocess.run(daemon, check=True, capture_output=True, text=True).stdout.split(), flush=True)
    os._exit(5)


@function
def start_process_and_hold_the_gil() -> None:
    print(os.getpid(), subprocess.Popen(["/bin/sleep", "1000"]).pid, flush=True)
    sum(itertools.repeat(1))


@function
def fork(how: str) -> int:
    """Return the exit status of a forked process that returns, or exits with 3."""
    forked = os.fork()
    if not forked:
        if how == "exit":
            sys.exit(3)
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])


@function
def terminate_a_fork() -> int:
    """Return the exit status of a forked process that gets SIGTERM."""
    forked = os.fork()
    if not forked:
        wait_for_ever()
    os.kill(forked, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
