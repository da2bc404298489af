"""Plugins: other ways to run an attempt than a function. Built in are a sleep, an echo and groups."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.errors import ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, RetryStrategy, TaskMetadata
from reconciler.api.transition import (
    Transition,
    failure,
    queued,
    retryable_failure,
    running,
    success,
)
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry
from reconciler.testing import Lab, ScriptedPlugin


class Countdown(Plugin):
    """Runs for three rounds. What it must remember lies in the record, never in the object."""

    id = "countdown"

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Answer at once; it is called again and again."""
        left = ctx.state.get(int)
        left = 3 if left is None else left
        ctx.state.put(1, left - 1)
        return Transition(running(3 - left) if left else success())


def test_a_plugin_answers_with_a_phase_each_round() -> None:
    """`handle` never waits: it says how it goes, and is asked again."""
    lab = Lab([PluginEntry(id="countdown", task_types=("countdown",), load=Countdown)])
    action = lab.submit("countdown")
    phases = []
    while not lab.get(action).phase.is_terminal():
        lab.reconcile(action)
        phases.append(lab.get(action).phase)
    assert phases == [ActionPhase.RUNNING] * 3 + [ActionPhase.SUCCEEDED]


def test_events_tell_the_story_once() -> None:
    """One event for each change, numbered without gaps, with exactly one final one."""
    lab = Lab([ScriptedPlugin("task", queued(0, 0, "sent"), running(0), running(0), success())])
    action = lab.submit("task")
    lab.settle()
    story = [(e.sequence, e.phase, e.final) for e in lab.events(action)]
    assert story == [
        (1, ActionPhase.QUEUED, False),
        (2, ActionPhase.QUEUED, False),
        (3, ActionPhase.RUNNING, False),
        (4, ActionPhase.SUCCEEDED, True),
    ]


def test_a_retryable_failure_starts_the_next_attempt() -> None:
    """The plugin says that another attempt may help; the retries of the task say how many there are."""
    plugin = ScriptedPlugin("task", retryable_failure("Oops", "try me again"), success())
    lab = Lab([plugin])
    action = lab.submit("task", metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    lab.settle()
    story = [(e.attempt, e.phase, e.final) for e in lab.events(action)][1:]
    assert story == [
        (1, ActionPhase.FAILED, False),
        (2, ActionPhase.QUEUED, False),
        (2, ActionPhase.SUCCEEDED, True),
    ]


def test_a_failure_says_why() -> None:
    """`result` raises with code, kind and message of the failure."""
    lab = Lab([ScriptedPlugin("task", failure("BadInput", "no such key"))])
    action = lab.submit("task")
    lab.settle()
    with pytest.raises(ActionFailed) as failed:
        lab.client.result(action)
    assert (failed.value.code, failed.value.kind, failed.value.message) == ("BadInput", "USER", "no such key")


def test_a_plugin_is_stopped_by_an_abort() -> None:
    """`abort` is called once it works, then `finalize`; the action ends aborted."""
    plugin = ScriptedPlugin("task", running(0))
    lab = Lab([plugin])
    action = lab.submit("task")
    lab.step()
    lab.client.abort(action, "wrong bucket")
    lab.settle()
    assert (len(plugin.aborted), len(plugin.finalized)) == (1, 1)
    assert lab.get(action).phase is ActionPhase.ABORTED


def test_a_sleep_holds_no_worker(lab: Lab) -> None:
    """The built-in sleep is running until its duration has passed."""
    interface = Interface(inputs={"duration": "duration"})
    action = lab.submit("core-sleep", inputs={"duration": 3600}, interface=interface)
    lab.step()
    lab.clock.advance(timedelta(minutes=59))
    lab.step()
    assert lab.get(action).phase is ActionPhase.RUNNING
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_an_echo_copies_its_input(lab: Lab) -> None:
    """The built-in echo writes its one input as its one output."""
    interface = Interface(inputs={"x": "int"}, outputs={"y": "int"})
    action = lab.submit("echo", inputs={"x": 42}, interface=interface)
    lab.settle()
    assert lab.client.result(action) == 42
