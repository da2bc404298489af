"""Order: whose call is next, and what a queue lets begin."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import ActionSpec
from reconciler.api.errors import QueueFull
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual14")
calls: list[str] = []
DAY = timedelta(days=1)


@env.task(retries=1)
def note(name: str, fails: int = 0) -> str:
    """Note that it was called; fail so many times."""
    calls.append(name)
    if calls.count(name) <= fails:
        raise ValueError(name)
    return name


@env.task(priority=8)
def urgent(name: str) -> str:
    """Go before most others."""
    calls.append(name)
    return name


@env.task(fair_by="customer")
def bill(order: int, customer: str = "acme") -> int:
    """Bill one order of a customer."""
    calls.append(customer)
    return order


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    calls.clear()


@pytest.mark.rule("R78")
def test_the_highest_priority_goes_first(lab: Lab) -> None:
    """0 is last, 9 is first, 5 is what nobody says; a task may have one of its own, and a submission another."""
    note.submit(("last",), priority=0)
    note.delay("usual")
    urgent.delay("task's own")
    urgent.submit(("lower than its task",), priority=6)
    note.submit(("first",), priority=9)
    lab.work()
    assert calls == ["first", "task's own", "lower than its task", "usual", "last"]


@pytest.mark.rule("R78")
def test_what_waits_can_be_prioritized(lab: Lab) -> None:
    """Of the whole run, or of one action; what has ended stays as it is."""
    note.map(["a", "b"])
    late = note.map(["x", "y"])
    lab.step()  # they stand in line now
    assert late.prioritize(9) == 3  # the group and its two calls
    assert lab.get(late.action).metadata.priority == 9
    lab.work()
    assert calls == ["x", "y", "a", "b"]
    assert late.prioritize(1) == 0


@pytest.mark.rule("R81")
def test_customers_take_turns(lab: Lab) -> None:
    """`fair_by` names the parameter between whose values workers take turns: twenty calls of one do not hold up another."""
    bill.map(range(20))
    bill.map([1, 2], customer="small")
    lab.step()
    lab.work()
    assert calls.count("acme") == 20
    assert [place for place, customer in enumerate(calls) if customer == "small"][-1] <= 4, calls


@pytest.mark.rule("R75")
def test_children_have_the_turn_of_their_parent(lab: Lab) -> None:
    """A child inherits priority and fair key; what it is submitted with wins, the usual priority too."""
    parent = lab.client.submit(ActionSpec(task_type="x"), priority=8, fair_key="acme")

    def child(name: str, **options: object) -> tuple[int, str]:
        spec = ActionSpec(run_name=parent.id.run, action_name=name, parent_action_name="a0", task_type="x")
        found = lab.get(lab.client.submit(spec, **options).action)  # type: ignore[arg-type]  # options as they come
        return found.metadata.priority, found.metadata.fair_key

    assert child("c1") == (8, "acme")
    assert child("c2", priority=5, fair_key="other") == (5, "other")
    assert child("c3", priority=0) == (0, "acme")


@pytest.mark.rule("R85")
def test_a_paused_queue_starts_nothing(lab: Lab) -> None:
    """What is submitted waits; resumed, it runs."""
    lab.client.pause_queue("attempts")
    run = note.delay("patient")
    lab.work(limit=DAY)
    assert (calls, run.phase) == ([], ActionPhase.QUEUED)
    lab.client.resume_queue("attempts")
    lab.work(limit=timedelta(0))
    assert run.result(timeout=5) == "patient"


@pytest.mark.rule("R85")
def test_a_full_queue_refuses(lab: Lab) -> None:
    """Nothing is stored, and the same submission may come again; other queues and other work are not concerned."""
    lab.client.limit_queue("attempts", 2)
    note.map(["a", "b"])
    lab.settle(limit=timedelta(0))
    with pytest.raises(QueueFull, match="reconciler queue limit attempts"):
        note.submit(("c",), run="late")
    assert len(lab.client.runs()) == 1
    lab.client.submit(ActionSpec(task_type="core-sleep"))
    lab.work()
    lab.client.limit_queue("attempts", None)
    run = note.submit(("c",), run="late")
    lab.work()
    assert run.result(timeout=5) == "c"
