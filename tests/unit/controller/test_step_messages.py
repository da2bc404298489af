"""What a step sends after its commit (R2): tickets, wake-ups, and the abort of children."""

from __future__ import annotations

import pytest
from step_lab import SECONDS, one_shard, step

from reconciler.api.action import ActionId
from reconciler.api.errors import BrokerUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, failure, queued, running, success
from reconciler.broker.recording import Wake
from reconciler.core.line import Line, read_line
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.timing import PENDING_TTL
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = [pytest.mark.rule("R2"), pytest.mark.usefixtures("quiet")]


class Mute:
    """A broker that is down."""

    def __init__(self) -> None:
        self.asked = 0

    def wake(self, shard: int, countdown: float = 0.0, armed: int = 0) -> None:
        """Fail."""
        self.asked += 1
        raise BrokerUnavailable(f"{shard} {countdown} {armed}")

    def ticket(self, queue: str) -> None:
        """Fail."""
        self.asked += 1
        raise BrokerUnavailable(queue)

    def waiting(self, queue: str) -> int:
        """Fail."""
        raise BrokerUnavailable(queue)


# -- messages -----------------------------------------------------------------------------------------------------------
def launcher() -> ScriptedPlugin:
    """Return a plugin that launches once."""

    def launch(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        return queued(ctx.now, 0, "sent")

    return ScriptedPlugin("worker", launch, running(0, requeue_at=2**42))


def test_a_ticket_is_sent_after_the_commit() -> None:
    """No worker hears of a launch before it stands in its line, and may report."""
    lab = one_shard(launcher())
    action = lab.submit("worker")
    known: list[str] = []
    ticket = lab.messenger.ticket

    def looking(queue: str) -> None:
        known.append(lab.get(action).attempt.launch)
        ticket(queue)

    lab.messenger.ticket = looking  # type: ignore[method-assign]  # looks
    step(lab)
    assert known == ["1"]
    assert lab.messenger.tickets == ["q1"]
    pick = lab.store.pick("q1")
    assert read_line(pick.line) == Line("q1", 5, alone=False, fair=action.project, function="worker")
    [record] = lab.store.draw(pick.shard, pick.line, owner="w", limit=1, lease=1).actions
    assert (record.id, record.attempt.launch) == (action, "1")


def test_launches_of_a_batch_need_one_ticket() -> None:
    """However many enter the lines of a queue, one ticket is on its way."""

    def launch(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        return queued(ctx.now, 0, "sent")

    lab = one_shard(ScriptedPlugin("worker", launch, launch, launch, running(0)))
    for _ in range(3):
        lab.submit("worker")
    step(lab)
    assert lab.journal.words.count("launch") == 3
    assert lab.messenger.tickets == ["q1"]


def test_a_refused_write_launches_nothing() -> None:
    """A launch whose commit was refused is never sent."""

    def robbed(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        lab.clock.advance(11 * SECONDS)
        lab.store.claim(0, owner="other", limit=1)
        return queued(ctx.now, 0, "sent")

    lab = one_shard(ScriptedPlugin("worker", robbed))
    lab.submit("worker")
    step(lab)
    assert not lab.messenger.tickets
    assert not lab.store.look(0).lines


def test_a_broker_that_is_down_is_survived() -> None:
    """Neither a launch nor a wake-up that cannot be sent fails the step: the record says what is owed."""
    lab = one_shard(launcher())
    action = lab.submit("worker")
    broker = lab.engine.stepper.messenger = Mute()
    step(lab)
    assert broker.asked >= 1
    assert lab.get(action).attempt.launch == "1"


def test_a_wake_up_that_cannot_be_sent_is_survived() -> None:
    """A countdown the broker refuses costs time only: the due time is stored."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    lab.engine.stepper.messenger = Mute()
    step(lab)
    assert lab.store.due(0) == [(action, lab.clock() + 10_000)]


# -- children -----------------------------------------------------------------------------------------------------------
def family(lab: Lab) -> tuple[ActionId, ActionId]:
    """Return a parent and its child."""
    parent = lab.submit("parent")
    child = lab.submit("child", run_name=parent.run, action_name="c1", parent_action_name="a0")
    return parent, child


@pytest.mark.rule("R40")
@pytest.mark.parametrize("end", [success(), failure("E", "boom")], ids=["success", "failure"])
def test_no_child_outlives_its_parent(end: PhaseInfo) -> None:
    """When a parent ends, whatever is still open below it is aborted, saying why."""
    lab = one_shard(ScriptedPlugin("parent", running(0), end), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.settle()
    record = lab.get(child)
    assert lab.get(parent).is_terminal
    assert record.phase is ActionPhase.ABORTED
    assert record.status.conditions[-1].message == "TaskAction was aborted: parent a0 has ended"


@pytest.mark.rule("R40")
def test_aborted_children_get_a_message() -> None:
    """The step that ends a parent wakes the children it aborts."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, _ = family(lab)
    lab.messenger.wakes.clear()
    lab.clock.advance(PENDING_TTL)
    step(lab, [parent], drain=False)
    assert Wake(0) in lab.messenger.wakes


@pytest.mark.rule("R40")
def test_children_of_an_ended_parent_survive_the_death_of_the_step() -> None:
    """A step that dies right after the end of a parent leaves nobody running: the next step ends the children."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.reconcile(parent)
    assert lab.get(parent).phase is ActionPhase.SUCCEEDED
    lab.settle()
    assert lab.get(child).phase is ActionPhase.ABORTED


@pytest.mark.rule("R40")
def test_children_that_are_aborted_already_need_no_message() -> None:
    """A child whose abort was asked for before costs no further message."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.client.abort(child)
    lab.messenger.wakes.clear()
    step(lab, [parent], drain=False)
    assert lab.messenger.wakes == []


@pytest.mark.rule("R40")
def test_ended_children_stay_as_they_ended() -> None:
    """A child that has succeeded is not touched by the end of its parent."""
    lab = one_shard(ScriptedPlugin("parent", running(0), success()), ScriptedPlugin("child", success()))
    _, child = family(lab)
    lab.settle()
    assert lab.get(child).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R37")
def test_the_finalizing_round_of_a_parent_aborts_nothing_again() -> None:
    """The round that pays the clean-up of an ended parent asks for no second abort."""
    lab = one_shard(
        ScriptedPlugin("parent", success()),
        ScriptedPlugin("child", running(0), on_abort=[ValueError("busy"), None]),
    )
    family(lab)
    asked: list[object] = []
    lab.store.on_write = lambda verb, detail: asked.append(detail) if verb == "request_abort" else None
    lab.settle()
    assert len(asked) == 1
