"""A worker's network is cut, for longer than its leases and again and again; it comes back and is not believed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from cut_off import CutOff
from redis_load import RECOVERY, Load, check_all, last, pids, resumes, until
from tcp_proxy import TcpProxy

from reconciler.client import Client
from reconciler.embedded import commands
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.stack import Stack

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CutOff.possible(), reason="needs root and network namespaces"),
]
FLAPS = 20 if os.environ.get("CHAOS_LONG") else 3
LEASE = 6
NODE = "attempts-far@cut-off"


@pytest.fixture
def network() -> Iterator[CutOff]:
    """A network whose cable can be pulled."""
    with CutOff() as one:
        yield one


@pytest.fixture
def far(stack: Stack, network: CutOff, tmp_path: Path) -> Iterator[ManagedProcess]:
    """An attempts worker inside it, beside the ones of the stack."""
    s3 = urlsplit(stack.servers.s3_endpoint).port or 0
    valkey = urlsplit(stack.servers.redis_url).port or 0
    with TcpProxy(s3, host=network.host) as to_s3, TcpProxy(valkey, host=network.host) as to_redis:
        env = {
            **stack.env(),
            "RECONCILER_REDIS_URL": f"redis://{network.host}:{to_redis.port}/0",
            "RECONCILER_S3_ENDPOINT": f"http://{network.host}:{to_s3.port}",
        }
        line = (*network.command, *commands.worker("attempts", "prefork", 2, NODE), "-l", "INFO")
        worker = ManagedProcess("far", line, log=tmp_path / "far.log", env=env, cwd=Path(__file__).parent)
        worker.start()
        try:
            with redis.Redis.from_url(stack.servers.redis_url) as server:
                until(lambda: server.exists(f"cr:worker:{NODE}"), "the far worker works")
            yield worker
        finally:
            network.plug()
            worker.kill()


def test_a_worker_that_was_cut_off_is_not_believed(
    stack: Stack, client: Client, network: CutOff, far: ManagedProcess, rng: random.Random, tmp_path: Path
) -> None:
    """What it ran is run by others, it is told so when it beats or reports, all succeeds, and afterwards it works again."""
    before, pid = pids(stack), far.pid
    tally = tmp_path / "tally"
    with Load(client, tally, seconds=4, open_calls=4) as load:
        until(lambda: len(executions(tally)) >= 4, "all four processes run a call")
        network.pull()
        last(LEASE + rng.uniform(4, 8))
        network.plug()
    count = check_all(client, (one.run.id for one in load.accepted))
    superseded = far.log.read_text().count("attempt.superseded")
    extra = len(executions(tally)) - count
    print(
        f"cut off beyond its lease: {count} accepted and succeeded, {extra} extra executions, {superseded} launches refused"
    )
    assert superseded, "no launch came back late: the test proved nothing"
    assert extra, "no call ran on both sides: the test proved nothing"
    flapped = tmp_path / "flapped"
    with Load(client, flapped, seconds=0.2) as load:
        for _ in range(FLAPS):
            network.pull()
            last(rng.uniform(1, 4 if FLAPS < 20 else 10))
            network.plug()
            last(rng.uniform(0.5, 2))
    count = check_all(client, (one.run.id for one in load.accepted))
    stack.processes["attempts-1"].kill()
    took = resumes(client, flapped)
    extra = len(executions(flapped)) - 1 - count
    print(
        f"flapped {FLAPS} times: {count} accepted and succeeded, {extra} extra executions, it works after {took:.1f} s"
    )
    assert (far.alive, far.pid) == (True, pid), "the worker that was cut off ended"
    assert pids(stack).items() < before.items(), "another worker ended"
    assert took < 2 * RECOVERY


def executions(tally: Path) -> list[str]:
    """Begun so far."""
    return tally.read_text().split() if tally.exists() else []
