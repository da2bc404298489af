"""The first step of a few children is taken where they are stored; else it is left to those who take steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import pytest

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import NOW, Schedule
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.broker.recording import Wake
from reconciler.children import driving
from reconciler.children import requests as ask
from reconciler.children.desk import Desk
from reconciler.children.driving import FEW, Driver
from reconciler.controller.step import Stepper
from reconciler.environment import TaskEnvironment
from reconciler.plugins.sleep import TASK_TYPE
from reconciler.stores.base import Write
from reconciler.testing import Lab

_TEMPLATE = TaskTemplate(type=TASK_TYPE, interface=Interface(inputs={"duration": "duration"}))
LEAF = ActionSpec(
    task_type=TASK_TYPE, task_template=encode_template(_TEMPLATE), inputs=b'{"duration":0}', short_name="leaf"
)

LONG = msgspec.structs.replace(LEAF, inputs=b'{"duration":3600}')


class Parent:
    """A function in the middle of its call: what it asks for goes to its desk."""

    def __init__(self) -> None:
        self.lab = lab = Lab()
        root = lab.client.submit(LONG)
        lab.step(root.action)
        self.record = lab.client.get(root.action)
        self.told = threading.Event()
        drive = Driver(lab.engine.stepper, lab.messenger)
        self.desk = Desk(lab.client, self.record, "w", self.told.set, drive=drive)
        self.starts(100, spec=LONG)  # so that no other one is its last child
        self.hears()
        self.hears()
        lab.messenger.wakes.clear()

    def starts(self, number: int, plan: Schedule = NOW, spec: ActionSpec = LEAF) -> None:
        """Start a leaf."""
        self.desk.take(
            ask.Start(number=number, spec=spec, asked=number, plan=plan, labels={}, key="", detached=False)
        )

    def hears(self) -> list[ask.Answer]:
        """What it is answered."""
        return self.desk.work()

    def phases(self) -> list[ActionPhase]:
        """Return the phases of its children."""
        page = self.lab.store.list_actions(self.record.id.run_id, parent=self.record.id.action).actions
        return [record.phase for record in page if record.spec.inputs == LEAF.inputs]


def test_a_child_is_stepped_where_it_is_stored() -> None:
    """Its parent hears first that it is stored; then its step is taken here, and nobody is sent a message."""
    parent = Parent()
    parent.starts(1)
    [started] = parent.hears()
    assert isinstance(started, ask.Started)
    assert parent.phases() == [ActionPhase.QUEUED]
    assert parent.desk.pause() == 0
    parent.desk.take(ask.Watch(2, [1], limited=False))
    end, done = parent.hears()
    assert isinstance(end, ask.End)
    assert end.phase == ActionPhase.SUCCEEDED
    assert done == ask.Done(2)
    assert parent.lab.messenger.wakes == []


@pytest.mark.parametrize("start", ["many", "later"])
def test_what_is_not_stepped_here_is_told_of(start: str) -> None:
    """Many children, and those of later, are left to a steps worker, by a message."""
    parent = Parent()
    for number in range(FEW + 1 if start == "many" else 1):
        parent.starts(number, Schedule(not_before=-60_000) if start == "later" else NOW)
    parent.hears()
    parent.hears()
    parent.desk.close()
    assert parent.lab.messenger.wakes == [Wake(shard_of(parent))]


def test_a_parent_that_ends_at_once_leaves_its_children_to_others() -> None:
    """Between its start and its step a child has no message on its way: who goes then sends one."""
    parent = Parent()
    parent.starts(1)
    parent.hears()
    parent.desk.close()
    assert parent.lab.messenger.wakes == [Wake(shard_of(parent))]


def test_a_step_that_fails_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away for a step does the parent no harm: the child waits for the step another one takes."""
    parent = Parent()
    parent.starts(1)
    parent.hears()

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(parent.lab.engine.stepper, "step", away)
        assert parent.hears() == []
    assert parent.lab.messenger.wakes == [Wake(shard_of(parent))]
    parent.lab.step(parent.record.id)
    assert parent.phases() == [ActionPhase.SUCCEEDED]


