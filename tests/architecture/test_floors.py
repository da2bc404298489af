"""Who may import whom: the contracts of pyproject.toml hold, and each of them bites."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages that lie in a folder."""
    options = ["--no-logo", "--no-cache", "--config", "pyproject.toml", *arguments]
    command = [sys.executable, "-c", LINT_IMPORTS, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def imported(source: str) -> set[str]:
    """Return the first part of every module a source imports; `.` for a relative import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").partition(".")[0])
    return found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of both packages and of the contracts, to plant mistakes in."""
    for package in ("reconciler", "worker"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold() -> None:
    """No import of this tree breaks a contract."""
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("worker-on-top", "reconciler/sweeps/planted.py", "import worker"),
        ("floors", "reconciler/core/planted.py", "import reconciler.stores"),
        ("floors", "reconciler/controller/planted.py", "import reconciler.sweeps"),
        ("floors", "reconciler/controller/planted.py", "import reconciler.testing"),
        ("floors", "reconciler/client/planted.py", "import reconciler.controller.step"),
        ("floors", "reconciler/of_no_floor.py", ""),
        ("client-floors", "reconciler/client/run.py", "from reconciler.client.client import Client"),
        ("runner-apart", "worker/runner/planted.py", "from worker.attempts import heartbeat"),
        ("runner-apart", "worker/runner/planted.py", "from reconciler.stores.redis import store"),
        ("pure", "reconciler/api/planted.py", "import structlog"),
        ("pure", "reconciler/core/planted.py", "from celery import Celery"),
        ("stores-only", "reconciler/controller/planted.py", "import redis.asyncio"),
        ("stores-only", "worker/planted.py", "import boto3"),
        ("broker-only", "reconciler/plugins/planted.py", "from kombu import Queue"),
    ],
)
def test_contracts_bite(copied: Path, contract: str, module: str, line: str) -> None:
    """An import across the floors, or a module without a floor, breaks the contract meant for it."""
    (copied / module).write_text(f"{line}\n")
    done = lint_imports(copied, "--contract", contract)
    assert done.returncode == 1
    assert "0 kept, 1 broken" in done.stdout, done.stdout + done.stderr


def test_the_schedule_is_data_only() -> None:
    """beat_schedule.py imports the standard library alone, so that reading it starts nothing."""
    schedule = ROOT / "beat_schedule.py"
    if not schedule.exists():
        pytest.skip("beat_schedule.py is not there yet")
    assert imported(schedule.read_text()) - sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    "line", ["import worker.app", "from reconciler.settings import Settings", "from . import x"]
)
def test_foreign_imports_are_seen(line: str) -> None:
    """The check of the schedule notices an import of ours, also inside a function."""
    assert imported(f"import datetime\ndef late():\n    {line}\n") - sys.stdlib_module_names
