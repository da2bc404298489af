"""What the tests of the runner share: calls by name, and conditions to wait for."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from worker.runner.runner import Call, Ended, Returned, Runner

FUNCTIONS = "runner_functions"
LOG_LIMIT = 64 * 1024
PATH = {"PYTHONPATH": os.pathsep.join(sys.path)}
"""Environment of the programs the tests start."""

SUPERVISOR = """
import sys
from pathlib import Path
from worker.runner.runner import Call, Runner

def supervise(function, log):
    runner = Runner(["runner_functions"], log_limit=65536)
    call = Call(function, b"{}", {}, {})
    return runner.run(call, stop=lambda: None, poll=1, timeout=60, grace=5, log=Path(log))
"""
"""Beginning of a program that owns a runner."""


def caller(runner: Runner, log: Path) -> Callable[..., Ended]:
    """Return a way to run a function by name, with limits that end a test instead of hanging it."""

    def call(function: str, /, *, stop: Callable[[], str | None] = lambda: None, **given: Any) -> Ended:
        options: dict[str, Any] = {"poll": 0.02, "timeout": 60.0, "grace": 10.0, "log": log}
        options |= {name: given.pop(name) for name in list(given) if name in options}
        env = given.pop("env", {})
        context = given.pop("context", {})
        return runner.run(Call(function, msgspec.json.encode(given), env, context), stop=stop, **options)

    return call


def child_of(runner: Runner) -> int:
    """Process id of its child."""
    assert runner._child is not None
    return runner._child.pid


def value(ended: Ended) -> Any:
    """What a call returned."""
    assert isinstance(ended, Returned), ended
    return json.loads(ended.outputs)["o0"]


def eventually(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait until a condition holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + within
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "this did not come true in time"
        tick.wait(0.01)


def gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def started(log: Path) -> bool:
    """Whether the function of the call has begun to do what it is there for."""
    return log.exists() and b"started" in log.read_bytes()
