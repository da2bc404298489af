"""`map`: a group that starts its members itself, so many at a time (R90)."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler import NonRetryableError, TaskEnvironment
from reconciler.api.action import ActionSpec
from reconciler.api.errors import ActionAborted, ActionFailed, InvalidSpec, QueueFull
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.client import Run
from reconciler.core.results import Results
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R90")
NAP = ActionSpec(
    task_type="core-sleep",
    task_template=encode_template(
        TaskTemplate(type="core-sleep", interface=Interface(inputs={"duration": "duration"}))
    ),
)
env = TaskEnvironment("windowed")
calls: list[int] = []
broken: set[int] = set()


@env.task(fair_by="key")
def double(key: int, fails: int = -1) -> int:
    """Note the call."""
    calls.append(key)
    if key == fails or key in broken:
        raise NonRetryableError(f"no {key}")
    return 2 * key


@env.task()
def length(text: str) -> int:
    """Measure."""
    return len(text)


@pytest.fixture
def lab() -> Lab:
    """A lab, and no call yet."""
    calls.clear()
    broken.clear()
    env.client = (made := Lab()).client
    return made


def naps(lab: Lab, seconds: Sequence[float], concurrency: int, **options: Any) -> Run[Any]:
    """Submit a map of sleeps."""
    items = [msgspec.json.encode({"duration": each}) for each in seconds]
    return lab.client.submit_map(NAP, items, concurrency=concurrency, **options)


def names(lab: Lab, run: Run[Any]) -> list[str]:
    """Return the members there are."""
    return [one.id.action for one in lab.client.actions(run.id, parent="a0")]


def test_so_many_are_open_at_a_time_and_no_more(lab: Lab) -> None:
    """A member is started for each that ends, in the order of the items."""
    run = naps(lab, [60, 1, 1, 1, 60, 60], concurrency=2)
    lab.step()
    assert names(lab, run) == ["m0", "m1"]
    most = 0
    for _ in range(200):
        lab.step()
        most = max(most, lab.get(run.action).children.open)
        times = [due[0][1] for shard in range(lab.store.shards) if (due := lab.store.due(shard, 1))]
        if not times:
            break
        lab.clock.move_to(min(times))
    assert most == 2
    assert names(lab, run) == [f"m{index}" for index in range(6)]
    assert run.phase is ActionPhase.SUCCEEDED


def test_room_is_filled_when_a_tenth_is_free_and_a_moment_after_any_is(lab: Lab) -> None:
    """Many that end together cost one round; a single one is followed after 200 ms."""
    run = naps(lab, [10] + [1000] * 19 + [1] * 20, concurrency=20)
    lab.step()
    lab.step()
    began = lab.clock()
    while lab.get(run.action).children.total < 21:
        lab.step()
        lab.clock.move_to(min(due[0][1] for n in range(lab.store.shards) if (due := lab.store.due(n, 1))))
        lab.step()
    assert lab.clock() - began == 10_200


@pytest.mark.parametrize("count", [1, 3])
def test_members_whose_creation_was_answered_twice_are_waited_for(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A client of Redis that asks again after a broken connection is told that they exist: they run all the same."""
    run = naps(lab, [60] * count, concurrency=2)
    create = lab.store.create

    def asked_again(actions: Any, **options: Any) -> Any:
        create(actions, **options)
        return create(actions, **options)

    monkeypatch.setattr(lab.store, "create", asked_again)
    lab.settle()
    assert names(lab, run) == [f"m{index}" for index in range(count)]
    assert {lab.get(run.id.action(name)).phase for name in names(lab, run)} == {ActionPhase.SUCCEEDED}
    assert run.phase is ActionPhase.SUCCEEDED


def test_results_are_in_order_and_read_like_a_list(lab: Lab) -> None:
    """Whatever the order of the ends."""
    run = double.map(range(1200), concurrency=700)
    lab.work()
    found = run.result(0)
    assert len(found) == 1200
    assert found[-1] == 2398
    assert found[3:6] == [6, 8, 10]
    assert found == [2 * key for key in range(1200)]
    assert lab.client.run(str(run.id), double).result(0) == found


