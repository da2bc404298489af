"""The attempts of an action, told from its events (R60)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionNotFound
from reconciler.api.event import ActionEvent, ClusterEvent, ErrorInfo
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, TaskMetadata, Timeouts
from reconciler.api.transition import (
    CacheStatus,
    LogLink,
    PhaseInfo,
    TaskInfo,
    failure,
    retryable_failure,
    running,
    success,
    waiting_for_resources,
)
from reconciler.core.attempts import AttemptView, PhaseSpan, attempt_view, attempts_of
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R60")
ACTION = ActionId("default", "development", "r", "a0")
QUEUED, RUNNING, FAILED = ActionPhase.QUEUED, ActionPhase.RUNNING, ActionPhase.FAILED
SUCCEEDED, ABORTED = ActionPhase.SUCCEEDED, ActionPhase.ABORTED


def event(sequence: int, phase: ActionPhase, **more: Any) -> ActionEvent:
    """Return an event that happened at 10 times its sequence and was written 3 ms later."""
    at = 10 * sequence
    values = {"updated_time": at, "reported_time": at + 3, **more}
    return ActionEvent(id=ACTION, sequence=sequence, phase=phase, **values)


def test_no_event_tells_of_no_attempt() -> None:
    """Nothing is made up; of an attempt without events only its number is told."""
    assert attempts_of([]) == []
    assert attempt_view(4, []) == AttemptView(attempt=4)
    assert attempt_view(4, []).phase is ActionPhase.UNSPECIFIED


def test_events_are_grouped_by_attempt_in_any_order() -> None:
    """Order and repetition of what is handed over change nothing: the sequence says what came first."""
    told = [
        event(1, QUEUED),
        event(2, RUNNING),
        event(3, FAILED, error_info=ErrorInfo("boom", code="Boom")),
        event(4, QUEUED, attempt=2),
        event(5, SUCCEEDED, attempt=2, final=True),
    ]
    expected = attempts_of(told)
    assert [(a.attempt, a.phase, a.start, a.end) for a in expected] == [
        (1, FAILED, 10, 30),
        (2, SUCCEEDED, 40, 50),
    ]
    assert expected[0].error == ErrorInfo("boom", code="Boom")
    assert expected[1].error is None
    mixed = [*told, *told]
    random.Random(29).shuffle(mixed)
    assert attempts_of(mixed) == expected


def test_the_earliest_terminal_event_decides() -> None:
    """What comes after the end of an attempt changes neither phase nor error, outputs, cache, cluster or time."""
    end = event(
        2, SUCCEEDED, cluster="east", output_prefix="s3://b/1", cache_status=CacheStatus.POPULATED, final=True
    )
    late = event(
        3,
        ABORTED,
        cluster="west",
        output_prefix="s3://b/2",
        cache_status=CacheStatus.MISS,
        error_info=ErrorInfo("too late"),
    )
    view = attempt_view(1, [event(1, QUEUED), end, late])
    assert (view.phase, view.error, view.cluster, view.end) == (SUCCEEDED, None, "east", 20)
    assert view.cache_status is CacheStatus.POPULATED
    assert view.outputs == end.outputs
    assert [span.phase for span in view.phases] == [QUEUED, SUCCEEDED]


def test_without_an_end_the_last_event_decides() -> None:
    """An attempt that goes on has the phase, cache status and cluster of its last event, and no end."""
    view = attempt_view(
        1,
        [event(1, QUEUED, cluster="east"), event(2, RUNNING, cluster="west", cache_status=CacheStatus.MISS)],
    )
    assert (view.phase, view.cluster, view.start, view.end) == (RUNNING, "west", 10, 0)
    assert view.cache_status is CacheStatus.MISS


def test_the_newest_place_of_outputs_is_taken_when_the_end_names_none() -> None:
    """An end that knows no folder does not hide the folder of the launch before it."""
    told = [event(1, RUNNING, output_prefix="s3://b/1"), event(2, RUNNING, output_prefix="s3://b/1-1")]
    view = attempt_view(1, [*told, event(3, FAILED)])
    assert view.outputs == told[1].outputs


@pytest.mark.parametrize(("asked", "end"), [(5, 10), (10, 10), (25, 25)])
def test_an_attempt_never_ends_before_it_began(asked: int, end: int) -> None:
    """An end whose time lies before the start, as of an abort that was asked for early, counts as the start."""
    view = attempt_view(1, [event(1, QUEUED), event(3, ABORTED, updated_time=asked)])
    assert (view.start, view.end) == (10, end)


def test_logs_are_joined_by_name() -> None:
    """Every log that was ever named is there once, sorted, with its newest address."""
    told = [
        event(1, RUNNING, log_info=(LogLink("spark", "old"), LogLink("log", "a"))),
        event(2, RUNNING, version=1, log_info=(LogLink("spark", "new"),)),
        event(3, SUCCEEDED, log_info=(LogLink("driver", "d"),)),
    ]
    assert attempt_view(1, told).logs == (
        LogLink("driver", "d"),
        LogLink("log", "a"),
        LogLink("spark", "new"),
    )


def test_the_newest_log_context_stays() -> None:
    """An event without a log context does not hide the one before."""
    told = [
        event(1, RUNNING, log_context={"worker": "w1"}),
        event(2, RUNNING, log_context={"worker": "w2"}),
        event(3, SUCCEEDED),
    ]
    assert attempt_view(1, told).log_context == {"worker": "w2"}
    assert attempt_view(1, told[2:]).log_context is None


def test_reasons_follow_each_other() -> None:
    """All reasons are there, in the order of their events."""
    told = [
        event(1, QUEUED, cluster_events=(ClusterEvent("in line", 1), ClusterEvent("still", 2))),
        event(2, RUNNING, cluster_events=(ClusterEvent("go", 3),)),
    ]
    assert [reason.message for reason in attempt_view(1, told).reasons] == ["in line", "still", "go"]


def test_each_phase_lasts_until_the_next_one() -> None:
    """The first time of each phase counts; a terminal phase takes no time, and nothing comes after it."""
    told = [event(1, QUEUED), event(2, RUNNING), event(3, QUEUED), event(4, RUNNING), event(5, FAILED)]
    spans = (PhaseSpan(QUEUED, 13, 23), PhaseSpan(RUNNING, 23, 53), PhaseSpan(FAILED, 53, 53))
    assert attempt_view(1, told).phases == spans
    assert attempt_view(1, [*told, event(6, RUNNING)]).phases == spans
    assert attempt_view(1, told[:2]).phases == (PhaseSpan(QUEUED, 13, 23), PhaseSpan(RUNNING, 23))


def test_a_suspension_lasts_until_the_next_event() -> None:
    """Of one that lasts nothing is known yet; each other one counts."""

    def away(sequence: int) -> ActionEvent:
        return event(sequence, RUNNING, cluster_events=(ClusterEvent("suspended; waits for b", 0),))

    told = [event(1, RUNNING), away(2), event(4, RUNNING), away(5), event(9, SUCCEEDED)]
    assert [attempt_view(1, told[:many]).suspended for many in (1, 2, 3, 4, 5)] == [0, 0, 20, 20, 60]


# -- told by the engine ----------------------------------------------------------------------------------------------


def test_a_client_tells_the_story_of_an_action() -> None:
    """Times in phases, errors and logs of each attempt, from what the engine published."""

    def waits(ctx: Any) -> PhaseInfo:
        return waiting_for_resources(ctx.now, 0, "no unit is free")

    logs = TaskInfo(logs=(LogLink("log", "s3://b/log"),))
    plugin = ScriptedPlugin("demo", waits, running(0), retryable_failure("Boom", "no luck", logs), success())
    lab = Lab([plugin])
    policy = TaskMetadata(retries=RetryStrategy(retries=1, backoff=timedelta(minutes=1)))
    began = lab.clock()
    action = lab.submit("demo", metadata=policy)
    for _ in range(3):
        lab.reconcile(action)
        lab.clock.advance(timedelta(seconds=5))
    lab.settle()
    first, second = lab.client.attempts(action)
    assert (first.phase, first.start, first.end) == (FAILED, began, began + 10_000)
    assert first.error == ErrorInfo("no luck", "KIND_USER", "Boom")
    assert [(str(p.phase), p.end - p.start) for p in first.phases] == [
        ("queued", 0),
        ("waiting_for_resources", 5000),
        ("running", 5000),
        ("failed", 0),
    ]
    assert first.logs == (LogLink("log", "s3://b/log"),)
    assert (second.phase, second.start, second.error) == (SUCCEEDED, began + 10_000, None)
    assert second.end - second.start >= 60_000


def test_an_action_whose_events_are_forgotten_still_has_a_number() -> None:
    """The record knows its attempt when the channel has been trimmed; an unknown action is an error."""
    lab = Lab([ScriptedPlugin("demo", running(0))])
    action = lab.submit("demo")
    lab.reconcile(action)
    lab.clock.advance(timedelta(days=3))
    lab.store.trim_events(lab.clock())
    assert lab.client.attempts(action) == [AttemptView(attempt=1)]
    with pytest.raises(ActionNotFound):
        lab.client.attempts(ActionId("default", "development", "nobody", "a0"))


def _abort(lab: Lab, action: ActionId) -> None:
    lab.client.abort(action, "enough")


def _nothing(lab: Lab, action: ActionId) -> None:
    del lab, action


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("answers", "meanwhile"),
    [
        ([success()], _nothing),
        ([running(0), failure("Bad", "wrong")], _nothing),
        ([running(0), retryable_failure("Boom", "no luck")], _nothing),
        ([running(0), ConnectionError("down")], _nothing),
        ([running(0)], _abort),
        ([running(0)], _nothing),
    ],
    ids=["succeeds", "fails", "retries", "system", "aborted", "times out"],
)
def test_the_last_attempt_is_where_the_record_is(
    answers: list[Any], meanwhile: Callable[[Lab, ActionId], None]
) -> None:
    """Events and record say one thing: after every round the last attempt has number and phase of the record."""
    lab = Lab([ScriptedPlugin("demo", *answers)])
    policy = TaskMetadata(retries=RetryStrategy(retries=2), timeouts=Timeouts(running=timedelta(minutes=5)))
    action = lab.submit("demo", metadata=policy)
    for number in range(120):
        record = lab.get(action)
        last = lab.client.attempts(action)[-1]
        assert (last.attempt, last.phase) == (max(record.status.attempts, 1), record.phase)
        if number == 2:
            meanwhile(lab, action)
        lab.step()
        lab.clock.advance(timedelta(seconds=10))
    assert lab.get(action).phase.is_terminal()
