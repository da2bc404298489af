"""What the tests that harm messages, workers and clocks share: one stack for several tests, and conditions to wait for."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harm_tasks
import pytest

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.client import Client, Run
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

LONG = bool(os.environ.get("CHAOS_LONG"))
RECOVERY = 15.0
"""Seconds within which work goes on after any fault."""


class Site:
    """A stack and a client of it."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self.stack = stack
        self.client = client
        self.stack_is_limited = False
        """Whether a worker runs where memory is short."""

    def map(self, indices: Sequence[int], seconds: float, tally: Path) -> Run[list[int]]:
        """Start `harm_tasks.work` for each index."""
        return harm_tasks.work.map(indices, seconds=seconds, tally=str(tally), keep_failures=True)

    def check(self, run: Run[Any], succeeded: int) -> None:
        """Check that all invariants hold, and that so many actions of the run have succeeded, the root among them."""
        phases = check_run(self.client, run.id)
        assert phases == {ActionPhase.SUCCEEDED: succeeded}
        check_due_index(self.client)

    def log(self, name: str) -> str:
        """What a process of the stack has written."""
        return self.stack.processes[name].log.read_text(errors="replace")


@contextmanager
def running_site(
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    client_env: Mapping[str, str] | None = None,
    servers: EmbeddedServers | None = None,
    **options: Any,
) -> Iterator[Site]:
    """Provide a stack whose workers know `harm_tasks`; the client finds the keys of its S3 server in the environment.

    Args:
        folder: for its data.
        env: more variables of its processes.
        client_env: more variables of the client.
        servers: as `Stack` takes them.
        options: more arguments of `Stack`.
    """
    here = Path(__file__).parent
    options = {"attempts_concurrency": 2, **options}
    with (
        Stack(folder, imports=["harm_tasks"], cwd=here, env=env, servers=servers, **options) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in stack.servers.env().items():
            patch.setenv(name, value)
        client = Client.from_settings(Settings.from_env({**stack.env(), **(client_env or {})}))
        patch.setattr(harm_tasks.env, "client", client)
        yield Site(stack, client)


def until(condition: Callable[[], object], within: float = 30.0, *, what: str = "it") -> float:
    """Wait until a condition holds; gives the seconds it took, and fails after so many."""
    began = time.monotonic()
    tick = threading.Event()
    while not condition():
        assert time.monotonic() - began < within, f"{what} did not come true within {within:g} s"
        tick.wait(0.02)
    return time.monotonic() - began


def until_reached(
    count: Callable[[], int], enough: int, what: str, state: Callable[[], object], without: float = 60.0
) -> None:
    """Wait until a count has grown to this, however slowly; fails when it has not grown for so many seconds."""
    while (reached := count()) < enough:
        try:
            until(lambda: count() > reached, without)
        except AssertionError:
            raise AssertionError(f"{reached} of {enough} {what} for {without:g} s: {state()}") from None


def ended(client: Client, run: RunId) -> int:
    """Count how many actions of a run have ended."""
    return client.counts(run).ended


def traces(tally: Path) -> list[str]:
    """Return one line per execution, so far."""
    return tally.read_text().split() if tally.exists() else []


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
