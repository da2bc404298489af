"""The same script for both: celery-reconciler, and plain Celery on the same Redis."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import chaos_tasks
import msgspec
import psutil
import redis
from celery import Celery
from plain_celery import QUEUE

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.errors import Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.client import Client
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.plugins.sleep import TASK_TYPE
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

HERE = Path(__file__).parent
_TIMER = TaskTemplate(type=TASK_TYPE, interface=Interface(inputs={"duration": "duration"}))
NAP = ActionSpec(task_type=TASK_TYPE, task_template=encode_template(_TIMER), inputs=b'{"duration": 0}')
PROCESSES = 2
"""User functions at once, for both."""
SECONDS = 0.02
"""What one call takes."""


class Row(msgspec.Struct, frozen=True):
    """What a fault did to a subject.

    Attributes:
        subject: who was tried.
        items: calls that were accepted.
        lost: of them, those that never came to an end.
        twice: those that were begun more than once.
        again: seconds between the first and the last start of each of those, shortest first.
        noticed: seconds between a fault and the new launch of what it interrupted, where there is a record of launches.
        exits: workers that ended though nobody killed them.
    """

    subject: str
    items: int
    lost: int
    twice: int
    again: list[float]
    noticed: list[float]
    exits: int

    def __str__(self) -> str:
        noticed = f"launched again after {_spread(self.noticed)}, " if self.noticed else ""
        return (
            f"{self.subject:>18} | {self.items} calls | lost {self.lost} | begun twice {self.twice} | "
            f"{noticed}begun again after {_spread(self.again)} | workers that gave up {self.exits}"
        )


def _spread(seconds: list[float]) -> str:
    """p50, p99 and the most of some durations."""
    if not seconds:
        return "-"
    p50, p99 = (seconds[int(len(seconds) * q)] for q in (0.5, 0.99))
    return f"{p50:.1f}/{p99:.1f}/{seconds[-1]:.1f} s"


class Subject(Protocol):
    """What is broken."""

    name: str
    servers: EmbeddedServers
    exits: int

    def submit(self, first: int, count: int) -> None:
        """Accept so many calls, numbered from `first`."""
        ...

    def kill(self) -> None:
        """SIGKILL all workers."""
        ...

    def start(self) -> None:
        """Start the workers that do not run."""
        ...

    def supervise(self) -> None:
        """Start, and count, workers that ended by themselves."""
        ...

    def freeze(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT for the processes that run user code."""
        ...

    def settle(self, timeout: float) -> int:
        """Wait until nothing more will happen; how many calls never ended."""
        ...

    def noticed(self, starts: dict[int, list[float]]) -> list[float]:
        """See `Row.noticed`."""
        ...


class Tally:
    """A file in which each start of a call is a line: its number and the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._starts: dict[int, list[float]] = {}

    def starts(self) -> dict[int, list[float]]:
        """When each call was begun, the first time first."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                new, _, _ = file.read().rpartition(b"\n")
            self._read += len(new) + bool(new)
            for line in new.splitlines():
                index, at = line.split()
                self._starts.setdefault(int(index), []).append(float(at))
        return self._starts

    def until(self, begun: int, timeout: float) -> None:
        """Wait until so many different calls were begun."""
        until(lambda: len(self.starts()) >= begun, timeout, f"fewer than {begun} calls were begun")

    def row(self, subject: Subject, items: int, lost: int) -> Row:
        """Return the result."""
        twice = {index: at for index, at in self.starts().items() if len(at) > 1}
        again = sorted(at[-1] - at[0] for at in twice.values())
        return Row(
            subject.name, items, lost, len(twice), again, sorted(subject.noticed(twice)), subject.exits
        )


class Ours:
    """celery-reconciler with one steps worker, one attempts worker and beat."""

    name = "celery-reconciler"

    def __init__(self, folder: Path, servers: EmbeddedServers, tally: Tally) -> None:
        self.servers, self.exits, self._tally = servers, 0, tally
        self.stack = Stack(
            folder, imports=["chaos_tasks"], attempts_concurrency=PROCESSES, cwd=HERE, servers=servers
        )
        self.stack.start()
        self.client = Client.from_settings(Settings.from_env(self.stack.env()))
        chaos_tasks.env.client = self.client
        self._runs: list[tuple[RunId, int, int]] = []
        """Runs of calls: the number of the first, and how many."""
        self._naps: list[tuple[RunId, int]] = []
        """Beside each, a run of as many actions that only steps see."""
        self._outages: list[tuple[float, float]] = []
        """From when to when no worker ran, or the one that runs user code did not."""

    def submit(self, first: int, count: int) -> None:
        """Submit all as one run; again, as a user would, while Redis is away."""

        def accepted() -> bool:
            try:
                run = chaos_tasks.timed.map(
                    range(first, first + count),
                    seconds=SECONDS,
                    tally=str(self._tally.path),
                    keep_failures=True,
                    idempotency_key=f"from-{first}",
                )
                naps = self.client.submit_many([NAP] * count, idempotency_key=f"naps-{first}")
            except Unavailable:
                return False
            self._runs.append((run.id, first, count))
            self._naps.append((naps.id, count))
            return True

        until(accepted, 30, "the submission was never accepted")

    def kill(self) -> None:
        """Kill all worker processes; beat goes on."""
        self._outages.append((time.time(), time.time()))
        self.stack.kill_workers()

    def start(self) -> None:
        """Start the workers that do not run."""
        self.stack.start_workers()
        self._outages[-1] = (self._outages[-1][0], time.time())

    def supervise(self) -> None:
        """Supervise workers and beat."""
        dead = [name for name, process in self.stack.processes.items() if not process.alive]
        self.exits += len(dead)
        for name in dead:
            self.stack.restart(name)

    def freeze(self, number: signal.Signals) -> None:
        """Freeze the whole group of the attempts worker, its children's children too."""
        if number is signal.SIGSTOP:
            self._outages.append((time.time(), time.time()))
        signal_family(self.stack.processes["attempts-1"].pid, number)

    def settle(self, timeout: float) -> int:
        """Until all runs have ended; checks the invariants of each."""
        ends = time.monotonic() + timeout
        runs = [(run, count) for run, _, count in self._runs] + self._naps
        for run, _ in runs:
            until(lambda run=run: self._ended(run), ends - time.monotonic(), f"{run} never ended")  # type: ignore[misc]  # bound now
        succeeded = sum(check_run(self.client, run)[ActionPhase.SUCCEEDED] for run, _ in runs)
        check_due_index(self.client)
        print(f"{succeeded} actions succeeded, each with one terminal event, of {len(runs)} runs")
        return sum(count + 1 for _, count in runs) - succeeded

    def noticed(self, starts: dict[int, list[float]]) -> list[float]:
        """Read it from the QUEUED events of the actions, of which each launch has one."""
        found = []
        for index, times in starts.items():
            run, first, _ = next(one for one in reversed(self._runs) if one[1] <= index)
            events = self.client.events(run.action(f"m{index - first}"))
            launches = [e.reported_time / 1000 for e in events if e.phase is ActionPhase.QUEUED]
            for begun in times[:-1]:
                fault = next((at for at, _ in self._outages if at >= begun), None)
                launched = next((at for at in launches if fault is not None and at > fault), None)
                if fault is not None and launched is not None:
                    found.append(launched - fault - self._down(fault, launched))
        return found

    def _ended(self, run: RunId) -> bool:
        try:
            counts = self.client.counts(run)
        except Unavailable:
            return False
        return counts.ended == counts.total

    def _down(self, since: float, until: float) -> float:
        """Return seconds of later outages in this time: while no worker runs nobody can notice anything."""
        return sum(max(0.0, min(up, until) - at) for at, up in self._outages if since < at < until)

    def stop(self) -> None:
        """End the processes."""
        self.stack.stop()


