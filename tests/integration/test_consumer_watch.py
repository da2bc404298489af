"""A worker that lives and takes no messages ends itself; one that has a reason to take none does not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker_servers import until

from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.stack import Stack
from worker.consuming import EXIT_STATUS

pytestmark = [pytest.mark.servers, pytest.mark.chaos]

HERE = Path(__file__).parent


@contextmanager
def stack_with(patience: float, folder: Path) -> Iterator[Stack]:
    """Provide a steps worker and an attempts worker that become deaf when the test wants it."""
    paths = os.pathsep.join(
        [str(HERE / "faults"), str(HERE), os.environ.get("PYTHONPATH", str(HERE.parents[1]))]
    )
    env = {"RECONCILER_CONSUMER_PATIENCE": f"{patience:g}s", "FAULTS": str(folder), "PYTHONPATH": paths}
    with Stack(
        folder / "data", imports=["runner_functions"], beat=False, attempts_concurrency=1, env=env
    ) as one:
        yield one


def ended(process: ManagedProcess) -> bool:
    """Whether it ended by itself, with the status of a consumer that was stuck."""
    return not process.alive and process.returncode == EXIT_STATUS


@pytest.mark.parametrize("fault", ["deaf", "hung"])
def test_workers_that_stopped_consuming_end(tmp_path: Path, fault: str) -> None:
    """Each says so in its log and ends with a status of its own; started again, they work."""
    with stack_with(2, tmp_path) as stack:
        workers = list(stack.processes.values())
        (tmp_path / fault).touch()
        until(lambda: all(map(ended, workers)), 40)
        assert all("consumer.stuck" in worker.log.read_text() for worker in workers)
        (tmp_path / fault).unlink()
        stack.start_workers()
        assert all(worker.alive for worker in workers)


def test_an_outage_and_a_pause_end_no_worker(tmp_path: Path) -> None:
    """While Redis is down, or the whole process was frozen, for longer than its patience, a worker is not to blame."""
    patience = 8  # longer than the longest wait between two tries to reconnect
    with stack_with(patience, tmp_path) as stack:
        workers = list(stack.processes.values())
        pids = [worker.pid for worker in workers]
        os.kill(workers[0].pid, signal.SIGSTOP)
        stack.servers.kill_redis()
        _pass(patience + 1)
        os.kill(workers[0].pid, signal.SIGCONT)
        stack.servers.start_redis()
        _pass(2 * patience)
        assert [worker.pid for worker in workers if worker.alive] == pids
        assert not any("consumer.stuck" in worker.log.read_text() for worker in workers)


def _pass(seconds: float) -> None:
    """Real time has to pass for the workers, whose clocks are their own."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, seconds + 5)
