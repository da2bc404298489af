"""Why an action waits has one answer, wherever it is asked: `get`, `list`, `watch`, `describe` and the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from reconciler import TaskEnvironment
from reconciler.api.action import ActionId
from reconciler.cli import main
from reconciler.client import Client
from reconciler.client.describing import why_waiting
from reconciler.client.glancing import Glance
from reconciler.core.why import STUCK
from reconciler.testing import Lab
from worker.dashboard import detail

env = TaskEnvironment("answers")


@env.task
def plain(n: int = 0) -> int:
    """Return what was given."""
    return n


@env.task(queue="nowhere")
def lost() -> int:
    """Stand in a queue without workers."""
    return 0


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """An installation with one worker of the queue `attempts`, which the commands read."""
    lab = Lab()
    env.client = lab.client
    lab.store.tell_functions("w", "attempts", {"answers.plain": "1"}, 10**9)

    @contextmanager
    def connected(_place: object) -> Iterator[Client]:
        yield lab.client

    for module in ("get", "listing", "watch"):
        monkeypatch.setattr(f"reconciler.cli.{module}.connected", connected)
    return lab


def answer(*words: str) -> str:
    """Return what a command prints, as one line."""
    return " ".join(CliRunner().invoke(main, words).output.split())


@pytest.fixture(params=["paused", "nowhere"])
def stuck(request: pytest.FixtureRequest, lab: Lab) -> ActionId:
    """Return an action that no worker will take."""
    if request.param == "paused":
        lab.client.pause_queue("attempts")
    run = plain.delay() if request.param == "paused" else lost.delay()
    lab.step()
    return run.action


def test_each_says_what_describe_says(lab: Lab, stuck: ActionId) -> None:
    """A paused queue and one without workers are named everywhere, with the remedy; nothing says it waits for a worker."""
    found = why_waiting(lab.client, lab.get(stuck))
    assert found is not None
    assert found.reason in STUCK
    assert found.text in answer("get", stuck.run).partition("Conditions")[0]
    assert json.loads(answer("get", stuck.run, "--json"))["waiting"] == found.text
    assert json.loads(answer("list", stuck.run, "--json"))["actions"][0]["waiting"] == found.text
    assert found.text[:40] in answer("list", stuck.run)
    assert found.text in answer("watch", stuck.run, "--timeout", "0.01")
    page = detail.action_page(lab.client, stuck, read_only=True)
    assert page["waiting"] == found.text == page["why"][0]["why"]


def test_a_list_asks_once_of_each_queue(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows it has."""
    asked: list[str] = []
    queues = lab.client.queues
    monkeypatch.setattr(lab.client, "queues", lambda *names: asked.extend(names) or queues(*names))
    lab.client.pause_queue("attempts")
    run = plain.map(range(20))
    for _ in range(3):
        lab.step()
    listed = json.loads(answer("list", run.id.run, "--json"))["actions"]
    assert sum("is paused" in str(one["waiting"]) for one in listed) == 20
    assert asked == ["attempts"]


def test_a_list_blames_no_queue_that_was_left(lab: Lab) -> None:
    """What was moved elsewhere is not told that the queue of its task is paused."""
    lab.client.pause_queue("attempts")
    run = plain.delay()
    lab.step()
    lab.client.move_queue("attempts", "spare")
    assert Glance(lab.client).stuck(lab.get(run.action)) is None


def test_what_runs_waits_for_nothing(lab: Lab) -> None:
    """Also before a step has written that it runs."""
    run = plain.delay()
    lab.step()
    lab.store.draw(
        lab.store.shard_of(run.id), lab.store.turn(run.action).line, owner="w", limit=1, lease=30_000
    )
    assert json.loads(answer("get", run.id.run, "--json"))["waiting"] is None
