"""The wall clocks of workers are wrong, each in its own way: leases and timers go by the clock of Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import harm_tasks
import pytest
from harm_support import Site, running_site, traces

from reconciler.api.errors import ReconcilerError
from reconciler.api.phase import ActionPhase
from reconciler.client import Run
from reconciler.embedded import valkey
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
ACTIONS = 40
DELAYS = (1.0, 2.0, 4.0)
LATE = 3.0
"""Seconds by which a timer may be late: a countdown held by a wrong clock is made up for by the resync sweep."""
AHEAD = 40.0
"""Seconds before its time at which everything is started again; some of them the start takes."""
SLACK = 3.0
"""What a busy machine may need on top, in seconds."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers whose clocks are right."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture(scope="module")
def site(shim: Path, servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Workers and beat that are five minutes fast, or slow, or right."""
    env = skewed(shim, -300, 0, 300)
    folder = tmp_path_factory.mktemp("skewed")
    with running_site(folder, servers=servers, env=env, attempts=2, steps=2) as made:
        yield made


def test_timers_are_neither_early_nor_late(site: Site, tmp_path: Path) -> None:
    """Back-offs of 1, 2 and 4 s and limits of 2 s pass as on a right clock, and functions run once."""
    tally = tmp_path / "tally"
    run = site.map(range(ACTIONS), 0.1, tally)
    backing = [harm_tasks.fail_soon.delay() for _ in range(4)]
    assert run.result(timeout=60) == list(range(ACTIONS))
    limited = [harm_tasks.doze.delay() for _ in range(2)]
    site.check(run, ACTIONS + 1)
    assert len(set(traces(tally))) == len(traces(tally)), "a launch ran twice"
    late = [wait - wanted for each in backing for wait, wanted in zip(pauses(each), DELAYS, strict=True)]
    late += [lasted(each) - 2.0 for each in limited]
    check_due_index(site.client)
    print(
        f"clocks off by 5 min: {len(late)} timers, earliest {min(late):+.2f} s, latest {max(late):+.2f} s, lost 0"
    )
    assert min(late) > -0.05
    assert max(late) < LATE + SLACK


def test_a_month_passes_and_everything_is_restarted(
    shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call for in 30 days runs then, once: by the clock of Redis, whatever those of the workers say."""
    tally, data, month = tmp_path / "tally", tmp_path / "data", timedelta(days=30)
    kept = {"RECONCILER_EVENTS_RETENTION": "60d"}
    with running_site(data, env=kept) as site:
        run = harm_tasks.work.submit((7, 0.0, str(tally)), eta=datetime.now(UTC) + month)
        assert run.phase is ActionPhase.QUEUED
    left = timedelta(seconds=AHEAD)
    moved = {"LD_PRELOAD": os.fspath(shim), "SKEWS": str(int((month - left).total_seconds()))}
    monkeypatch.setattr(valkey, "preloaded", lambda: moved)
    env = {**kept, **skewed(shim, -300, 0, 300)}
    with running_site(data, env=env, attempts=2, steps=2) as site:
        due = site.client.get(run.action).metadata.not_before
        early = (due - site.client.store.now()) / 1000
        assert 0 < early < AHEAD
        site.stack.kill_workers()
        site.stack.start_workers()
        assert not traces(tally)
        again = site.client.run(run.action)
        assert again.result(timeout=120) == 7
        begun = site.client.events(run.action)[-1].reported_time
        site.check(again, 1)
    print(f"after 30 days, begun {(begun - due) / 1000:+.2f} s from its time, looked at {early:.1f} s before")
    assert traces(tally) == ["7:1"]
    assert 0 <= begun - due < 1000 * (LATE + SLACK)


def test_a_clock_that_s3_refuses_is_told_at_the_start(
    shim: Path, servers: EmbeddedServers, tmp_path: Path
) -> None:
    """A worker whose clock is a day off cannot sign requests to S3: it does not start, and says why."""
    stack = Stack(tmp_path / "data", servers=servers, env=skewed(shim, 86_400), beat=False)
    with pytest.raises(ReconcilerError, match="clock"):
        stack.start()


def skewed(shim: Path, *seconds: int) -> dict[str, str]:
    """Return variables that give each program one of these shifts."""
    return {"LD_PRELOAD": os.fspath(shim), "SKEWS": " ".join(map(str, seconds))}


def pauses(run: Run[Any]) -> list[float]:
    """Return seconds between the end of an attempt and the launch of the next."""
    run.wait(timeout=60)
    events = harm_tasks.env.client.events(run.action)
    assert check_run(harm_tasks.env.client, run.id) == {ActionPhase.FAILED: 1}
    ends = [e.reported_time for e in events if e.phase is ActionPhase.FAILED]
    launched = {e.attempt: e.reported_time for e in events if e.phase is ActionPhase.QUEUED and e.attempt > 1}
    return [(launched[attempt] - ends[attempt - 2]) / 1000 for attempt in sorted(launched)]


def lasted(run: Run[Any]) -> float:
    """Return seconds from the launch of an attempt until its limit ended it."""
    run.wait(timeout=60)
    client = harm_tasks.env.client
    assert check_run(client, run.id) == {ActionPhase.TIMED_OUT: 1}
    events = client.events(run.action)
    launched = max(e.reported_time for e in events if e.phase is ActionPhase.QUEUED)
    return (events[-1].reported_time - launched) / 1000
