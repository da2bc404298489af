"""The runners of a pool process: one for what it draws, and one for what runs beside a function that waits."""

from __future__ import annotations

import os
import threading

from reconciler.wiring import Engine
from worker.attempts.secrets import ChildSecrets
from worker.runner.functions import runner_for
from worker.runner.runner import Runner


class _Runners(threading.local):
    """The runner of this thread, which is one of few in a process; made after the fork of the pool."""

    runner: Runner | None = None
    secrets = ChildSecrets()
    pid: int = 0


class _Limits:
    """The limits of the runners of this process, in all threads."""

    memory: int = 0


_child = _Runners()


def runner_of(engine: Engine) -> Runner:
    """Return the runner of this thread: that of the process, or the one beside it."""
    if _child.runner is None or _child.pid != os.getpid():
        _child.runner = runner_for(engine.settings, memory_limit=_Limits.memory)
        _child.secrets = ChildSecrets()
        _child.pid = os.getpid()
    return _child.runner


def child_secrets() -> ChildSecrets:
    """Return the secrets that the child of this thread's runner has been given."""
    return _child.secrets


def close_runner() -> None:
    """End the runner of this thread; it may get another one."""
    if _child.runner is not None and _child.pid == os.getpid():
        _child.runner.close()
        _child.runner = None


def limit_memory(kilobytes: int | None) -> None:
    """Let children of later runners be replaced when they have held more memory than this: `--max-memory-per-child`."""
    _Limits.memory = kilobytes or 0
