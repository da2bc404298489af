"""Quotas: a task that needs a unit of something waits until one is free."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment, sleep
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual10")


@env.task(resources="gpu")
def train(n: int) -> int:
    """Need one gpu."""
    return n


@env.task(resources="gpu")
def rests() -> str:
    """Sleep for a moment."""
    sleep(timedelta(seconds=1))
    return "rested"


@pytest.fixture
def lab() -> Lab:
    """An installation with two gpus."""
    lab = Lab(quotas=("gpu=2",))
    env.client = lab.client
    return lab


def test_no_more_run_than_there_are_units(lab: Lab) -> None:
    """Two of five are launched; the others wait for resources, in the order they came."""
    run = train.map(range(5), keep_failures=True)
    lab.step()
    lab.step()
    assert lab.journal.words.count("launch") == 2
    assert run.counts.phases[ActionPhase.WAITING_FOR_RESOURCES] == 3


def test_an_end_frees_its_unit(lab: Lab) -> None:
    """Each end lets the next one begin, until all have run."""
    run = train.map(range(5))
    lab.work()
    assert run.result() == [0, 1, 2, 3, 4]


def test_an_abort_frees_its_unit(lab: Lab) -> None:
    """What was given to an action that is aborted goes to the next one in line."""
    first, second, third = (train.delay(n) for n in range(3))
    lab.step()
    first.abort("changed my mind")
    lab.work(timedelta(hours=1))
    assert first.phase is ActionPhase.ABORTED
    assert (second.result(), third.result()) == (1, 2)


def test_who_goes_on_at_once_does_not_wait_for_its_own_unit() -> None:
    """Its pause is over before a step sees it: what it held is given back, and asked for anew."""
    lab = Lab(quotas=("gpu=1",))
    env.client = lab.client
    run = rests.delay()
    lab.step()
    lab.worker.work()
    lab.clock.advance(timedelta(seconds=2))
    lab.work(timedelta(minutes=10))
    assert run.phase is ActionPhase.SUCCEEDED
