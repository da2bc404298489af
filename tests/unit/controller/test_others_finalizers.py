"""A record another controller guards, too: ours is put beside its finalizer, which we never touch (R24, R38)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from control_support import FULL, lab_of

from reconciler.api.action import FINALIZER, ActionId, Metadata, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, running, success
from reconciler.plugins.context import TaskExecutionContext


@pytest.mark.rule("R38", "R24")
@pytest.mark.parametrize("aborted", [True, False])
def test_another_controllers_finalizer_is_left_to_it(aborted: bool) -> None:  # noqa: FBT001  # a table
    """A guarded record gets ours before the first handle, is cleaned up, and keeps the other through abort and end."""
    seen: list[tuple[str, ...]] = []

    def look(ctx: TaskExecutionContext) -> PhaseInfo:
        seen.append(lab.get(ctx.action.id).metadata.finalizers)
        return running(0) if aborted else success()

    lab = lab_of(look)
    action = ActionId("default", "development", "run1", "a0")
    meta = Metadata(namespace="flyte", name="run1-a0", finalizers=("other/one",))
    lab.store.create([TaskAction(action, FULL, metadata=meta)])
    lab.reconcile(action)
    assert seen == [("other/one", FINALIZER)]
    if aborted:
        lab.client.abort(action, "enough", "ann")
    lab.settle(timedelta(minutes=1))
    found = lab.get(action)
    assert found.phase is (ActionPhase.ABORTED if aborted else ActionPhase.SUCCEEDED)
    assert found.metadata.finalizers == ("other/one",)
    assert lab.journal.words.count("finalize") == 1
    assert lab.step().claimed == 0