def test_after_a_failure_no_further_member_is_started(lab: Lab) -> None:
    """What is open runs to its end, then the map fails; `result` raises what the member raised."""
    run = double.map(range(50), concurrency=2, fails=3)
    lab.work()
    assert run.phase is ActionPhase.FAILED
    assert set(calls) <= set(range(6))
    error = lab.get(run.action).status.error_state
    assert error is not None
    assert error.code == "ChildrenFailed"
    assert "were not started" in error.message
    with pytest.raises(ActionFailed, match="no 3"):
        run.result(0)
    outcomes = run.outcomes(0)
    assert list(outcomes[:3]) == [0, 2, 4]
    assert isinstance(outcomes[49], ActionFailed)
    assert "not started" in str(outcomes[49])


@pytest.mark.parametrize("concurrency", [None, 3])
def test_errors_can_be_results(lab: Lab, concurrency: int | None) -> None:
    """With `return_exceptions` all run, and the error stands in its place."""
    run = double.map(range(20), concurrency=concurrency, return_exceptions=True, fails=7)
    lab.work()
    assert run.phase is ActionPhase.SUCCEEDED
    found = run.result(0)
    assert isinstance(found[7], ActionFailed)
    assert [each for each in found if not isinstance(each, ActionFailed)] == [
        2 * key for key in range(20) if key != 7
    ]


def test_kept_failures_raise_when_the_result_is_asked_for(lab: Lab) -> None:
    """As without `concurrency`."""
    run = double.map(range(20), concurrency=3, keep_failures=True, fails=7)
    lab.work()
    assert len(calls) == 20
    with pytest.raises(ActionFailed, match="no 7"):
        run.result(0)


def test_an_abort_reaches_all_and_starts_none(lab: Lab) -> None:
    """What was never started is no action."""
    run = naps(lab, [3600] * 10, concurrency=3)
    lab.step()
    lab.step()
    run.abort("enough")
    lab.settle()
    assert [lab.get(a.id).phase for a in lab.client.actions(run.id)] == [ActionPhase.ABORTED] * 4
    with pytest.raises(ActionAborted):
        run.result(0)


def test_large_items_lie_in_s3(lab: Lab) -> None:
    """The items are one object; a large item goes to S3 again when its member is started."""
    text = "x" * 3 * lab.settings.inline_limit
    run = length.map([text, "short", text + "!"], concurrency=1)
    assert lab.get(run.action).spec.inputs is None
    lab.work()
    assert run.result(0) == [len(text), 5, len(text) + 1]
    large, small = (lab.get(run.id.action(name)).spec for name in ("m0", "m1"))
    assert large.inputs is None
    assert large.input_uri.startswith(lab.blobs.uri("_runs"))
    assert small.inputs is not None


def test_members_are_submitted_as_the_map_was(lab: Lab) -> None:
    """Priority, fair key, labels and the time of the start are those of the submission."""
    items = [msgspec.json.encode({"duration": 0})] * 3
    run = lab.client.submit_map(
        NAP, items, concurrency=1, priority=7, fair_key=["a", "b", "c"], countdown=5, labels={"team": "x"}
    )
    began = lab.clock()
    lab.settle()
    records = list(lab.client.actions(run.id, parent="a0"))
    assert [one.metadata.fair_key for one in records] == ["a", "b", "c"]
    assert {one.metadata.priority for one in records} == {7}
    assert {one.metadata.not_before for one in records} == {began + 5000}
    assert all(one.labels["team"] == "x" for one in records)


@pytest.mark.rule("R78")
def test_a_map_that_is_prioritized_is_so_with_the_members_it_has_still_to_start(lab: Lab) -> None:
    """Most members of a large map are not stored when somebody says that it is urgent."""
    run = double.map(range(6), concurrency=2, priority=3)
    lab.settle(limit=timedelta(0))
    assert run.prioritize(9) == 3
    lab.work()
    assert {one.metadata.priority for one in lab.client.actions(run.id)} == {9}


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "3"])
def test_a_wrong_concurrency_is_refused(lab: Lab, wrong: Any) -> None:
    """Nothing is stored."""
    with pytest.raises(InvalidSpec, match="concurrency must be a whole number from 1"):
        double.map([1], concurrency=wrong)
    assert lab.client.runs() == []


