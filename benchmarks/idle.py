"""`python -m benchmarks idle`: the memory of our processes of a `reconciler dev` that does nothing, without its servers.

Of pages that several processes share each one counts its part (PSS, of /proc/PID/smaps_rollup), so the figures can be added.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

_REST = 10.0
"""Seconds until it is looked at: workers still import for some of them."""
_SWEPT = 65.0
"""Seconds more until it is looked at again: after the first look for what may be forgotten, which asks S3."""
_APP = """
from reconciler import TaskEnvironment
env = TaskEnvironment("idle")
@env.task()
def one(number: int) -> int:
    return number
"""


def measure() -> dict[str, object]:
    """Start it with a file of one function, and add up."""
    with tempfile.TemporaryDirectory(prefix="reconciler-idle-") as folder:
        app = Path(folder) / "tasks_of_mine.py"
        app.write_text(_APP)
        command = [
            sys.executable,
            "-m",
            "reconciler.cli",
            "dev",
            "--app",
            str(app),
            "--data",
            f"{folder}/data",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dev:
            try:
                for line in dev.stdout or ():
                    if line.startswith("Ctrl-C ends all"):
                        break
                threading.Event().wait(_REST)
                found = mb_of(dev.pid)
                threading.Event().wait(_SWEPT)
                return {**found, "all_mb_once_s3_was_asked": mb_of(dev.pid)["all_mb"]}
            finally:
                dev.terminate()


def mb_of(dev: int) -> dict[str, object]:
    """Return MB by the kind of process."""
    kinds = {"dev": pss(dev), "guardians": 0, "workers": 0, "functions": 0}
    for process in psutil.Process(dev).children(recursive=True):
        kind = _kind(process.cmdline())
        if kind:
            kinds[kind] += pss(process.pid)
    mb = {f"{kind}_mb": round(found / 2**20, 1) for kind, found in kinds.items()}
    return {**mb, "all_mb": round(sum(kinds.values()) / 2**20, 1)}


def _kind(command: list[str]) -> str:
    """Tell what a process is; empty for a server."""
    if not command or "python" not in Path(command[0]).name:
        return ""
    if any("import guardian" in part for part in command[:5]):
        return "guardians"
    return "functions" if "-c" in command[:3] else "workers"


def pss(pid: int) -> int:
    """Return the bytes that a process takes, of shared pages its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
