"""`reconciler dev`, as somebody uses it for tasks of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from cli_processes import CLI, environment, family, interrupt, left_of, read_until, started
from cli_support import eventually

from benchmarks.idle import mb_of

pytestmark = pytest.mark.servers

TASKS = """
from reconciler import TaskEnvironment
env = TaskEnvironment("mine")
@env.task()
def double(number: int) -> int:
    return number * 2
if __name__ == "__main__":
    print(double.delay(21).result(timeout=30))
"""


def run_tasks(folder: Path) -> str:
    """What the script says in another terminal, which has read the file that `dev` has written."""
    script = f". data/env && exec {sys.executable} code/tasks.py"
    command = ["sh", "-eu", "-c", script]
    env = environment(AWS_PROFILE="of-another-account")
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout


def pid_of(name: str, said: str) -> int:
    """Return the process id that `dev` has told for a process."""
    found = re.search(rf"^  {name} +pid (\d+)", said, re.MULTILINE)
    assert found, said
    return int(found[1])


def pid_in_file(folder: Path, name: str) -> int:
    """Return the process id that a shell finds; 0 when the process does not live."""
    path = folder / "data" / f"{name}.pid"
    return int(path.read_text() or 0) if path.exists() else 0


def test_tasks_of_ones_own_run_and_the_dead_return(tmp_path: Path) -> None:
    """Another terminal reaches the workers with what was written for it; what is killed comes back; Ctrl-C ends all."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "tasks.py").write_text(TASKS)
    command = [*CLI, "dev", "--app", "code/tasks.py", "--data", "data"]
    with started(command, tmp_path, environment()) as dev:
        said = read_until(dev, "Ctrl-C ends all")
        assert "Tasks: mine.double\n" in said
        assert "start with --flower to see runs" in said
        assert (tmp_path / "data" / "env").stat().st_mode & 0o777 == 0o600
        exports = (tmp_path / "data" / "env").read_text()
        assert "".join(f"  {line}\n" for line in exports.splitlines()) in said
        assert run_tasks(tmp_path) == "42\n"
        eventually(
            lambda: list((tmp_path / "data").glob("beat-schedule*"))
        )  # a thread of the steps worker keeps it
        assert mb_of(dev.pid)["all_mb"] < 240
        for name in ("attempts-1", "valkey"):
            assert pid_in_file(tmp_path, name) == pid_of(name, said)
            os.kill(pid_of(name, said), signal.SIGKILL)
            assert f"{name} was killed by SIGKILL; it is started again now" in read_until(
                dev, "is started again"
            )
            read_until(dev, f"{name} runs again.")
            eventually(lambda: pid_in_file(tmp_path, name) not in {0, pid_of(name, said)})  # noqa: B023  # called at once
            assert psutil.pid_exists(pid_in_file(tmp_path, name))
            assert run_tasks(tmp_path) == "42\n"
        below = family(dev)
        code, rest = interrupt(dev)
        assert code == 0
        assert rest.endswith("All servers and workers have ended.\n")
        logs = "".join(log.read_text() for log in (tmp_path / "data" / "logs").glob("*-1.log"))
        assert "Connection to broker lost" in logs
        assert "In Celery 5.1" not in logs
        assert left_of(below) == []
        assert not psutil.pid_exists(pid_of("steps-1", said))
        assert list((tmp_path / "data").glob("*.pid")) == []


def test_a_worker_module_of_the_users_is_refused(tmp_path: Path) -> None:
    """Before anything is started, `dev` says which file has the name of one of ours."""
    (tmp_path / "worker.py").touch()
    done = subprocess.run(
        [*CLI, "dev"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{tmp_path / 'worker.py'} has the name of a module of celery-reconciler" in done.stderr
    assert not (tmp_path / ".reconciler").exists()
