"""A worker whose functions cannot be loaded does not start, and takes no message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_processes import started
from cli_support import Backend, backend_on, eventually

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.embedded.servers import EmbeddedServers

pytestmark = pytest.mark.servers
MODULE = "deployed"
GOOD = """
from reconciler import TaskEnvironment
env = TaskEnvironment("site")
@env.task()
def double(x: int) -> int:
    return 2 * x
"""
BROKEN = {
    "raises": ("1 / 0", "ZeroDivisionError: division by zero"),
    "syntax": ("def f(:", "SyntaxError"),
    "exits": ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
    "interrupts": ("raise type('Odd', (KeyboardInterrupt,), {})('odd')", "Odd: odd"),
    "dies": ("import os; os._exit(9)", "status 9"),
    "hangs": ("import select\nselect.select([], [], [])", "was not ready"),
    "twice": (
        GOOD + "@env.task(name='double')\ndef other() -> None: ...\n",
        "two functions are named 'site.double'",
    ),
}


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, whose workers import one module."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.setenv("RECONCILER_IMPORTS", MODULE)
        monkeypatch.delenv("PYTHONPATH", raising=False)
        yield made


def command(queues: str, name: str) -> tuple[str, ...]:
    """Return a worker, as an operator starts it."""
    options = (
        "-Q",
        queues,
        "-P",
        "prefork",
        "-c",
        "1",
        "-n",
        f"{name}@here",
        "--without-gossip",
        "--without-mingle",
    )
    return (str(Path(sys.executable).with_name("celery")), "-A", "worker", "worker", *options)


def submitted(backend: Backend, run: str, x: int) -> None:
    """Submit a call of the module's function."""
    template = TaskTemplate(type="function", custom={"function": "site.double"})
    spec = ActionSpec(
        run_name=run, task_type="function", task_template=encode_template(template), inputs=b'{"x":%d}' % x
    )
    backend.client.submit(spec)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.usefixtures("backend")
def test_it_does_not_start(tmp_path: Path, kind: str) -> None:
    """It ends with 78, names module, reason and remedy."""
    text, told = BROKEN[kind]
    (tmp_path / f"{MODULE}.py").write_text(text)
    env = {**os.environ, "RECONCILER_IMPORT_TIMEOUT": "4s" if kind == "hangs" else "60s"}
    done = subprocess.run(
        command("attempts", kind),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 78, done.stderr
    assert told in done.stderr
    assert repr(MODULE) in done.stderr
    assert "RECONCILER_IMPORT" in done.stderr


def test_a_steps_worker_needs_no_functions(backend: Backend, tmp_path: Path) -> None:
    """Only workers that run attempts import the modules."""
    (tmp_path / f"{MODULE}.py").write_text("1 / 0")
    with started(command("steps", "decider"), tmp_path, os.environ) as worker:
        backend.sleep("nap", 0)
        backend.engine.messenger.wake(backend.store.shard_of(backend.get("nap").id.run_id))
        eventually(backend.store.workers, 60)
        assert worker.poll() is None


def test_waiting_actions_outlive_a_bad_deploy(backend: Backend, tmp_path: Path) -> None:
    """What waits while no worker starts runs when the module is mended, with no attempt spent."""
    (tmp_path / f"{MODULE}.py").write_text("1 / 0")
    runs = [f"r{number}" for number in range(40)]
    with started(command("steps", "decider"), tmp_path, os.environ):
        for number, run in enumerate(runs):
            submitted(backend, run, number)
        done = subprocess.run(
            command("attempts", "bad"), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 78
        (tmp_path / f"{MODULE}.py").write_text(GOOD)
        with started(command("attempts", "good"), tmp_path, os.environ):
            eventually(lambda: all(backend.get(run).phase.is_terminal() for run in runs), 90)
    records = [backend.get(run) for run in runs]
    assert {record.phase for record in records} == {ActionPhase.SUCCEEDED}
    assert {record.status.total_system_failures for record in records} == {0}
