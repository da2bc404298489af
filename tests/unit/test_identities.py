"""Names of runs and actions: each verb takes text and identity, and a handle where it says which run is meant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reconciler import AsyncClient, BulkVerb, Question, TaskEnvironment
from reconciler.api.errors import ActionNotFound, InvalidArguments, InvalidName
from reconciler.archive.layout import day_of
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R10")
env = TaskEnvironment("named")
broken: set[int] = set()


@env.task()
def echo(n: int) -> int:
    """Return a number, unless it is broken."""
    if n in broken:
        raise ValueError(n)
    return n


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The engine in memory, with a map of which one call failed."""
    made = Lab()
    env.client = made.client
    broken.add(1)
    echo.map([0, 1], run="r")
    made.work()
    broken.clear()
    yield made
    env.client = None


OF_ACTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda client, one: client.get(one).phase,
    "events": lambda client, one: len(client.events(one)),
    "attempts": lambda client, one: len(client.attempts(one)),
    "wait": lambda client, one: client.wait(one).phase,
    "watch": lambda client, one: len(list(client.watch(one))),
    "abort": lambda client, one: client.abort(one),
    "prioritize": lambda client, one: client.prioritize(one, 5),
    "outcomes": lambda client, one: len(client.outcomes([one], bytes)),
}
OF_RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "counts": lambda client, run: client.counts(run).total,
    "actions": lambda client, run: len(list(client.actions(run))),
    "made_of": lambda client, run: client.made_of(run),
    "rerun": lambda client, run: client.rerun(run, idempotency_key="k").id,
    "recover": lambda client, run: client.recover(run, idempotency_key="l").id,
    "fork": lambda client, run: client.fork(run, again=["m0"], idempotency_key="m").id,
    "plan_delete": lambda client, run: client.history.plan_delete(run).stored,
}


@pytest.mark.parametrize("verb", OF_ACTIONS)
def test_an_action_is_named_in_each_form(lab: Lab, verb: str) -> None:
    """By text with or without its place, and by identity; a handle has the verb itself, and is told so."""
    run, ask = lab.client.run("r"), OF_ACTIONS[verb]
    told = [ask(lab.client, one) for one in ("r/a0", "default/development/r", run.action, run.id)]
    assert [each == told[0] for each in told] == [True] * 4
    for wrong in (run, None, 5):
        with pytest.raises(InvalidName, match="is no identity"):
            ask(lab.client, wrong)


@pytest.mark.parametrize("verb", OF_RUNS)
def test_a_run_is_named_in_each_form(lab: Lab, verb: str) -> None:
    """As actions are; an action is no run."""
    run, ask = lab.client.run("r"), OF_RUNS[verb]
    told = [ask(lab.client, one) for one in ("r", "default/development/r", run.id)]
    assert [each == told[0] for each in told] == [True] * 3
    for wrong in ("r/m0", run.id.action("m0"), None):
        with pytest.raises(InvalidName, match=r"is no run|is no identity"):
            ask(lab.client, wrong)
    if verb in {"rerun", "recover", "fork", "plan_delete"}:
        assert ask(lab.client, run) == told[0]


@pytest.mark.parametrize("verb", ["rerun", "recover"])
def test_no_action_is_made_again_alone(lab: Lab, verb: str) -> None:
    """The handle of a member does not run all of its run again, in silence."""
    member = lab.client.run("r/m1")
    for again in (getattr(member, verb), lambda: getattr(lab.client, verb)(member)):
        with pytest.raises(InvalidName, match="is no run, and no action is made again alone"):
            again()
    assert [run.id.run for run in lab.client.runs()] == ["r"]


def test_a_run_that_never_was_has_no_actions(lab: Lab) -> None:
    """It is told, as by every other verb."""
    with pytest.raises(ActionNotFound):
        list(lab.client.actions("never"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"again": "m1"}, r"give again a list of names of actions, as \[\"a0\"\], got 'm1'"),
        ({"inputs": {"m0": [3]}}, "give inputs by name"),
        ({"inputs": "m0"}, "give inputs by name"),
        ({"specs": {"m0": {"task_type": "x"}}}, "give specs as"),
    ],
)
def test_changes_of_a_fork_have_a_form(lab: Lab, changes: dict[str, Any], told: str) -> None:
    """Another one is refused in a sentence, and not read letter by letter."""
    with pytest.raises(InvalidArguments, match=told):
        lab.client.fork("r", **changes)


def test_history_and_bulk_can_be_awaited(lab: Lab) -> None:
    """An asyncio client has them with all their verbs."""
    found = AsyncClient(lab.client)
    today = day_of(lab.store.now())
    question = Question(project="default", since=today, until=today)

    async def asked() -> list[str]:
        """Rerun what is found."""
        assert (await found.history.find(question)).rows == []
        rows = (await found.bulk.find(BulkVerb.RERUN, question)).rows
        done = await found.bulk.carry_out(await found.bulk.plan("rerun", rows))
        return [each.refused for each in done]

    assert asyncio.run(asked()) == [""]


def test_what_was_made_of_a_run(lab: Lab) -> None:
    """Its handle says which run of its name is meant."""
    run = lab.client.run("r")
    made = run.recover(name="s")
    assert lab.client.made_into(run) == [made.id]
    with pytest.raises(InvalidName, match="does not say which run"):
        lab.client.made_into(run.id)  # type: ignore[arg-type]  # refused, as the test says
