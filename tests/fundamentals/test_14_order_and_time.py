"""Order and time: whose call is next, when one may begin, and until when it has to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from reconciler import TaskEnvironment, Timeouts
from reconciler.api.action import ActionSpec
from reconciler.api.errors import ActionAborted, QueueFull
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab

env = TaskEnvironment("manual14")
calls: list[str] = []
labs: list[Lab] = []
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


@env.task(timeout=Timeouts(queued=timedelta(minutes=5), overall=timedelta(hours=1)))
def impatient(name: str) -> str:
    """Be of use only soon."""
    calls.append(name)
    return name


@pytest.fixture(autouse=True)
def _submit_to(lab: Lab) -> None:
    env.client = lab.client
    labs.append(lab)
    calls.clear()


def now(lab: Lab) -> datetime:
    """What the clock of the lab shows."""
    return datetime.fromtimestamp(lab.clock() / 1000, UTC)


def later(lab: Lab, by: timedelta) -> None:
    """Time goes on, with workers."""
    end = lab.clock() + int(by.total_seconds() * 1000)
    lab.work(limit=by)
    lab.clock.move_to(end)
    lab.work(limit=timedelta(0))


# -- order -------------------------------------------------------------------------------------------------------------
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


# -- not before --------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R83")
def test_a_countdown_is_waited_out(lab: Lab) -> None:
    """Not begun a moment before, and then at once."""
    run = note.submit(("later",), countdown=60)
    later(lab, timedelta(seconds=59))
    assert (calls, run.phase) == ([], ActionPhase.QUEUED)
    later(lab, timedelta(seconds=1))
    assert run.result(timeout=5) == "later"


@pytest.mark.rule("R83")
def test_an_eta_may_be_far_away(lab: Lab) -> None:
    """Nothing waits in any memory meanwhile: the due index knows."""
    run = note.submit(("in a month",), eta=now(lab) + 30 * DAY)
    later(lab, 29 * DAY)
    assert (calls, lab.store.launches_waiting()) == ([], {})
    later(lab, DAY)
    assert run.result(timeout=5) == "in a month"


@pytest.mark.rule("R83")
def test_an_eta_that_has_passed_is_now(lab: Lab) -> None:
    """A submission that comes too late for its time is not refused."""
    run = note.submit(("late",), eta=now(lab) - DAY)
    lab.work(limit=timedelta(0))
    assert run.result(timeout=5) == "late"


@pytest.mark.rule("R34")
def test_limits_of_time_count_from_the_eta(lab: Lab) -> None:
    """Waiting for its time is neither waiting in the queue nor a part of the whole."""
    run = impatient.submit(("patient",), countdown=DAY)
    later(lab, DAY)
    assert run.result(timeout=5) == "patient"
    late = impatient.submit(("nobody",), countdown=DAY)
    lab.settle(limit=2 * DAY)  # and no worker
    assert late.phase is ActionPhase.TIMED_OUT


@pytest.mark.rule("R75")
def test_the_same_key_with_another_time_is_the_first_action(lab: Lab) -> None:
    """Time and turn are no part of what is asked for: who repeats a submission need not repeat the minute."""
    first = note.submit(("a",), idempotency_key="k", eta=now(lab) + DAY, priority=9)
    again = note.submit(("a",), idempotency_key="k", eta=now(lab) + 2 * DAY, expires=3 * DAY)
    assert again.action == first.action
    assert lab.get(again.action).metadata == lab.get(first.action).metadata
    assert lab.get(first.action).metadata.priority == 9
    many = [note.map(["a", "b"], idempotency_key="m", countdown=time) for time in (60, 120)]
    assert many[0].action == many[1].action


# -- not after ---------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R84")
def test_what_has_not_begun_in_time_is_aborted(lab: Lab) -> None:
    """With the reason, and never called, whoever comes later."""
    run = note.submit(("stale",), expires=60)
    lab.settle(limit=timedelta(hours=1))  # and no worker
    assert run.phase is ActionPhase.ABORTED
    with pytest.raises(ActionAborted, match="had not begun by"):
        run.result(timeout=5)
    lab.work()
    assert calls == []
    assert lab.events(run.action)[-1].actor == "expired"


@pytest.mark.rule("R84")
def test_a_draw_after_the_time_gives_nothing(lab: Lab) -> None:
    """Also when the worker is faster than the step that ends it."""
    run = note.submit(("stale",), expires=60)
    lab.settle(limit=timedelta(seconds=1))
    lab.clock.advance(timedelta(seconds=61))
    assert lab.worker.work() == 0
    lab.work()
    assert (calls, run.phase) == ([], ActionPhase.ABORTED)


@pytest.mark.rule("R84")
def test_what_has_begun_does_not_expire(lab: Lab) -> None:
    """A retry after the time is no late beginning."""
    run = note.submit(("slow", 1), expires=60)
    lab.work(limit=timedelta(seconds=1))
    assert run.result(timeout=5) == "slow"
    again = note.submit(("again", 1), expires=60)
    lab.step()
    lab.worker.work()
    lab.clock.advance(DAY)
    lab.work()
    assert again.result(timeout=5) == "again"


@pytest.mark.rule("R84")
def test_expired_in_the_past_is_never_called(lab: Lab) -> None:
    """It is accepted, and ends at once with its reason: the caller sees one kind of end, whenever its call arrives."""
    run = note.submit(("old",), expires=now(lab) - DAY)
    lab.work(limit=timedelta(0))
    assert (calls, run.phase) == ([], ActionPhase.ABORTED)


@pytest.mark.rule("R84")
def test_a_group_may_expire(lab: Lab) -> None:
    """Each call by itself; the group ends as its members did."""
    run = note.map(["a", "b"], expires=60, keep_failures=True)
    lab.settle(limit=timedelta(hours=1))
    assert [type(one) for one in run.outcomes(timeout=5)] == [ActionAborted, ActionAborted]


@pytest.mark.rule("R53")
def test_a_question_has_a_time_too(lab: Lab) -> None:
    """It is asked at its time, and its limit counts from there; an answer that comes earlier ends it."""
    run = lab.client.condition("ship", timeout=DAY, countdown=30 * DAY)
    later(lab, 29 * DAY)
    assert run.phase is ActionPhase.QUEUED
    later(lab, DAY + timedelta(hours=23))
    assert run.phase is ActionPhase.PAUSED
    later(lab, DAY)
    assert run.phase is ActionPhase.TIMED_OUT
    early = lab.client.condition("ship", countdown=DAY)
    lab.client.signal(early.action, value=True)
    lab.settle(limit=timedelta(0))
    assert early.result(timeout=5) is True


@pytest.mark.rule("R84")
def test_a_question_that_was_asked_does_not_expire(lab: Lab) -> None:
    """`expires` bounds when it is asked; how long it waits for its answer is its timeout."""
    asked = lab.client.condition("ship", expires=60)
    later(lab, DAY)
    assert asked.phase is ActionPhase.PAUSED
    never = lab.client.condition("ship", eta=now(lab) + 2 * DAY, expires=DAY)
    later(lab, 3 * DAY)
    assert never.phase is ActionPhase.ABORTED


# -- queues ------------------------------------------------------------------------------------------------------------
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
