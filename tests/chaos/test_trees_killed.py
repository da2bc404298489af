"""Trees of tasks under fire: their worker killed again and again, and thousands of them aborted at once."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import harm_tasks
import msgspec
import pytest
from harm_support import Site, ended, running_site, traces, until, until_reached

from reconciler.api.action import TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.rule("R86"), pytest.mark.rule("R87")]
CHILDREN = 1_000
KILLS = 10
BRANCHES, LEAVES = 70, 70
SLOWEST = 5_000
"""Longest time from an abort to the end of an action below, p99, ms."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with short leases, whose only attempts worker has two slots."""
    env = {"RECONCILER_ATTEMPT_LEASE": "3", "RECONCILER_REQUEUE_DURATION": "1"}
    with running_site(tmp_path_factory.mktemp("trees"), env=env, client_env=env) as running:
        yield running


def test_a_parent_whose_worker_is_killed_counts_each_child_once(
    site: Site, rng: random.Random, tmp_path: Path
) -> None:
    """A thousand children, ten kills with SIGKILL: the result is right, and who ran twice was lost with a worker."""
    tally, passes = tmp_path / "tally", tmp_path / "passes"
    marks = sorted(rng.sample(range(20, CHILDREN - 20), KILLS))
    print(f"kills after so many executions: {marks}")
    run = harm_tasks.count_up.delay(CHILDREN, str(tally), str(passes))
    worker = site.stack.processes["attempts-1"]

    def parent() -> str:
        """Tell how it is, when nothing goes on."""
        record = site.client.get(run.action)
        return f"{record.phase}, {record.status.error_state}, waits: {record.attempt}"

    for mark in marks:
        until_reached(lambda: len(traces(tally)), mark, "executions", parent)
        worker.kill()
        site.stack.start_workers()
    until_reached(lambda: ended(site.client, run.id), CHILDREN + 1, "ends", parent)
    assert run.result() == sum(range(CHILDREN))
    until(lambda: site.client.get(run.action).token == 0, what="the end of all rounds")

    executions = Counter(int(line.partition(":")[0]) for line in traces(tally))
    assert set(executions) == set(range(CHILDREN))
    children = {_index(action): action for action in site.client.actions(run.id) if action.id != run.action}
    assert len(children) == CHILDREN, "one child for each request, however often it was repeated"
    again = {index: count - 1 for index, count in executions.items() if count > 1}
    for index, count in again.items():
        status = children[index].status
        assert status.launches >= count, f"{children[index].id} ran {count + 1} times, {status}"
        assert status.error_state is not None
    assert check_run(site.client, run.id) == {ActionPhase.SUCCEEDED: CHILDREN + 1}
    check_due_index(site.client)
    told = _told_again(passes)
    print(
        f"{KILLS} kills, {CHILDREN} children: {sum(again.values())} executions again, all of children lost with a worker; "
        f"{len(told)} passes, told of {told} ends"
    )
    assert told == sorted(told), "a pass was told of less than one before it"


def test_an_abort_reaches_thousands_over_three_levels(site: Site) -> None:
    """Each has one terminal event; 99 of 100 have ended within 5 s."""
    run = harm_tasks.grow.delay(BRANCHES, LEAVES)
    live = BRANCHES * (LEAVES + 2) + 2
    until(lambda: site.client.counts(run.id).total == live, 240, what=f"{live} live actions")
    began = site.client.store.now()
    clock = time.monotonic()
    site.client.abort(run.action, "enough")
    requested = time.monotonic() - clock
    waited = until(lambda: site.client.counts(run.id).ended == live, 120, what="the end of all")
    took = sorted(_ended_at(site, action) - began for action in site.client.actions(run.id))
    p99 = took[int(len(took) * 0.99)]
    print(
        f"abort of {live} actions over 3 levels: stored in {requested:.2f} s, p99 {p99} ms, last {took[-1]} ms; "
        f"a reader saw the last end after {requested + waited:.1f} s"
    )
    assert check_run(site.client, run.id) == {ActionPhase.ABORTED: live}
    check_due_index(site.client)
    assert p99 <= SLOWEST


def _index(action: TaskAction) -> int:
    return int(msgspec.json.decode(action.spec.inputs or b"{}")["index"])


def _ended_at(site: Site, action: TaskAction) -> int:
    (last,) = [event for event in site.client.events(action.id) if event.final]
    return last.reported_time


def _told_again(passes: Path) -> list[int]:
    """Count how many ends each finished wait of a pass was told of, at the last of them."""
    lines = [line.split(":") for line in traces(passes)]
    return [
        max(int(number) for _, number in group)
        for _, group in itertools.groupby(lines, key=lambda line: line[0])
    ]
