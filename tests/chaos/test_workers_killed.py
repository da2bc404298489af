"""Every worker process is killed, again and again, while actions run."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import chaos_tasks
import pytest

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
ACTIONS = 200
KILLS = 5
RECOVERY = 15.0


def test_200_actions_survive_five_kills_of_every_worker(
    stack: Stack, client: Client, rng: random.Random, tmp_path: Path
) -> None:
    """All succeed, each with exactly one terminal event, and work goes on within 15 s of each restart."""
    chaos_tasks.env.client = client
    tally = tmp_path / "tally"
    run = chaos_tasks.work.map(range(ACTIONS), seconds=0.3, tally=str(tally), keep_failures=True)
    resumed, kills = [], []
    for kill in range(1, KILLS + 1):
        _until_ended(client, run.id, kill * ACTIONS // (KILLS + 2), rng)
        stack.kill_workers()
        kills.append(client.store.now())
        at_kill = client.counts(run.id).ended
        stack.start_workers()
        began = time.monotonic()
        _until_ended(client, run.id, at_kill + 1, rng)
        resumed.append(time.monotonic() - began)
    assert run.result(timeout=180) == list(range(ACTIONS))
    phases = check_run(client, run.id)
    assert phases == {ActionPhase.SUCCEEDED: ACTIONS + 1}
    check_due_index(client)
    executions = len(tally.read_text().split())
    relaunched = relaunch_times(client, run.id, kills)
    print(
        f"kills {KILLS}, executions {executions} of {ACTIONS}, resumed after {[round(s, 1) for s in resumed]} s, "
    )
    print(f"lost attempts relaunched after {[round(s, 1) for s in relaunched]} s")
    assert executions >= ACTIONS
    assert max(resumed) < RECOVERY, f"work stood still for {max(resumed):.1f} s after a restart"
    assert relaunched, "no kill hit a running attempt: the test proved nothing"
    assert max(relaunched) < RECOVERY, f"a lost attempt was noticed only after {max(relaunched):.1f} s"


def relaunch_times(client: Client, run: RunId, kills: list[int]) -> list[float]:
    """Seconds from the kill to the relaunch of each attempt that was lost to it."""
    found = []
    for action in client.actions(run):
        if action.status.total_system_failures:
            launches = [e.reported_time for e in client.events(action.id) if e.phase is ActionPhase.QUEUED][
                2:
            ]
            found += [min(at - kill for kill in kills if kill <= at) / 1000 for at in launches]
    return sorted(found)


def _until_ended(client: Client, run: RunId, wanted: int, rng: random.Random) -> None:
    """Wait until so many actions have ended, and a random moment more."""
    woken = threading.Event()
    with client.store.subscribe(run, woken.set):
        deadline = time.monotonic() + 60
        while client.counts(run).ended < wanted:
            assert time.monotonic() < deadline, f"fewer than {wanted} actions ended within 60 s"
            woken.wait(0.2 + rng.random() / 10)
            woken.clear()
