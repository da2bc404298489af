"""What a client may do with queues and with the turn of what waits: prioritize, pause, limit, move, look (R78, R85)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionId, ActionSpec, RunId
from reconciler.api.errors import ActionConflict, ActionNotFound, InvalidName, InvalidSpec, QueueFull
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.cli.exits import ExitCode, error_document, exit_code_of
from reconciler.client import QueueFacts
from reconciler.client.door import Door
from reconciler.client.queue_limits import QueueLimits
from reconciler.settings import Settings
from reconciler.testing import Lab

pytestmark = [pytest.mark.rule("R78"), pytest.mark.rule("R85")]


@pytest.fixture
def lab() -> Lab:
    """An empty installation."""
    return Lab()


def call(queue: str = "", **identity: str) -> ActionSpec:
    """Return a call of a function; no worker of the lab knows it."""
    template = TaskTemplate(type="function", custom={"function": "shop.f", "queue": queue})
    return ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}", **identity)


def priorities(lab: Lab, run: RunId) -> dict[str, int]:
    """Return the priorities of all actions of a run."""
    return {action.id.action: action.metadata.priority for action in lab.client.actions(run)}


# -- prioritize --------------------------------------------------------------------------------------------------------
def test_an_action_is_prioritized_with_all_below_it(lab: Lab) -> None:
    """A root stands for its run, a child for its own branch; what has ended stays."""
    root = lab.client.submit(ActionSpec(task_type="x", run_name="r"))
    for name, parent in (("b1", "a0"), ("b2", "a0"), ("c1", "b1"), ("d1", "c1")):
        lab.client.submit(
            ActionSpec(task_type="x", run_name="r", action_name=name, parent_action_name=parent)
        )
    assert lab.client.prioritize(root.id.action("b1"), 7) == 3
    assert priorities(lab, root.id) == {"a0": 5, "b1": 7, "b2": 5, "c1": 7, "d1": 7}
    assert root.prioritize(2) == 5
    assert lab.client.prioritize(root.id, 9) == 5
    lab.settle()
    assert root.prioritize(1) == 0
    assert set(priorities(lab, root.id).values()) == {9}


def test_all_pages_of_a_run_are_prioritized(lab: Lab) -> None:
    """However many there are; a ticket is sent for the line they went to."""
    run = lab.client.submit_many([call()] * 1200, run="many")
    lab.step()
    assert lab.client.prioritize(run.id, 9) == 1201
    shard = lab.store.shard_of(run.id)
    assert _levels(lab, shard) == ["9"]
    assert lab.store.pick("attempts").line.split("/")[1][0] == "9"


def _levels(lab: Lab, shard: int) -> list[str]:
    return [line.split("/")[1][0] for line in lab.store._shards[shard].lines]


def test_what_is_submitted_meanwhile_is_prioritized_too(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that inherited the old priority before its parent was reached is found by the next look."""
    root = lab.client.submit(ActionSpec(task_type="x", run_name="r"))
    first = lab.store.prioritize

    def late(actions: Any, priority: int, **more: Any) -> Any:
        if not lab.store.get(root.id.action("c1")):
            lab.client.submit(
                ActionSpec(task_type="x", run_name="r", action_name="c1", parent_action_name="a0")
            )
        return first(actions, priority, **more)

    monkeypatch.setattr(lab.store, "prioritize", late)
    assert root.prioritize(9) == 2
    assert priorities(lab, root.id) == {"a0": 9, "c1": 9}


@pytest.mark.parametrize("target", [RunId("p", "d", "none"), ActionId("p", "d", "none", "a0")])
def test_what_is_not_there_cannot_be_prioritized(lab: Lab, target: ActionId | RunId) -> None:
    """Nor can anything be given a priority that is none."""
    with pytest.raises(ActionNotFound):
        lab.client.prioritize(target, 9)
    with pytest.raises(InvalidSpec, match="from 0"):
        lab.client.prioritize(target, 10)


