"""Rounds that waited for a thread (R2)."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from reconciler.api.phase import ActionPhase
from reconciler.api.transition import running
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R2")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("waited", "handled"), [(0, 1), (29, 1), (31, 0)])
def test_a_round_that_waited_half_its_lease_begins_no_more(waited: int, handled: int) -> None:
    """Another step might take the action before a late round has ended: nothing is called, and it is due again at once."""
    plugin = ScriptedPlugin("demo", running(0), finalizes=False)
    lab = Lab([plugin], shards=1, step_lease=HOUR)
    action = lab.submit("demo")
    [claimed] = lab.store.claim(0, owner="step", limit=1).actions
    stepper = lab.engine.stepper
    write = stepper._handles._in_time(stepper.play, claimed, time.monotonic() - waited * 60)
    stepper.commit(0, [write])
    assert len(plugin.handled) == handled
    assert lab.get(action).phase is (ActionPhase.RUNNING if handled else ActionPhase.QUEUED)
    assert len(lab.events(action)) == 1 + handled
    assert dict(lab.store.due(0))[action] <= lab.clock() or handled
    lab.step()
    assert lab.get(action).phase is ActionPhase.RUNNING
