"""A run name used again once its run is forgotten, as by what is submitted each day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import ActionNotFound, BlobUnavailable, InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.api.template import Identifier, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.client.run import Run
from reconciler.core.paths import shard_prefix
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.base import CreateReport
from reconciler.stores.garbage import Life
from reconciler.sweeps.collect import collect
from reconciler.sweeps.objects import Removed, remove_objects
from reconciler.testing import Lab, ScriptedPlugin

DAY = timedelta(days=1)
DAYS = 10


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Hand the inputs on as outputs."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(ctx.read_inputs())))


def new_lab(**settings: Any) -> Lab:
    """Return a lab whose inputs are too large for the record."""
    return Lab([ScriptedPlugin("task", answer)], inline_limit=1, archive=timedelta(0), **settings)


def nightly(lab: Lab, day: int, name: str = "nightly", **spec: Any) -> tuple[ActionId, str]:
    """Submit, run to its end; returns the action and where its outputs lie."""
    action = lab.submit("task", run_name=name, inputs={"day": day}, **spec)
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED, record.status.error_state
    assert (record.status.attempts, record.status.total_system_failures) == (1, 0)
    assert record.status.outputs is not None
    return action, record.status.outputs.uri


@pytest.mark.parametrize("collects", [False, True], ids=["kept", "collected"])
def test_a_daily_run_of_one_name(*, collects: bool) -> None:
    """Each day's work is done once and each day's result is its own; yesterday's can be read until it is collected."""
    lab = new_lab(collect_objects=collects)
    places: list[str] = []
    for day in range(DAYS):
        action, uri = nightly(lab, day)
        places.append(uri)
        assert msgspec.json.decode(lab.blobs.get(uri)) == {"day": day}
        inputs = lab.get(action).spec.input_uri
        lab.clock.advance(DAY)
        assert collect(lab.store, lab.settings, lab.blobs) == 1
        for before, place in enumerate(places):
            if collects:
                assert lab.blobs.stat(place) is None
            else:
                assert msgspec.json.decode(lab.blobs.get(place)) == {"day": before}
        assert (lab.blobs.stat(f"{inputs}/inputs.pb") is None) is collects
    assert len(set(places)) == DAYS
    assert lab.journal.words.count("handle") == DAYS


def test_what_was_noted_goes_though_the_name_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 is away when yesterday's objects are to go; today's run has the name by then, and loses nothing."""
    lab = new_lab(collect_objects=True)
    action, old = nightly(lab, 1)
    shard = lab.store.shard_of(action.run_id)
    lab.clock.advance(DAY)

    def away(uri: str) -> int:
        raise BlobUnavailable(uri)

    with monkeypatch.context() as patch:
        patch.setattr(lab.blobs, "delete_prefix", away)
        assert collect(lab.store, lab.settings, lab.blobs) == 1
    live = lab.submit("task", run_name="nightly", inputs={"day": 2})
    assert remove_objects(lab.store, lab.blobs, shard) == {Removed.DELETED: 1}
    assert lab.blobs.stat(old) is None
    lab.settle()
    outputs = lab.get(live).status.outputs
    assert outputs is not None
    assert lab.blobs.get(outputs.uri) == b'{"day":2}'
    assert lab.store.garbage(shard) == {}


def test_a_run_forgotten_while_it_is_submitted_again_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was told that it is there, and pauses until it is not, uses no folder whose objects are deleted meanwhile."""
    lab = new_lab(collect_objects=True)
    action, _ = nightly(lab, 1)
    old = lab.get(action).metadata.incarnation
    create = lab.store.create

    def paused(*of: Any, **how: Any) -> CreateReport:
        monkeypatch.undo()
        lab.clock.advance(DAY)
        assert collect(lab.store, lab.settings, lab.blobs) == 1
        return create(*of, **how)

    monkeypatch.setattr(lab.store, "create", paused)
    again, uri = nightly(lab, 1)
    assert lab.get(again).metadata.incarnation != old
    assert lab.blobs.get(uri) == b'{"day":1}'
    assert lab.journal.words.count("handle") == 2


def test_a_note_of_an_ended_run_waits_for_its_own_record() -> None:
    """While the record is there its objects stay, whatever became of the runs of that name before."""
    lab = new_lab(collect_objects=True)
    action, uri = nightly(lab, 1)
    shard, record = lab.store.shard_of(action.run_id), lab.get(action)
    gone = Life(action, "aaaaaaaaaa")
    lab.store.note_garbage(shard, {Life.of(record): (uri.rpartition("/")[0],), gone: ("s3://memory/gone",)})
    assert remove_objects(lab.store, lab.blobs, shard) == {Removed.ALREADY_GONE: 1}
    assert set(lab.store.garbage(shard)) == {Life.of(record)}
    assert lab.blobs.stat(uri) is not None


def test_a_project_may_be_called_like_a_shard() -> None:
    """Collecting one project's run removes nothing of another one, whose objects lay below it in the old layout."""
    lab = new_lab(collect_objects=True)
    shard = shard_prefix("flyte", "run-a0")
    lab.submit("task", run_name="d", project=shard, domain="p", action_name="run", inputs={"day": 1})
    lab.settle()
    lab.clock.advance(DAY)
    _, uri = nightly(lab, 2, name="run", project="p", domain="d")
    assert uri.startswith(f"s3://memory/{shard}/")
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    assert lab.blobs.get(uri) == b'{"day":2}'
    assert len(lab.blobs._objects) == 2, "inputs and outputs of the one that is kept"


