"""Redis is killed and started again, again and again, under load (AOF everysec)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from redis_load import RECOVERY, Load, check_all, last, newest_aof, percentiles, pids, resumes, until

from reconciler.client import Client
from reconciler.embedded.stack import Stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
KILLS = 50 if os.environ.get("CHAOS_LONG") else 4


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Left as it was found."""
    return shared_stack


def test_nothing_is_lost_when_redis_is_killed(
    stack: Stack, client: Client, rng: random.Random, tmp_path: Path
) -> None:
    """All that was accepted succeeds, no worker ends, and new calls run within 15 s of each restart."""
    tally = tmp_path / "tally"
    before, servers, resumed = pids(stack), set(), []
    with Load(client, tally) as load:
        for _ in range(KILLS):
            load.more(10)
            last(rng.uniform(0, 0.5))
            servers.add(stack.servers.processes["valkey"].pid)
            stack.servers.kill_redis()
            last(rng.uniform(0.2, 2))
            stack.servers.start_redis()
            resumed.append(resumes(client, tally))
    count = check_all(client, (one.run.id for one in load.accepted))
    executions = len(tally.read_text().split()) - len(resumed)
    print(
        f"Redis killed {KILLS} times: {count} accepted, {count} succeeded, {executions - count} extra executions, "
        f"{len(load.refused)} submissions repeated, work resumed after {percentiles(resumed)}"
    )
    assert len(servers) == KILLS
    assert load.refused, "no submission met the outage: the test proved nothing"
    assert pids(stack) == before, "a worker ended"
    assert max(resumed) < RECOVERY


def test_a_torn_append_only_file_is_mended(
    stack: Stack, client: Client, rng: random.Random, tmp_path: Path
) -> None:
    """A file whose last write was torn is loaded without it, and work goes on."""
    tally = tmp_path / "tally"
    resumes(client, tally)
    stack.servers.kill_redis()
    file = newest_aof(stack)
    os.truncate(file, file.stat().st_size - rng.randint(1, 10))
    stack.servers.start_redis()
    log = stack.servers.processes["valkey"].log
    until(lambda: "Truncating the AOF" in log.read_text(), "a mended file")  # it listens while it loads
    print(f"torn append-only file: work resumed after {resumes(client, tally):.1f} s")
