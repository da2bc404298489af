"""Every worker is stopped as an operator stops it (SIGTERM) and started again, one after the other, while actions run."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harm_support import LONG, RECOVERY, Site, running_site, traces

from reconciler.api.action import RunId

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
ROUNDS = 20 if LONG else 3
FLEET = ("attempts-1", "steps-1", "attempts-2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with two attempts workers."""
    with running_site(tmp_path_factory.mktemp("fleet"), attempts=2) as made:
        yield made


def test_rolling_restarts_lose_and_repeat_nothing(site: Site, tmp_path: Path) -> None:
    """All actions succeed, no function is begun twice, and work never stands still for long."""
    tally, ends = tmp_path / "tally", threading.Event()
    count = 0
    runs = []
    restarting = threading.Thread(target=restart_all, args=[site, ends])
    began = time.time()
    restarting.start()
    while not ends.is_set():
        runs.append(site.map(range(count, count + 20), 0.2, tally))
        count += 20
        runs[-1].wait(timeout=120)
    restarting.join()
    for number, run in enumerate(runs):
        assert run.result(timeout=60) == list(range(20 * number, 20 * number + 20))
        site.check(run, 21)
    again = len(traces(tally)) - count
    stall = longest_stall(site, [run.id for run in runs], int(began * 1000))
    print(
        f"{ROUNDS} rolling restarts of {len(FLEET)} workers, {count} actions: lost 0, "
        f"run again {again}, longest stall {stall:.1f} s"
    )
    assert again == 0
    assert stall < RECOVERY


def restart_all(site: Site, ends: threading.Event) -> None:
    """Restart one worker after the other, round after round."""
    try:
        for _ in range(ROUNDS):
            for name in FLEET:
                site.stack.restart(name)
    finally:
        ends.set()


def longest_stall(site: Site, runs: list[RunId], began: int) -> float:
    """Return the longest time in seconds between the ends of two successive actions."""
    ends = [began]
    for run in runs:
        ends += [site.client.events(action.id)[-1].reported_time for action in site.client.actions(run)]
    ends.sort()
    return max(later - earlier for earlier, later in itertools.pairwise(ends)) / 1000