def unruled(facts: QueueFacts) -> QueueFacts:
    """Return the facts without who made them so (test_who.py)."""
    return msgspec.structs.replace(facts, ruled=())


# -- queues ------------------------------------------------------------------------------------------------------------
def test_queues_tell_what_holds(lab: Lab) -> None:
    """That of attempts, and all in which something waits or that have a rule; a named one is told in any case."""
    lab.client.submit(call("gpu"))
    lab.client.submit(call())
    lab.step()
    lab.client.pause_queue("gpu")
    lab.client.limit_queue("gpu", 100)
    gpu, attempts = (
        QueueFacts("gpu", 1, paused=True, limit=100),
        QueueFacts("attempts", 1, paused=False, limit=None),
    )
    none = QueueFacts("none", 0, paused=False, limit=None)
    assert [unruled(one) for one in lab.client.queues()] == [attempts, gpu]
    assert [unruled(one) for one in lab.client.queues("gpu", "none", "gpu")] == [gpu, none]
    lab.client.pause_queue("empty")
    empty = QueueFacts("empty", 0, paused=True, limit=None)
    assert [unruled(one) for one in lab.client.queues()] == [attempts, empty, gpu]
    lab.client.resume_queue("empty")
    assert [one.name for one in lab.client.queues()] == ["attempts", "gpu"]


def test_resuming_sends_a_ticket(lab: Lab) -> None:
    """While something waits, and only then; a paused queue gets none."""
    lab.client.pause_queue("attempts")
    lab.client.resume_queue("attempts")
    assert lab.messenger.tickets == []
    lab.client.pause_queue("attempts")
    lab.client.submit(call())
    lab.step()
    assert lab.messenger.tickets == []
    lab.client.resume_queue("attempts")
    assert lab.messenger.tickets == ["attempts"]


def test_moving_tells_the_other_queue(lab: Lab) -> None:
    """It gets a ticket; how many were moved is told."""
    lab.client.submit_many([call()] * 3)
    lab.step()
    lab.messenger.tickets.clear()
    assert lab.client.move_queue("attempts", "spare") == 3
    assert lab.messenger.tickets == ["spare"]
    assert lab.store.launches_waiting() == {"spare": 3}
    with pytest.raises(InvalidSpec, match="another queue"):
        lab.client.move_queue("spare", "spare")


@pytest.mark.parametrize("name", ["", "steps", "a/b", "celeryev", "x" * 64, 7])
def test_only_queues_of_attempts_can_be_ruled(lab: Lab, name: Any) -> None:
    """The queue of steps, and what no queue can be called, are refused by each verb."""
    client = lab.client
    verbs: list[Callable[[], object]] = [
        lambda: client.pause_queue(name),
        lambda: client.resume_queue(name),
        lambda: client.limit_queue(name, 1),
        lambda: client.move_queue(name, "q"),
        lambda: client.move_queue("q", name),
        lambda: client.queues(name),
    ]
    for verb in verbs:
        with pytest.raises(InvalidName):
            verb()


@pytest.mark.parametrize("limit", [-1, 1.5, True, "7"])
def test_a_limit_is_a_number_of_launches(lab: Lab, limit: Any) -> None:
    """None takes it away, 0 refuses all."""
    with pytest.raises(InvalidSpec, match="whole number"):
        lab.client.limit_queue("q", limit)


# -- full --------------------------------------------------------------------------------------------------------------
def test_a_full_queue_is_told_with_its_remedy(lab: Lab) -> None:
    """With what waits, the limit and an exit code of its own."""
    lab.client.limit_queue("attempts", 0)
    with pytest.raises(QueueFull) as full:
        lab.client.submit(call())
    assert (full.value.queue, full.value.limit, full.value.waiting) == ("attempts", 0, 0)
    assert "nothing was stored" in str(full.value)
    assert exit_code_of(full.value) is ExitCode.QUEUE_FULL
    document: Any = error_document(full.value)
    assert document["error"]["limit"] == 0
    assert lab.client.runs() == []


