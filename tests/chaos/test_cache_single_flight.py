"""A thousand equal calls at once: one runs, all others get its result, whoever dies meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import chaos_tasks
import msgspec
import pytest

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.stores.blobs import get_many
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
ACTIONS = 1000
PATIENCE = 60.0
RESERVATION_LEASE = (
    Settings().cache_heartbeat_grace
    * max(Settings().cache_max_heartbeat, Settings().requeue_duration).total_seconds()
)
"""After so many seconds at the latest the reservation of a dead owner is free."""


def test_of_1000_equal_calls_one_runs(client: Client, tmp_path: Path) -> None:
    """The function is called once, 999 actions are hits, and all outputs are the same bytes in the record and in S3."""
    tally = tmp_path / "tally"
    began = time.monotonic()
    run = submit(client, tally, ACTIONS, seconds=2)
    run.wait(timeout=120)
    took = time.monotonic() - began
    executions, statuses = check(client, run, tally, ACTIONS)
    print(
        f"{ACTIONS} equal calls: {len(executions)} execution, {statuses[CacheStatus.HIT]} hits, {took:.1f} s"
    )
    assert len(executions) == 1
    assert statuses == {CacheStatus.POPULATED: 1, CacheStatus.HIT: ACTIONS - 1}


def test_a_killed_owner_is_replaced_within_one_lease(stack: Stack, client: Client, tmp_path: Path) -> None:
    """All workers are killed while the owner runs: the function starts again within one lease, and one result counts."""
    tally = tmp_path / "tally"
    run = submit(client, tally, ACTIONS, seconds=5)
    until(client, run.id, lambda: bool(traces(tally)))
    killed_at = time.time()
    stack.kill_workers()
    stack.start_workers()
    run.wait(timeout=120)
    executions, statuses = check(client, run, tally, ACTIONS)
    taken_over = executions[1][0] - killed_at
    print(
        f"owner killed: {len(executions)} executions, taken over after {taken_over:.1f} s of at most "
        f"{RESERVATION_LEASE:g} s, {statuses[CacheStatus.HIT]} hits"
    )
    assert len(executions) == 2
    assert taken_over < RESERVATION_LEASE
    assert statuses == {CacheStatus.POPULATED: 1, CacheStatus.HIT: ACTIONS - 1}


def test_an_aborted_owner_hands_over_at_once(client: Client, tmp_path: Path) -> None:
    """The owner is aborted while it runs: one of those who wait runs instead, long before the lease ends."""
    tally = tmp_path / "tally"
    run = submit(client, tally, 100, seconds=5)
    until(client, run.id, lambda: bool(traces(tally)) and len(owners(client, run)) == 1)
    aborted_at = time.time()
    client.abort(owners(client, run)[0])
    run.wait(timeout=120)
    executions, statuses = check(client, run, tally, 99)
    taken_over = executions[1][0] - aborted_at
    print(f"owner aborted: {len(executions)} executions, taken over after {taken_over:.1f} s")
    assert len(executions) == 2
    assert taken_over < RESERVATION_LEASE / 2
    assert statuses[CacheStatus.POPULATED] == 1
    assert statuses[CacheStatus.HIT] == 98


def submit(client: Client, tally: Path, count: int, *, seconds: float) -> Run[list[str]]:
    """So many equal calls, stored at once."""
    chaos_tasks.env.client = client
    return chaos_tasks.once.map(["why?"] * count, seconds=seconds, tally=str(tally), keep_failures=True)


def owners(client: Client, run: Run[list[str]]) -> list[ActionId]:
    """Return members whose function runs."""
    members = client.actions(run.id, parent=run.action.action)
    return [member.id for member in members if member.phase is ActionPhase.RUNNING]


def traces(tally: Path) -> list[tuple[float, str]]:
    """When each execution began, and its answer, the first first."""
    lines = tally.read_text().splitlines() if tally.exists() else []
    return sorted((float(at), answer) for at, answer in map(str.split, lines))


def check(
    client: Client, run: Run[list[str]], tally: Path, succeeded: int
) -> tuple[list[tuple[float, str]], Counter[CacheStatus]]:
    """So many succeeded with the answer of the last execution; gives the executions and what the cache did."""
    phases = check_run(client, run.id)
    assert phases[ActionPhase.SUCCEEDED] == succeeded + 1
    check_due_index(client)
    executions = traces(tally)
    members = list(client.actions(run.id, parent=run.action.action))
    found = contents(client, [m for m in members if m.phase is ActionPhase.SUCCEEDED])
    assert found == {f'{{"o0":"why? {executions[-1][1]}"}}'.encode(): succeeded}
    return executions, Counter(member.status.cache_status for member in members)


def contents(client: Client, actions: list[TaskAction]) -> Counter[bytes]:
    """Return the outputs as they lie in S3, each of which is what the record says, and how many have them."""
    refs = [action.status.outputs for action in actions if action.status.outputs]
    stored = [msgspec.structs.replace(ref, inline=None) for ref in refs]
    found = Counter(get_many(client.blobs, stored))
    assert {ref.inline for ref in refs} == set(found)
    assert len({ref.uri for ref in refs}) == len(actions), "two actions share an object"
    return found


def until(client: Client, run: RunId, condition: Callable[[], bool]) -> None:
    """Wait for a condition that comes true about when something of the run is committed."""
    woken = threading.Event()
    deadline = time.monotonic() + PATIENCE
    with client.store.subscribe(run, woken.set):
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen within {PATIENCE:g} s"
            woken.wait(0.1)
            woken.clear()
