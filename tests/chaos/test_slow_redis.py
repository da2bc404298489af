"""The line to Redis is bad: slow, reset at random, silent for a while, half-open for ever."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis_load import RECOVERY, Load, check_all, last, pids, resumes
from tcp_proxy import TcpProxy

from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
LONG = bool(os.environ.get("CHAOS_LONG"))
CALLS = 60 if LONG else 4
SILENCES = 10 if LONG else 1
BREAKS = 10 if LONG else 1


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Servers without workers."""
    with EmbeddedServers(tmp_path / "servers") as running:
        yield running


@pytest.fixture
def line(servers: EmbeddedServers, rng: random.Random) -> Iterator[TcpProxy]:
    """The only way to Redis, for workers and clients, for records and messages."""
    with TcpProxy(urlsplit(servers.redis_url).port or 0, rng) as proxy:
        yield proxy


@pytest.fixture
def stack(servers: EmbeddedServers, line: TcpProxy, tmp_path: Path) -> Iterator[Stack]:
    """Workers at the end of that line."""
    env = {"RECONCILER_REDIS_URL": f"redis://127.0.0.1:{line.port}/0"}
    here = Path(__file__).parent
    with Stack(tmp_path / "data", imports=["chaos_tasks"], cwd=here, env=env, servers=servers) as running:
        yield running


def test_work_goes_on_over_a_bad_line(
    stack: Stack, client: Client, line: TcpProxy, rng: random.Random, tmp_path: Path
) -> None:
    """Whatever the line does, all that was accepted succeeds with one terminal event, and no worker ends."""
    before = pids(stack)
    slow_and_reset(client, line, tmp_path / "slow")
    silent(client, line, rng, tmp_path / "silent")
    half_open(client, line, tmp_path / "half-open")
    assert pids(stack) == before, "a worker ended"


def slow_and_reset(client: Client, line: TcpProxy, tally: Path) -> None:
    """Delay each chunk by 5-500 ms, and reset the connection of 1 %."""
    broken = line.broken
    line.slow(0.005, 0.5)
    line.reset(0.01)
    with Load(client, tally) as load:
        load.more(CALLS)
        line.slow(0, 0)
        line.reset(0)
    report("slow with resets", client, load, tally, line.broken - broken, resumes(client, tally))


def silent(client: Client, line: TcpProxy, rng: random.Random, tally: Path) -> None:
    """Let nothing through for longer than every time limit and lease, and then all of it at once."""
    took = 0.0
    with Load(client, tally) as load:
        for _ in range(SILENCES):
            load.more(5)
            line.silence()
            last(rng.uniform(6, 9))
            line.speak()
            took = max(took, resumes(client, tally))
    report("silent", client, load, tally, SILENCES, took)
    assert took < RECOVERY


def half_open(client: Client, line: TcpProxy, tally: Path) -> None:
    """Let the existing connections never carry anything again, as after a fail-over of a firewall; new ones work."""
    broken, took = line.broken, 0.0
    with Load(client, tally) as load:
        for _ in range(BREAKS):
            load.more(5)
            line.abandon()
            took = max(took, resumes(client, tally))
    report("half-open", client, load, tally, line.broken - broken, took)
    assert took < RECOVERY


def report(fault: str, client: Client, load: Load, tally: Path, broken: int, took: float) -> None:
    """Check that all succeeded, and print the figures."""
    count = check_all(client, (one.run.id for one in load.accepted))
    executions = len({*tally.read_text().split()})
    print(
        f"{fault}: {count} accepted and succeeded, {len(tally.read_text().split()) - executions} extra executions, "
        f"{len(load.refused)} submissions repeated, {broken} faults, work resumed after {took:.1f} s"
    )
    assert broken, "the line was good: the test proved nothing"
