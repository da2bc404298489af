"""From when on an attempt stands in line, as its events and its page tell: not while it rests or waits for a quota."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import RetryStrategy, TaskEnvironment
from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase
from reconciler.core.times import iso
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.rows import bars

env = TaskEnvironment("lined")
MINUTE = timedelta(minutes=1)
BROKEN = {"now": True}

pytestmark = pytest.mark.rule("R60")


@env.task(retries=RetryStrategy(retries=1, backoff=MINUTE))
def recovers() -> int:
    """Fail while it is broken."""
    if BROKEN["now"]:
        raise ValueError("broken")
    return 1


@env.task(resources="gpu")
def trains() -> int:
    """Hold a unit."""
    return 1


@pytest.fixture
def lab() -> Lab:
    """An installation with one gpu."""
    lab = Lab(quotas=("gpu=1",))
    env.client = lab.client
    return lab


def lined(lab: Lab, action: ActionId) -> str:
    """Tell from when on the last attempt stands in line; its last event says the same."""
    event = [one for one in lab.client.events(action) if str(one.phase) == "queued"][-1]
    assert "waiting for a worker of queue" in event.cluster_events[0].message
    at: str = detail.action_page(lab.client, action, read_only=True)["attempts_told"][-1]["in_line_at"]
    assert at == iso(event.updated_time)
    return at


def test_a_back_off_is_not_spent_in_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt stands in line after its back-off."""
    run = recovers.submit(())
    lab.work(limit=timedelta(seconds=1))
    failed = lab.clock()
    monkeypatch.setitem(BROKEN, "now", False)
    lab.work()
    assert lined(lab, run.action) >= str(iso(failed + 50_000))


def test_a_wait_for_a_quota_is_not_spent_in_line(lab: Lab) -> None:
    """It stands in line once it was granted its units."""
    trains.submit(())
    lab.step()
    second = trains.submit(())
    lab.step()
    lab.clock.advance(MINUTE)
    lab.work()
    assert lined(lab, second.action) == iso(lab.get(second.action).metadata.creation_timestamp + 60_000)


def test_bars_say_why_it_waited_and_how_it_failed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The back-off is a bar of its own, before the wait for a worker; the attempt that failed is told as such."""
    run = recovers.submit(())
    lab.step()
    lab.clock.advance(MINUTE)
    lab.work(limit=timedelta(seconds=1))
    failed, rests = bars(lab.get(run.action))
    assert (failed.kind, failed.why, rests.kind, rests.why) == (
        "failed",
        "broken",
        "waits",
        "restarting task",
    )
    monkeypatch.setitem(BROKEN, "now", False)
    lab.clock.advance(2 * MINUTE)
    lab.reconcile(run.action)
    rests, line = bars(lab.get(run.action), lab.client.events(run.action))[-2:]
    assert (rests.kind, rests.why, rests.end) == ("waits", "restarting task", line.start)
    assert (line.kind, line.end, line.why) == ("waits", 0, 'waiting for a worker of queue "attempts"')


def test_a_bar_says_which_quota_it_waits_for(lab: Lab) -> None:
    """As long as it waits, and after it."""
    trains.submit(())
    lab.step()
    run = trains.submit(())
    lab.step()
    [bar] = bars(lab.get(run.action))
    assert (bar.kind, bar.end) == ("waits", 0)
    assert 'the quota of the resource "gpu" is used up' in bar.why
    lab.clock.advance(MINUTE)
    lab.work()
    assert bars(lab.get(run.action))[0].why == bar.why


def test_a_launch_whose_worker_was_lost_is_told_apart(lab: Lab) -> None:
    """It ran, and ended by no doing of its own."""
    run = trains.submit(())
    lab.step()
    lab.store.start_attempt(run.action, "1", owner="w1", lease=30_000)
    lab.reconcile(run.action)
    lab.clock.advance(MINUTE)
    for _ in range(3):
        lab.reconcile(run.action)
        lab.clock.advance(timedelta(seconds=2))
    record = lab.get(run.action)
    assert (record.status.launches, record.phase) == (1, ActionPhase.QUEUED)
    assert [bar.kind for bar in bars(record)] == ["lost", "waits"]