def test_inputs_that_are_no_json_are_refused(lab: Lab) -> None:
    """They are told of before anything is stored."""
    with pytest.raises(InvalidSpec, match="one JSON document"):
        lab.client.submit_map(NAP, [b"{}", b"{"], concurrency=1)
    with pytest.raises(InvalidSpec, match="one JSON document"):
        lab.client.submit_map(NAP, [b"{},{}"], concurrency=1)


def test_a_full_queue_refuses_as_many_as_may_be_open(lab: Lab) -> None:
    """What is not started yet takes no room."""
    lab.client.limit_queue(lab.settings.attempts_queue, 5)
    double.map(range(100), concurrency=5)
    with pytest.raises(QueueFull):
        double.map(range(100), concurrency=6)


def test_the_same_again_is_the_same_run(lab: Lab) -> None:
    """An idempotency key names the submission, here too."""
    first = double.map(range(10), concurrency=2, idempotency_key="nightly")
    lab.work()
    again = double.map(range(10), concurrency=2, idempotency_key="nightly")
    assert again.id == first.id
    lab.work()
    assert again.result(0) == first.result(0)
    assert len(calls) == 10


def test_a_failed_map_can_be_recovered_and_run_again(lab: Lab) -> None:
    """What succeeded is taken over, what failed or was never started is started by the new map; a rerun starts all."""
    broken.add(3)
    run = double.map(range(9), concurrency=2)
    lab.work()
    assert run.phase is ActionPhase.FAILED
    done = set(calls) - {3}
    broken.clear()
    calls.clear()
    again = run.recover()
    lab.work()
    assert set(calls) == set(range(9)) - done
    assert again.result(0) == [2 * key for key in range(9)]
    calls.clear()
    third = run.rerun()
    lab.work()
    assert calls == list(range(9))
    assert third.result(0) == again.result(0)


def test_a_map_that_nobody_can_read_fails(lab: Lab) -> None:
    """With the remedy."""
    action = lab.submit("map", inputs={"expected": 1})
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert "Client.submit_map" in error.message


def test_results_are_read_in_parts_and_some_are_kept() -> None:
    """A part is read when it is asked for; equal parts are not read twice in a row."""
    read: list[tuple[int, int]] = []

    def some(first: int, end: int) -> list[int]:
        read.append((first, end))
        return list(range(first, end))

    results = Results(1100, some)
    assert results[0] == results[499] - 499 == 0
    assert read == [(0, 500)]
    assert sum(results) == sum(range(1100))
    assert read == [(0, 500), (500, 1000), (1000, 1100)]
    with pytest.raises(IndexError, match="there are 1100 results"):
        results[1100]
    assert repr(results) == "<1100 results>"
    assert repr(Results(2, some)) == "[0, 1]"
    assert Results(2, some) == [0, 1]
    assert Results(2, some) != [0, 1, 2]
    assert Results(2, some) != "01"
    many = Results(6000, some)
    assert [many[index] for index in range(0, 6000, 500)] == list(range(0, 6000, 500))


def test_results_do_as_a_list_where_they_can() -> None:
    """Added, copied and pickled they are one; what takes nothing but a list is told how to get it."""
    results = Results(3, lambda first, end: list(range(first, end)))
    more = [3]
    assert results + more == [0, 1, 2, 3]
    assert more + results == [3, 0, 1, 2]
    assert (results + results, list(reversed(results))) == ([0, 1, 2] * 2, [2, 1, 0])
    assert pickle.loads(pickle.dumps(results)) == copy.deepcopy(results) == [0, 1, 2]  # noqa: S301  # our own bytes
    assert (results.index(2), results.count(1), 2 in results) == (2, 1, True)
    with pytest.raises(TypeError, match=r"write list\(results\)"):
        json.dumps(results)
    assert json.dumps(list(results)) == "[0, 1, 2]"
