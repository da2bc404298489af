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
                return mb_of(dev.pid)
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
    return {**mb, "workers_and_functions_mb": round((kinds["workers"] + kinds["functions"]) / 2**20, 1)}


def _kind(command: list[str]) -> str:
    """Tell what a process is; empty for a server."""
    if not command or "python" not in Path(command[0]).name:
        return ""
    if any(part.endswith("guardian.py") for part in command):
        return "guardians"
    return "functions" if "-c" in command[:3] else "workers"


def pss(pid: int) -> int:
    """Return the bytes that a process takes, of shared pages its part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
