"""The host of Redis loses its power: the last moments of its file are gone, while S3 and workers have moved on."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
import redis
from redis_load import RECOVERY, Load, check_all, index_of, newest_aof, percentiles, pids, resumes, until

from reconciler.api.errors import ActionNotFound
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
LOSSES = 20 if os.environ.get("CHAOS_LONG") else 3
WINDOW = 2
"""Seconds of writes that everysec may lose."""


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Left as it was found."""
    return shared_stack


def test_what_went_ahead_of_the_record_does_no_harm(
    stack: Stack, client: Client, rng: random.Random, tmp_path: Path
) -> None:
    """Only what was accepted in the window may be gone; sent again under its key it succeeds, and so does all the rest."""
    tally, before = tmp_path / "tally", pids(stack)
    lost, cut, resumed = [], 0, []
    note_times(stack)
    with Load(client, tally, seconds=0.1) as load:
        for _ in range(LOSSES):
            load.more(15)
            stack.servers.kill_redis()
            safe_until, gone = cut_back(stack, rng)
            cut += gone
            sent = len(load.accepted)
            stack.servers.start_redis()
            note_times(stack)
            resumed.append(resumes(client, tally))
            missing = [one for one in load.accepted[:sent] if not known(client, one.run)]
            too_old = [one for one in missing if one.at < safe_until and one not in lost]
            assert not too_old, f"{len(too_old)} lost that were accepted before the window"
            lost += [one for one in missing if one not in lost]
    for one in lost:
        load.submit(one.key)
    count = check_all(client, {one.run.id for one in load.accepted})
    latest = {one.key: one.run for one in load.accepted}  # what was sent again is another incarnation
    assert all(run.result(timeout=5) == index_of(key) for key, run in latest.items())
    executions = len(tally.read_text().split()) - LOSSES
    print(
        f"power lost {LOSSES} times, {cut} bytes cut: {count} accepted, {len(lost)} forgotten within {WINDOW} s and sent "
        f"again, all succeeded, {executions - count} extra executions, work resumed after {percentiles(resumed)}"
    )
    assert cut, "nothing was cut: the test proved nothing"
    assert pids(stack) == before, "a worker ended"
    assert max(resumed) < 2 * RECOVERY


def known(client: Client, run: Run[object]) -> bool:
    """Whether its record is there."""
    try:
        client.get(run.action)
    except ActionNotFound:
        return False
    return True


def note_times(stack: Stack) -> None:
    """Let the append-only file tell when its lines were written."""
    with redis.Redis.from_url(stack.servers.redis_url) as server:
        until(lambda: server.config_set("aof-timestamp-enabled", "yes"), "the server answers")


def cut_back(stack: Stack, rng: random.Random) -> tuple[int, int]:
    """Cut the file at any byte of the last moments; returns the second before which all is kept, and how many bytes."""
    file = newest_aof(stack)
    data = file.read_bytes()
    seconds = {int(match[1]): match.start() for match in re.finditer(rb"#TS:(\d+)\r\n", data)}
    newest = max(seconds)
    first = min(second for second in seconds if second > newest - WINDOW)
    end = rng.randint(seconds[first], len(data))
    os.truncate(file, end)
    return first, len(data) - end