def test_an_adopted_child_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that an earlier pass has stored is found, and not stepped anew."""
    parent = Parent()
    stepped: list[ActionId] = []
    stepper = parent.lab.engine.stepper
    monkeypatch.setattr(stepper, "step", lambda _, named, **__: stepped.extend(named))
    for _ in range(2):
        parent.starts(1)
        parent.hears()
        parent.hears()
    assert len(stepped) == 1


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which tickets are kept, which a test moves: a few milliseconds are over before a busy machine looks."""
    clock = [1000.0]
    monkeypatch.setattr(driving, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


class Slot:
    """Notes the tickets it is offered, and takes them as it is told."""

    def __init__(self, *, takes: bool) -> None:
        self.takes = takes
        self.offered: list[str] = []
        self.first = False
        self.waits: Callable[[], bool] = bool

    def take(self, queue: str, waits: Callable[[], bool], *, first: bool) -> bool:
        """See `driving.Slot`."""
        self.first = first
        self.offered.append(queue)
        self.waits = waits
        return self.takes


def noop() -> None:
    """Return nothing."""


def calling(takes: bool) -> tuple[Parent, Slot]:  # noqa: FBT001  # as it is parametrized
    """Make a parent that has started a function, which stands in line; its ticket is not sent yet."""
    parent, slot = Parent(), Slot(takes=takes)
    lab = parent.lab
    parent.desk = Desk(lab.client, parent.record, "w", drive=Driver(lab.engine.stepper, lab.messenger, slot))
    spec = TaskEnvironment("driven", client=lab.client).task(noop).spec((), {})
    parent.starts(1, spec=spec)
    parent.hears()
    parent.hears()
    assert lab.messenger.tickets == []
    return parent, slot


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize("takes", [True, False])
def test_the_slot_of_a_function_that_waits_takes_its_ticket(takes: bool) -> None:  # noqa: FBT001  # as it is parametrized
    """What it has started is put into a line; the ticket is taken there, or sent when it cannot be."""
    parent, slot = calling(takes)
    parent.desk.take(ask.Watch(2, [1], limited=False))
    parent.hears()
    assert slot.offered == ["attempts"]
    assert parent.lab.messenger.tickets == ([] if takes else ["attempts"])
    assert slot.waits()
    parent.desk.close()
    assert not slot.waits()


def test_a_function_that_does_not_wait_keeps_its_slot(seconds: list[float]) -> None:
    """It may go on working: the ticket is sent as ever, a few milliseconds later, or when its call ends."""
    parent, slot = calling(takes=True)
    parent.desk.close()
    assert parent.lab.messenger.tickets == ["attempts"]
    parent, slot = calling(takes=True)
    pause = parent.desk.pause()
    assert pause is not None
    seconds[0] += pause - 0.001
    parent.hears()
    assert parent.lab.messenger.tickets == []
    seconds[0] += 0.002
    parent.hears()
    assert (parent.lab.messenger.tickets, slot.offered) == (["attempts"], [])


def reads(parent: Parent, patch: pytest.MonkeyPatch) -> list[int]:
    """Note how many records are read at a time, from now on."""
    found: list[int] = []
    store, read = parent.lab.store, parent.lab.store.get_many
    patch.setattr(store, "get_many", lambda names: (found.append(len(names)), read(names))[1])
    return found


def awaited(parent: Parent, number: int) -> ActionId:
    """Start a leaf that takes an hour, and wait for it; return its name."""
    parent.starts(number, spec=LONG)
    [started] = parent.hears()
    assert isinstance(started, ask.Started)
    parent.desk.take(ask.Watch(100 + number, [number]))
    assert parent.hears() == [ask.Done(100 + number)]
    return ActionId.parse(started.action)


def test_an_end_committed_here_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a child that was stored just now and has not ended: one that is awaited alone costs no reading at all."""
    parent = Parent()
    awaited(parent, 1)
    found = reads(parent, monkeypatch)
    action = awaited(parent, 2)
    assert found == []
    parent.lab.clock.advance(3_600_000)
    parent.lab.engine.stepper.step(shard_of(parent), [action], drain=False)
    [end] = parent.hears()
    assert isinstance(end, ask.End)
    assert (end.number, end.phase, end.document) == (2, ActionPhase.SUCCEEDED, b"{}")
    assert found == []


def test_an_end_committed_elsewhere_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notification says that there is one."""
    parent = Parent()
    awaited(parent, 1)
    found = reads(parent, monkeypatch)
    action = awaited(parent, 2)
    parent.lab.clock.advance(3_600_000)
    Stepper(parent.lab.reconciler, parent.lab.messenger).step(shard_of(parent), [action], drain=False)
    [end] = parent.hears()
    assert isinstance(end, ask.End)
    assert (end.number, found) == (2, [2])
    parent.desk.close()
    assert parent.lab.engine.stepper.followers == {}


def test_an_end_whose_commit_was_not_answered_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while the commit is under way, though it was notified of; then at once."""
    parent = Parent()
    awaited(parent, 1)
    found = reads(parent, monkeypatch)
    action = awaited(parent, 2)
    commit = parent.lab.store.commit

    def not_answered(shard: int, writes: list[Write]) -> None:
        commit(shard, writes)
        assert parent.hears() == []
        parent.told.clear()
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(parent.lab.store, "commit", not_answered)
    parent.lab.clock.advance(3_600_000)
    with pytest.raises(StoreUnavailable):
        parent.lab.engine.stepper.step(shard_of(parent), [action], drain=False)
    assert parent.told.is_set()
    [end] = parent.hears()
    assert isinstance(end, ask.End)
    assert (end.number, found) == (2, [2])


def test_a_child_that_ends_before_it_is_awaited_is_read() -> None:
    """It was stored, and has ended, when its parent asks for it."""
    parent = Parent()
    awaited(parent, 1)
    parent.starts(2)
    parent.hears()
    parent.hears()
    parent.desk.take(ask.Watch(3, [2]))
    end, done = parent.hears()
    assert isinstance(end, ask.End)
    assert (end.number, done) == (2, ask.Done(3))


def shard_of(parent: Parent) -> int:
    """Return the shard of its run."""
    return parent.lab.store.shard_of(parent.record.id.run_id)
