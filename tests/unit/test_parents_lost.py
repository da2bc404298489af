"""Functions that start others and lose their worker again and again: who gets on between two losses is not given up."""

from __future__ import annotations

import pytest

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.attempt import SUSPENDED, AttemptOutcome
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.children import requests as ask
from reconciler.children.desk import Desk
from reconciler.environment import TaskEnvironment
from reconciler.plugins.sleep import TASK_TYPE
from reconciler.stores.base import Finished
from reconciler.testing import Lab

env = TaskEnvironment("lost")
LEASE = 6_000
LOSSES = 8
"""More than an action survives in a row, fewer than in its life."""

pytestmark = pytest.mark.rule("R27")


CHILD = ActionSpec(
    task_type=TASK_TYPE,
    task_template=encode_template(
        TaskTemplate(type=TASK_TYPE, interface=Interface(inputs={"duration": "duration"}))
    ),
    inputs=b'{"duration":3600}',
    short_name="child",
)


@env.task()
def parent() -> None:
    """Be played by the test."""


class Parent:
    """A function whose worker is lost in each of its launches."""

    def __init__(self) -> None:
        self.lab = Lab()
        env.client = self.lab.client
        self.action: ActionId = parent.delay().action

    def loses_its_worker(self, started: int) -> None:
        """Launch it, let it start so many children or find them, and lose its worker."""
        desk = Desk(self.lab.client, self._drawn(), "w")
        for number in range(1, started + 1):
            desk.take(ask.Start(number=number, spec=CHILD, asked=number))
        desk.work()
        desk.close()
        self.lab.clock.advance(LEASE + 1)
        self.lab.reconcile(self.action)

    def is_suspended(self) -> None:
        """Launch it, let it wait for its first child, and end that."""
        record = self._drawn()
        (child, *_) = self.lab.client.actions(self.action.run_id, parent=self.action.action)
        outcome = AttemptOutcome(ended=SUSPENDED, waits=(child.id.action,), waits_for=1)
        shard = self.lab.store.shard_of(self.action.run_id)
        self.lab.store.finish_attempts(shard, "w", [Finished(record.id, record.attempt.launch, outcome)])
        self.lab.reconcile(self.action)
        self.lab.client.abort(child.id, "so that it ends")
        self.lab.step()

    @property
    def phase(self) -> ActionPhase:
        """Return its phase."""
        return self.lab.get(self.action).phase

    def _drawn(self) -> TaskAction:
        store, shard = self.lab.store, self.lab.store.shard_of(self.action.run_id)
        while not (line := store.turn(self.action).line):
            assert not self.phase.is_terminal(), self.lab.get(self.action).status.error_state
            self.lab.clock.advance(1_000)
            self.lab.reconcile(self.action)
        (record,) = store.draw(shard, line, owner="w", limit=1, lease=LEASE).actions
        return record


def test_who_starts_more_each_time_gets_on() -> None:
    """A function that awaits one child after the other, killed at another of them each time."""
    found = Parent()
    for number in range(LOSSES):
        found.loses_its_worker(started=number + 1)
        status = found.lab.get(found.action).status
        assert (status.system_failures, status.total_system_failures) == (1, number + 1)


def test_who_starts_the_same_each_time_is_given_up() -> None:
    """It may be what kills its worker."""
    found = Parent()
    losses = 0
    while not found.phase.is_terminal():
        found.loses_its_worker(started=3)
        losses += 1
    assert (losses, found.phase) == (4, ActionPhase.FAILED)


def test_who_is_suspended_in_between_gets_on() -> None:
    """It has started all its children, and is killed while it waits for them, again and again."""
    found = Parent()
    for _ in range(LOSSES // 2):
        found.loses_its_worker(started=3)
        found.loses_its_worker(started=3)
        found.is_suspended()
    status = found.lab.get(found.action).status
    assert (status.system_failures, status.total_system_failures) == (0, LOSSES)
