"""The same faults for celery-reconciler and for plain Celery; prints one row each for docs/guarantees.md."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from subjects import Ours, Plain, Row, Tally, lasts, some, subject_of, until

LONG = bool(os.environ.get("CHAOS_LONG"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(5400 if LONG else 400)]
KILLS, KILLED = (60, 500) if LONG else (4, 100)
"""How often all workers are killed, and calls submitted before each; beside them as many actions that only steps see."""
RESTARTS, RESTARTED = (20, 300) if LONG else (2, 100)
FREEZES, FROZEN = (10, 100) if LONG else (1, 60)
SETTLE = 2400 if LONG else 120
"""Seconds: the long round leaves 25,000 calls in line."""

both = pytest.mark.parametrize("kind", ["ours", "plain"])
once = pytest.mark.parametrize("kind", ["ours", "plain"] if LONG else ["ours"])
"""What Celery needs 100 s for to restore; of the short round one such wait is enough."""


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    """Which calls were begun, and when."""
    return Tally(tmp_path / "tally")


def judge(row: Row) -> None:
    """Check that ours loses nothing and needs nobody; of plain Celery only that it worked: the row is the result."""
    print(row)
    if row.subject == Ours.name:
        assert row.lost == 0
        assert row.exits == 0
        assert not row.noticed or row.noticed[int(len(row.noticed) * 0.99)] <= 15, (
            "a loss was noticed too late"
        )
    else:
        assert row.lost < row.items / 2, "plain Celery did not work at all: the comparison says nothing"


@both
def test_all_workers_killed(kind: str, tmp_path: Path, tally: Tally, rng: random.Random) -> None:
    """SIGKILL for every worker in the middle of each wave of calls, and a start at once."""
    with subject_of(kind, tmp_path / kind, tally) as subject:
        for wave in range(KILLS):
            subject.submit(wave * KILLED, KILLED)
            tally.until(len(tally.starts()) + some(rng, KILLED // 2), 120)
            subject.kill()
            subject.start()
        judge(tally.row(subject, KILLS * KILLED, subject.settle(SETTLE)))


@once
def test_redis_killed(kind: str, tmp_path: Path, tally: Tally, rng: random.Random) -> None:
    """SIGKILL for Redis in the middle of each wave of calls, and a start a second later; workers stay as they are."""
    with subject_of(kind, tmp_path / kind, tally) as subject:
        for wave in range(RESTARTS):
            subject.submit(wave * RESTARTED, RESTARTED)
            tally.until(len(tally.starts()) + some(rng, RESTARTED // 2), 120)
            subject.servers.kill_redis()
            subject.servers.start_redis()
            begun = len(tally.starts())
            until(lambda: _goes_on(subject, tally, begun), 120, "no call was begun after the restart")  # noqa: B023  # used at once
        judge(tally.row(subject, RESTARTS * RESTARTED, subject.settle(SETTLE)))


def _goes_on(subject: Ours | Plain, tally: Tally, begun: int) -> bool:
    subject.supervise()
    return len(tally.starts()) > begun


@both
def test_a_frozen_worker_comes_back(kind: str, tmp_path: Path, tally: Tally, rng: random.Random) -> None:
    """What runs user code is stopped for 9 s, longer than both leases, and goes on as if nothing had happened."""
    with subject_of(kind, tmp_path / kind, tally) as subject:
        for wave in range(FREEZES):
            subject.submit(wave * FROZEN, FROZEN)
            tally.until(len(tally.starts()) + some(rng, FROZEN // 2), 120)
            subject.freeze(signal.SIGSTOP)
            lasts(9)
            subject.freeze(signal.SIGCONT)
        judge(tally.row(subject, FREEZES * FROZEN, subject.settle(SETTLE)))
