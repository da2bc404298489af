"""What the tests of `demo` and `dev` share: commands as processes, their output, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-m", "reconciler.cli")


def environment(**more: str) -> dict[str, str]:
    """Return the variables of this process, and those by which the package is found from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@contextmanager
def started(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Provide a command that runs; it is killed at the end if it still does."""
    with subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read its output up to and including the line with this text; fail when it ends before."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was not said, but: {seen}")


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return all processes below it."""
    return psutil.Process(process.pid).children(recursive=True)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C: the exit status, and what was said from there on."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def left_of(processes: Sequence[psutil.Process], patience: float = 10.0) -> list[psutil.Process]:
    """Return the processes that still run after some seconds; zombies, which wait for their parent, do not count."""
    _, alive = psutil.wait_procs(processes, timeout=patience)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