def test_objects_of_a_base_of_the_submitter_stay_but_for_our_own() -> None:
    """Outputs in a folder he chose are his; inputs that we stored lie with the run's own objects, and go."""
    lab = new_lab(collect_objects=True)
    action, uri = nightly(lab, 1, run_output_base="s3://memory/mine")
    record = lab.get(action)
    assert record.spec.input_uri.startswith(
        f"s3://memory/_runs/default/development/nightly@{record.metadata.incarnation}/"
    )
    lab.clock.advance(DAY)
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    assert [str(address) for address in lab.blobs._objects] == [uri]


def test_a_spec_that_was_read_begins_a_run_of_its_own() -> None:
    """The default base it carries is that of the run it was read from; submitted as it is, it is the same action."""
    lab = new_lab()
    action, _ = nightly(lab, 1)
    spec = lab.get(action).spec
    assert lab.client.submit(spec).action == action
    again = lab.client.submit(msgspec.structs.replace(spec, run_name="again")).action
    assert lab.get(again).spec.run_output_base.endswith(f"/again@{lab.get(again).metadata.incarnation}")


def test_names_outside_differ_too() -> None:
    """Reservations and units of a quota are never those of an earlier run of the name."""
    lab = Lab([ScriptedPlugin("task", answer)], quotas=("gpu=1",))
    tokens = set()
    for _ in range(2):
        action = lab.submit("task", run_name="nightly", metadata=TaskMetadata())
        record = lab.get(action)
        context = TaskExecutionContext(record, lab.reconciler.services, PluginStateManager())
        tokens.add(context._allocation_token)
        lab.settle()
        lab.clock.advance(DAY)
        collect(lab.store, lab.settings, lab.blobs)
    assert len(tokens) == 2


TEMPLATE = encode_template(TaskTemplate(id=Identifier(name="task"), type="task"))
ASKED: dict[str, Callable[[Run[Any]], Any]] = {
    "phase": lambda run: run.phase,
    "counts": lambda run: run.counts,
    "wait": lambda run: run.wait(0),
    "result": lambda run: run.result(0),
    "outcomes": lambda run: run.outcomes(0),
    "watch": lambda run: list(run.watch(timeout=0)),
    "events": lambda run: run.events(),
    "attempts": lambda run: run.attempts(),
    "prioritize": lambda run: run.prioritize(9),
    "abort": lambda run: run.abort(),
}


def handle(lab: Lab, day: int, name: str = "nightly") -> Run[Any]:
    """Return the handle of a day's run, which has not begun."""
    spec = ActionSpec(run_name=name, task_type="task", task_template=TEMPLATE, inputs=b'{"day":%d}' % day)
    return lab.client.submit(spec)


def handle_of_many(lab: Lab, day: int, name: str = "nightly") -> Run[Any]:
    """Return the handle of a day's group, whose name comes again, too."""
    spec = ActionSpec(task_type="task", task_template=TEMPLATE, inputs=b'{"day":%d}' % day)
    return lab.client.submit_many([spec], run=name)


@pytest.mark.parametrize("submit", [handle, handle_of_many], ids=["one", "many"])
@pytest.mark.parametrize("what", ASKED)
def test_a_handle_is_that_of_its_own_run(what: str, submit: Callable[..., Run[Any]]) -> None:
    """Of a later run of the name it tells nothing, and it aborts nothing of it: its own run is not found any more."""
    lab = new_lab()
    old = submit(lab, 1)
    assert submit(lab, 1).incarnation == old.incarnation, "the same again is the same run"
    lab.settle()
    assert old.phase is ActionPhase.SUCCEEDED
    lab.clock.advance(DAY)
    collect(lab.store, lab.settings, lab.blobs)
    new = submit(lab, 2)
    assert new.incarnation != old.incarnation
    with pytest.raises(ActionNotFound, match="a later run has its name"):
        ASKED[what](old)
    assert lab.get(new.action).metadata.deletion is None
    assert lab.get(new.action).metadata.priority == DEFAULT_PRIORITY
    lab.settle()
    assert ASKED[what](new) is not None


def test_a_name_comes_again_between_two_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that were read of the later run are not handed out, though the record was that of the own run before."""
    lab = new_lab()
    old = handle(lab, 1)
    lab.settle()
    events = type(lab.store).events

    def late(store: Any, action: ActionId, after: int = 0) -> Any:
        monkeypatch.setattr(type(lab.store), "events", events)
        lab.clock.advance(DAY)
        collect(lab.store, lab.settings, lab.blobs)
        handle(lab, 2)
        return events(store, action, after)

    monkeypatch.setattr(type(lab.store), "events", late)
    with pytest.raises(ActionNotFound):
        list(old.watch(timeout=0))


def test_a_key_beside_a_name_is_refused() -> None:
    """A submission has one name: nothing is ignored, so nothing is done twice that a key was to keep from it."""
    lab = new_lab()
    spec = ActionSpec(run_name="monday", task_type="task", task_template=TEMPLATE, inputs=b"{}")
    calls: list[Callable[[], Any]] = [
        lambda: lab.client.submit(spec, idempotency_key="k"),
        lambda: lab.client.submit_many([], run="monday", idempotency_key="k"),
        lambda: lab.client.condition("ok", run="monday", idempotency_key="k"),
    ]
    for call in calls:
        with pytest.raises(InvalidSpec, match="not both"):
            call()
    assert lab.client.runs() == []
