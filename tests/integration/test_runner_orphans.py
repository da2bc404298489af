"""SIGKILL to the supervisor, whatever its child does at that moment: no process is left behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runner_support import PATH, eventually, started

from worker.runner.kernel import kill_all, marked

OWN = "ORPHANS_OF_TEST"
PROGRAM = """
import sys, threading
from pathlib import Path
from worker.runner.runner import Call, Runner

imports, function, log = sys.argv[1:]
runner = Runner([imports], log_limit=65536)
runner.start()
if function:
    call = Call(function, b"{}", {}, {})
    runner.run(call, stop=lambda: None, poll=1, timeout=60, grace=5, log=Path(log))
print("idle", flush=True)
threading.Event().wait()
"""
IMPORTS = {
    "blocks_at_import": "import pathlib, select\npathlib.Path(__file__ + '.begun').touch()\nselect.select([], [], [])\n",
    "spins_at_import": "import pathlib, itertools\npathlib.Path(__file__ + '.begun').touch()\nsum(itertools.repeat(1))\n",
}


class Supervisor:
    """A process that owns a runner; it and all below it carry a mark."""

    def __init__(self, folder: Path, imports: str = "runner_functions", function: str = "") -> None:
        self.log = folder / "log"
        self.mark = uuid.uuid4().hex
        for name, text in IMPORTS.items():
            (folder / f"{name}.py").write_text(text)
        path = os.pathsep.join([str(folder), PATH["PYTHONPATH"]])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, imports, function, str(self.log)],
            env={**os.environ, "PYTHONPATH": path, OWN: self.mark},
            stdout=subprocess.PIPE,
        )

    def family(self) -> set[int]:
        """List the supervisor and what it has started."""
        return marked(OWN, self.mark)

    def children(self) -> set[int]:
        """What it has started."""
        return self.family() - {self.process.pid}

    def kill(self) -> None:
        """SIGKILL it alone, and see the others end within seconds."""
        self.process.kill()
        self.process.wait()
        eventually(lambda: not self.family(), within=30)

    def end(self) -> None:
        """Leave nothing behind, whatever the test found."""
        self.process.kill()
        self.process.communicate()
        kill_all(self.family())


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Starts supervisors."""
    made: list[Supervisor] = []

    def start(*given: str) -> Supervisor:
        made.append(Supervisor(tmp_path, *given))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_an_idle_child_ends_with_its_supervisor(supervise: Callable[..., Supervisor]) -> None:
    """A child that waits for its next call."""
    supervisor = supervise("runner_functions", "pid")
    assert supervisor.process.stdout
    assert supervisor.process.stdout.readline() == b"idle\n"
    assert supervisor.children()
    supervisor.kill()


@pytest.mark.parametrize("function", ["stubborn", "hold_the_gil", "spin_async"])
def test_a_busy_child_ends_with_its_supervisor(supervise: Callable[..., Supervisor], function: str) -> None:
    """A function that ignores SIGTERM, C code that never lets go of the GIL, a coroutine that computes."""
    supervisor = supervise("runner_functions", function)
    eventually(lambda: supervisor.children() and started(supervisor.log), within=30)
    supervisor.kill()


@pytest.mark.parametrize("imports", sorted(IMPORTS))
def test_a_child_that_never_got_ready_ends_with_its_supervisor(
    supervise: Callable[..., Supervisor], tmp_path: Path, imports: str
) -> None:
    """An import that waits, or computes in C, for ever."""
    supervisor = supervise(imports)
    eventually(supervisor.children, within=30)
    eventually((tmp_path / f"{imports}.py.begun").exists, within=30)
    supervisor.kill()


def test_a_child_killed_off_at_any_moment_of_its_start_ends(supervise: Callable[..., Supervisor]) -> None:
    """The supervisor dies at random moments of the first second, from before its child is there until after its imports."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    pause = threading.Event()
    with_child = 0
    for number in range(8):
        supervisor = supervise("runner_functions", "hold_the_gil")
        if number % 2:
            eventually(supervisor.children, within=30)
            pause.wait(rng.uniform(0, 0.3))
        else:
            pause.wait(rng.uniform(0, 1))
        with_child += bool(supervisor.children())
        supervisor.kill()
    assert with_child >= 3
