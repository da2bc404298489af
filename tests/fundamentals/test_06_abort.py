"""Abort: a stored request that reaches every descendant, and ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import AttemptOutcome
from reconciler.api.errors import ActionAborted, ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import AbortOutcome, Finished
from reconciler.testing import Lab

env = TaskEnvironment("manual6")
ran: list[int] = []


@env.task()
def resize(n: int) -> int:
    """Note that it ran."""
    ran.append(n)
    return n


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    ran.clear()


def test_what_was_aborted_never_runs(lab: Lab) -> None:
    """An abort before a worker took the call up: it ends aborted, with the reason, and the function was not called."""
    run = resize.delay(1)
    assert run.abort("wrong bucket") is AbortOutcome.REQUESTED
    lab.work()
    assert (run.phase, ran) == (ActionPhase.ABORTED, [])
    with pytest.raises(ActionAborted, match="wrong bucket"):
        run.result()


def test_reason_and_actor_are_in_the_history(lab: Lab) -> None:
    """The last event says who asked for it."""
    run = resize.delay(1)
    lab.client.abort(run.action, "wrong bucket", actor="ada")
    lab.settle()
    last = run.events()[-1]
    assert (last.phase, last.final, last.actor) == (ActionPhase.ABORTED, True, "ada")


def test_an_abort_reaches_all_descendants(lab: Lab) -> None:
    """Aborting a run ends every action of it."""
    run = resize.map(range(5))
    lab.step()
    run.abort("enough")
    lab.settle(timedelta(minutes=1))
    assert run.counts.phases == {ActionPhase.ABORTED: 6}
    assert ran == []


def test_waiting_ends_when_nothing_runs_any_more(lab: Lab) -> None:
    """A group that was aborted is waited for until its members have stopped, though its own end is written before."""
    run = resize.map(range(3))
    lab.step()
    member = run.id.action("m1")
    lab.store.start_attempt(member, "1", owner="busy", lease=60_000)
    run.abort("enough")
    for _ in range(3):
        lab.step()
    assert run.phase is ActionPhase.ABORTED
    with pytest.raises(
        ResultTimeout, match="is aborted, and after 0 s 1 of its 3 children are still being stopped"
    ):
        run.wait(timeout=0)
    stopped = AttemptOutcome(ended="stopped", code="Stopped", message="enough")
    shard = lab.store.shard_of(member.run_id)
    assert lab.store.finish_attempts(shard, "busy", [Finished(member, "1", stopped)]) == (True,)
    lab.settle(timedelta(minutes=1))
    assert run.wait(timeout=0).phase is ActionPhase.ABORTED
    assert run.counts.phases == {ActionPhase.ABORTED: 4}


def test_an_end_is_never_overwritten(lab: Lab) -> None:
    """Aborting what has succeeded changes nothing."""
    run = resize.delay(1)
    lab.work()
    assert run.abort() is AbortOutcome.ENDED
    lab.work()
    assert run.phase is ActionPhase.SUCCEEDED
