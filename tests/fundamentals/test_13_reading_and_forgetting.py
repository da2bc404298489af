"""Looking at what runs and what ran, and how long it is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import ActionNotFound, ResultTimeout
from reconciler.api.phase import ActionPhase
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

env = TaskEnvironment("manual13")


@env.task()
def thumbnail(key: str) -> str:
    """Tell where a picture lies."""
    return f"thumbs/{key}"


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client


def test_runs_are_listed_newest_first(lab: Lab) -> None:
    """Each with how many of its actions are in which phase."""
    first = thumbnail.delay("cats/1.jpg")
    lab.work()
    lab.clock.advance(timedelta(seconds=1))
    second = thumbnail.map(["cats/2.jpg"])
    listed = lab.client.runs()
    assert [run.id for run in listed] == [second.id, first.id]
    assert listed[1].counts.phases == {ActionPhase.SUCCEEDED: 1}


def test_events_can_be_followed_to_the_end(lab: Lab) -> None:
    """`watch` gives each event once, and stops behind the final one."""
    run = thumbnail.delay("cats/1.jpg")
    lab.work()
    seen = list(run.watch())
    assert seen == run.events()
    assert [event.final for event in seen].count(True) == 1


def test_waiting_has_an_end(lab: Lab) -> None:
    """A result that is not there in time is an error of the waiting, not of the action: it goes on."""
    run = thumbnail.delay("cats/1.jpg")
    with pytest.raises(ResultTimeout):
        run.result(timeout=0)
    lab.work()
    assert run.result() == "thumbs/cats/1.jpg"


def test_what_ended_is_forgotten_after_its_retention(lab: Lab) -> None:
    """An ended action is kept for an hour, then the collector removes it with all its traces."""
    run = thumbnail.delay("cats/1.jpg")
    lab.work()
    lab.clock.advance(timedelta(minutes=59))
    assert collect(lab.store, lab.settings) == 0
    lab.clock.advance(timedelta(minutes=2))
    assert collect(lab.store, lab.settings) == 1
    with pytest.raises(ActionNotFound):
        lab.client.get(run.action)
    assert lab.client.runs() == []
