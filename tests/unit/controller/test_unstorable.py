"""A round whose write cannot be encoded spoils no other, and ends (R59)."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.api.phase import ActionPhase
from reconciler.api.transition import LogLink, PhaseInfo, TaskInfo, failure, queued, running, success
from reconciler.plugins.context import TaskExecutionContext
from reconciler.testing import Lab, ScriptedPlugin, check_settled

pytestmark = pytest.mark.rule("R59")
HALF = "x\ud800y"
"""Half of a surrogate pair, as `os.fsdecode` makes them of odd file names. UTF-8 cannot hold it."""


def batch_of(*answers: Any, **settings: Any) -> Lab:
    """Return one action of a plugin that answers so, among three sound ones; all of them are in one batch."""
    lab = Lab([ScriptedPlugin("bad", *answers), ScriptedPlugin("good", success())], shards=1, **settings)
    for kind in ("good", "bad", "good", "good"):
        lab.submit(kind)
    return lab


def ends(lab: Lab) -> list[str]:
    """Return phases of the actions, in the order they came."""
    return [str(lab.get(action).phase) for action in lab.submitted]


def raising(_: TaskExecutionContext) -> PhaseInfo:
    """Return a plugin that repeats what it was told."""
    raise ValueError(HALF)


@pytest.mark.parametrize(
    "bad",
    [
        failure(HALF, "a code"),
        running(0, TaskInfo(logs=(LogLink(HALF, "https://logs"),))),
        running(0, TaskInfo(log_context={"host": HALF})),
    ],
    ids=["code", "link", "context"],
)
def test_one_that_cannot_be_stored_spoils_no_other(bad: PhaseInfo) -> None:
    """The others of its batch are stored in the same step; it fails by itself after the system budget, and says why."""
    lab = batch_of(bad)
    lab.step()
    assert ends(lab) == ["succeeded", "queued", "succeeded", "succeeded"]
    lab.settle()
    assert check_settled(lab) == {ActionPhase.SUCCEEDED: 3, ActionPhase.FAILED: 1}
    found = lab.get(lab.submitted[1]).status
    assert found.error_state is not None
    assert found.error_state.code == "MaxSystemFailuresExceeded"
    assert "surrogates not allowed" in found.error_state.message


@pytest.mark.parametrize(
    ("bad", "phase"),
    [(failure("Bad", HALF), "failed"), (queued(0, 0, HALF), "queued"), (raising, "failed")],
    ids=["message", "reason", "exception"],
)
def test_texts_for_people_are_cleaned(bad: Any, phase: str) -> None:
    """Messages and reasons are stored with a `?` for what no record can hold."""
    lab = batch_of(bad, max_system_failures=1)
    for _ in range(3):
        lab.step()
        lab.clock.advance(60_000)
    assert ends(lab) == ["succeeded", phase, "succeeded", "succeeded"]
    action = lab.submitted[1]
    told = [event.error_info.message if event.error_info else "" for event in lab.events(action)]
    told += [entry.message for event in lab.events(action) for entry in event.cluster_events]
    assert any("x?y" in text for text in told)


def test_units_of_the_lost_round_are_given_back() -> None:
    """What was granted in a round that could not be stored is free at once."""

    def greedy(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.allocate("gpu")
        return failure(HALF, "a code")

    lab = batch_of(greedy, quotas=("gpu=1",))
    lab.step()
    assert ends(lab) == ["succeeded", "queued", "succeeded", "succeeded"]
    assert lab.quotas.held() == []
