"""A load for the tests that break Redis: a client that never gives up, and what became of all it was promised."""

from __future__ import annotations

import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import chaos_tasks
import msgspec

from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack
from reconciler.testing.invariants import check_due_index, check_run

PATIENCE = 60.0
"""Seconds after which something that should happen counts as never happening."""
RECOVERY = 15.0
"""Seconds in which work must go on after a fault."""


class Accepted(msgspec.Struct, frozen=True):
    """A submission that was answered.

    Attributes:
        run: what came back.
        key: its idempotency key.
        asked: when it was first sent, seconds since the epoch.
        at: when it was answered.
    """

    run: Run[Any]
    key: str
    asked: float
    at: float


class Load(threading.Thread):
    """Context manager: submits calls of `chaos_tasks.work`, each under a key of its own, again until it is accepted.

    Some are always open, and no more than that: what is measured is the fault, not the length of a queue.
    """

    def __init__(self, client: Client, tally: Path, *, seconds: float = 0.05, open_calls: int = 6) -> None:
        super().__init__(name="load", daemon=True)
        chaos_tasks.env.client = client
        self._name = secrets.token_hex(6)
        self._tally = str(tally)
        self._seconds = seconds
        self._open_calls = open_calls
        self._stops = threading.Event()
        self._open: list[Run[Any]] = []
        self.accepted: list[Accepted] = []
        self.refused: list[StoreUnavailable] = []

    def run(self) -> None:
        """Until `stop`; what was asked by then is answered first."""
        while not self._stops.wait(0.02):
            try:
                self._open = [run for run in self._open if not run.phase.is_terminal()]
            except (StoreUnavailable, ActionNotFound):
                self._open.clear()  # clients do not stop to submit because of an outage, or what others deleted
            if len(self._open) < self._open_calls:
                self._open.append(self.submit(f"{self._name}-{len(self.accepted)}"))

    def submit(self, key: str) -> Run[Any]:
        """Submit under one key until it is accepted."""
        asked = time.time()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                spec = chaos_tasks.work.spec((index_of(key), self._seconds, self._tally), {})
                run = chaos_tasks.env.client.submit(spec, idempotency_key=key)
            except StoreUnavailable as error:
                self.refused.append(error)
                self._stops.wait(0.05)
            else:
                self.accepted.append(Accepted(run, key, asked, time.time()))
                return run
        raise AssertionError(f"refused for {PATIENCE:g} s: {self.refused[-1]}")

    def more(self, count: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self.accepted) + count
        until(lambda: len(self.accepted) >= wanted, "the load goes on")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self.join(PATIENCE)


def index_of(key: str) -> int:
    """Argument and result of the call with this key: the same key always means the same call."""
    return zlib.crc32(key.encode())


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Wait for something, and past any outage of Redis; returns how many seconds it took."""
    began, pause = time.monotonic(), threading.Event()
    while True:
        try:
            if condition():
                return time.monotonic() - began
        except StoreUnavailable:
            pass
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        pause.wait(0.05)


def last(seconds: float) -> None:
    """Let a fault last so long."""
    threading.Event().wait(seconds)


def resumes(client: Client, tally: Path) -> float:
    """Measure the seconds until a new call has run to its end."""
    began = time.monotonic()
    load = Load(client, tally, seconds=0)
    run = load.submit(f"probe-{time.time_ns()}")
    until(
        lambda: run.phase.is_terminal(),  # noqa: PLW0108  # each look is a new one
        "a new call ends",
    )
    return time.monotonic() - began


def check_all(client: Client, runs: Iterable[RunId]) -> int:
    """Check that all runs succeeded and all invariants hold; return how many runs there are."""
    count = 0
    for run in runs:
        until(lambda run=run: client.counts(run).ended == client.counts(run).total, f"{run} ends")  # type: ignore[misc]  # mypy cannot infer it
        phases = check_run(client, run)
        assert set(phases) == {ActionPhase.SUCCEEDED}, f"{run}: {phases}"
        count += 1
    check_due_index(client)
    return count


def pids(stack: Stack) -> dict[str, int]:
    """Return the worker processes that live."""
    return {name: process.pid for name, process in stack.processes.items() if process.alive}


def percentiles(seconds: Iterable[float]) -> str:
    """p50, p99 and the largest, as the figures of the documents are written."""
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)]
    return f"p50 {at[0]:.1f} s, p99 {at[1]:.1f} s, max {ordered[-1]:.1f} s"


def newest_aof(stack: Stack) -> Path:
    """Return the part of Redis's append-only file that is written to."""
    folder = stack.servers.processes["valkey"].log.parents[1]
    return max(folder.rglob("appendonly.aof.*.incr.aof"), key=lambda file: file.stat().st_mtime)