def test_no_part_of_too_many_is_stored(lab: Lab) -> None:
    """A submission is one: it fits, or it is refused. What was submitted a moment ago counts."""
    lab.client.limit_queue("attempts", 10)
    with pytest.raises(QueueFull):
        lab.client.submit_many([call()] * 11)
    lab.client.submit_many([call()] * 8, run="eight")
    with pytest.raises(QueueFull):
        lab.client.submit_many([call()] * 3)
    lab.client.submit_many([call()] * 2, run="two")
    assert {summary.id.run for summary in lab.client.runs()} == {"eight", "two"}


def test_what_was_submitted_and_left_the_line_takes_no_room(lab: Lab) -> None:
    """A client may submit as much as workers run, however much that is within one look at the queue."""
    lab.client.limit_queue("attempts", 2)
    for _ in range(5):
        run = lab.client.submit_many([call()] * 2)
        run.abort()
        lab.settle(limit=timedelta(0))
    lab.client.submit_many([call()] * 2)
    lab.settle(limit=timedelta(0))
    with pytest.raises(QueueFull, match="2 launches wait there, at most 2 may, and 1 more"):
        lab.client.submit(call())


def test_what_was_accepted_may_be_repeated(lab: Lab) -> None:
    """A caller that got no answer gets it however full the queue is; a conflict stays one."""
    lab.client.limit_queue("attempts", 2)
    first = lab.client.submit_many([call()] * 2, idempotency_key="k")
    assert lab.client.submit_many([call()] * 2, idempotency_key="k").action == first.action
    with pytest.raises(ActionConflict):
        lab.client.submit_many([call("gpu")] * 2, idempotency_key="k")


def test_other_queues_and_other_work_are_not_concerned(lab: Lab) -> None:
    """Nor is what names a queue itself, nor what cannot be read: its first round says so."""
    lab.client.limit_queue("attempts", 0)
    lab.client.submit(call("gpu"))
    lab.client.submit(ActionSpec(task_type="core-sleep"))
    lab.client.submit(ActionSpec(task_type="function", task_template=b"?"))
    lab.client.condition("ship")


def test_a_queue_is_looked_at_once_a_second(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submissions to a queue cost no look each; to one without a limit nothing that waits is counted."""
    looks: Counter[str] = Counter()
    for verb in ("set_queue", "launches_waiting"):
        inner = getattr(lab.store, verb)

        def noted(*args: Any, inner: Any = inner, verb: str = verb, **options: Any) -> Any:
            looks[verb] += 1
            return inner(*args, **options)

        monkeypatch.setattr(lab.store, verb, noted)
    seconds = [100.0]
    limits = QueueLimits(lab.store, Door(Settings(), "bucket"), clock=lambda: seconds[0])
    action = lab.get(lab.client.submit(call()).action)
    looks.clear()
    for _ in range(50):
        limits.check([action])
    assert looks == {"set_queue": 1}
    lab.store.set_queue("attempts", limit=5)
    looks.clear()
    seconds[0] += 1.5
    for _ in range(5):
        limits.check([action])
    assert looks == {"set_queue": 1, "launches_waiting": 1}


@pytest.mark.rule("R81")
@pytest.mark.parametrize("keys", [["a"], ["a", "b", "c"], ["a", ["b"]], ["a", "x" * 257]])
def test_each_call_has_its_fair_key(lab: Lab, keys: list[Any]) -> None:
    """One for all, or one for each; else nothing is stored."""
    with pytest.raises(InvalidSpec, match="fair key"):
        lab.client.submit_many([call()] * 2, fair_key=keys)
    assert lab.client.runs() == []
    run = lab.client.submit_many([call()] * 3, fair_key=["a", "b", "a"])
    assert [lab.get(run.id.action(f"m{n}")).metadata.fair_key for n in range(3)] == ["a", "b", "a"]