class Plain:
    """Celery with one worker."""

    name = "plain Celery"

    def __init__(self, folder: Path, servers: EmbeddedServers, tally: Tally) -> None:
        self.servers, self.exits, self._tally = servers, 0, tally
        self._ready = folder / "ready"
        env = {**os.environ, "PLAIN_BROKER": servers.redis_url, "PLAIN_READY": str(self._ready)}
        command = (
            sys.executable,
            "-m",
            "celery",
            "-A",
            "plain_celery",
            "worker",
            "-c",
            str(PROCESSES),
            "-l",
            "ERROR",
        )
        self._worker = ManagedProcess(
            "plain worker",
            (*command, "--without-gossip", "--without-mingle"),
            log=folder / "plain.log",
            env=env,
            cwd=HERE,
        )
        self.start()
        self._client = Celery("plain-client", broker=servers.redis_url)
        self._items = 0

    def submit(self, first: int, count: int) -> None:
        """Submit one message each."""
        for index in range(first, first + count):
            self._client.send_task("plain.timed", (index, SECONDS, str(self._tally.path)), queue=QUEUE)
        self._items += count

    def kill(self) -> None:
        """Kill the worker with its pool."""
        self._worker.kill()

    def start(self) -> None:
        """Until it consumes."""
        if not self._worker.alive:
            self._ready.unlink(missing_ok=True)
            self._worker.start()
            await_ready(self._worker, self._ready.exists, 60)

    def supervise(self) -> None:
        """Supervise the worker."""
        if not self._worker.alive:
            self.exits += 1
            self.start()

    def freeze(self, number: signal.Signals) -> None:
        """Freeze the worker with its pool."""
        signal_family(self._worker.pid, number)

    def settle(self, timeout: float) -> int:
        """Until neither the queue nor the unacknowledged messages hold anything, or the time is up."""
        ends = time.monotonic() + timeout
        with redis.Redis.from_url(self.servers.redis_url) as client:
            while time.monotonic() < ends and (client.llen(QUEUE) or client.hlen("unacked")):
                self.supervise()
                threading.Event().wait(0.2)  # nothing tells when a broker has become empty
        return self._items - len(self._tally.starts())

    def noticed(self, starts: dict[int, list[float]]) -> list[float]:
        """Nobody writes down when Celery sends a task again."""
        del starts
        return []

    def stop(self) -> None:
        """End the worker."""
        self._worker.stop()
        self._client.close()


SUBJECTS: dict[str, type[Ours | Plain]] = {"ours": Ours, "plain": Plain}


@contextmanager
def subject_of(kind: str, folder: Path, tally: Tally) -> Iterator[Ours | Plain]:
    """Provide a subject on servers of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedServers(folder / "servers", s3=kind == "ours") as servers:
        before = dict(os.environ)
        os.environ.update(servers.env())
        subject = SUBJECTS[kind](folder, servers, tally)
        try:
            yield subject
        finally:
            subject.stop()
            os.environ.clear()
            os.environ.update(before)


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all its descendants."""
    program = psutil.Process(pid)
    for process in (program, *program.children(recursive=True)):
        process.send_signal(number)


def until(condition: Callable[[], bool], timeout: float, otherwise: str) -> None:
    """Ask again and again, for so many seconds."""
    ends = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < ends, f"{otherwise} within {timeout:.0f} s"
        pause.wait(0.05)


def lasts(seconds: float) -> None:
    """Let a fault last: its duration is the fault itself, and no wait for something."""
    threading.Event().wait(seconds)


def some(rng: random.Random, count: int) -> int:
    """Choose a number of calls after which something happens: neither the first nor the last ones."""
    return max(1, int(count * rng.uniform(0.2, 0.8)))
