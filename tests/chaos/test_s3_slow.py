"""Outputs crawl to S3 for longer than leases last: the attempt stays alive, an abort does not wait for the line."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_tasks
from s3_stack import Spoilt, spoilt_stack

from reconciler.api.phase import ActionPhase
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
LEASE = 2.0
GRACE = 2.0
SIZE = 400_000
PATIENCE = 90.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    """Short leases, and a server that may take its time for an answer."""
    with spoilt_stack(
        tmp_path_factory.mktemp("s3") / "data",
        SOCKET_TIMEOUT="60s",
        ATTEMPT_LEASE=f"{LEASE}s",
        ABORT_GRACE=f"{GRACE}s",
    ) as running:
        yield running


@pytest.fixture
def spoilt(parts: Spoilt) -> Iterator[Spoilt]:
    """The stack, with a line on which `SIZE` bytes need some 8 s: about 50 KB/s."""
    parts.proxy.block, parts.proxy.pause = 4096, 0.08
    yield parts
    parts.proxy.pause = 0.0


def uploading(spoilt: Spoilt, before: int) -> None:
    """Wait until outputs are on their way."""
    until(lambda: spoilt.proxy.begun > before)


def test_heartbeats_go_on_during_an_upload(spoilt: Spoilt, tmp_path: Path) -> None:
    """An upload that takes several leases is no death: one execution, no relaunch, the right outputs."""
    tally = tmp_path / "tally"
    began = time.monotonic()
    run = s3_tasks.produce.delay(SIZE, tally=str(tally))
    assert run.result(PATIENCE) == "x" * SIZE
    took = time.monotonic() - began
    record = spoilt.client.get(run.action)
    print(
        f"upload of {took:.1f} s under a lease of {LEASE:g} s: {record.status.total_system_failures} relaunches"
    )
    assert took > 2 * LEASE, "the line was not slow: the test proved nothing"
    assert record.status.total_system_failures == 0
    assert len(tally.read_text().splitlines()) == 1
    check_run(spoilt.client, run.id)


def test_an_abort_does_not_wait_for_the_line(spoilt: Spoilt, tmp_path: Path) -> None:
    """An action aborted while its outputs crawl ends within heartbeat and grace, not when they have arrived."""
    before = spoilt.proxy.begun
    run = s3_tasks.produce.delay(4 * SIZE, tally=str(tmp_path / "tally"))
    uploading(spoilt, before)
    began = time.monotonic()
    run.abort("no longer wanted")
    record = run.wait(PATIENCE)
    took = time.monotonic() - began
    print(f"aborted in the middle of an upload of 32 s: ended after {took:.1f} s")
    assert record.phase is ActionPhase.ABORTED
    assert took < LEASE + GRACE + 5
    check_run(spoilt.client, run.id)
    check_due_index(spoilt.client)


def test_a_lease_lost_during_an_upload(spoilt: Spoilt, tmp_path: Path) -> None:
    """A supervisor frozen while it uploads is replaced; thawed, it is told so, and only its successor's outputs count."""
    tally = tmp_path / "tally"
    before = spoilt.proxy.begun
    run = s3_tasks.produce.delay(SIZE, tally=str(tally))
    uploading(spoilt, before)
    frozen = spoilt.client.get(run.action).attempt
    pid = int(frozen.owner.removeprefix(f"{socket.gethostname()}-").partition("-")[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: spoilt.client.get(run.action).attempt.owner not in {"", frozen.owner})
        successor = spoilt.client.get(run.action).attempt.launch
    finally:
        os.kill(pid, signal.SIGCONT)
    assert run.result(PATIENCE) == "x" * SIZE
    record = spoilt.client.get(run.action)
    assert record.status.outputs is not None
    assert record.status.total_system_failures == 1
    assert successor != frozen.launch
    assert record.status.outputs.uri.endswith(f"/{successor}/outputs.pb")
    executions = len(tally.read_text().splitlines())
    print(f"lease lost during an upload: {executions} executions, the outputs of launch {successor} count")
    assert executions == 2
    check_run(spoilt.client, run.id)


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline, tick = time.monotonic() + 60, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 60 s"
        tick.wait(0.05)
