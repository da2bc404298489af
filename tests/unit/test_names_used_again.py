"""A run name used again once its run is forgotten, as by what is submitted each day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionId
from reconciler.api.errors import BlobUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskMetadata
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.core.paths import shard_prefix
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.doomed import Life
from reconciler.sweeps.collect import collect
from reconciler.sweeps.objects import Removed, remove_objects
from reconciler.testing import Lab, ScriptedPlugin

DAY = timedelta(days=1)
DAYS = 10


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Hand the inputs on as outputs."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(ctx.read_inputs())))


def new_lab(**settings: Any) -> Lab:
    """A lab whose inputs are too large for the record."""
    return Lab([ScriptedPlugin("task", answer)], inline_limit=1, **settings)


def nightly(lab: Lab, day: int, name: str = "nightly", **spec: Any) -> tuple[ActionId, str]:
    """Submit, run to its end; returns the action and where its outputs lie."""
    action = lab.submit("task", run_name=name, inputs={"day": day}, **spec)
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED, record.status.error
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
    assert lab.store.doomed(shard) == {}


def test_a_note_of_an_ended_run_waits_for_its_own_record() -> None:
    """While the record is there its objects stay, whatever became of the runs of that name before."""
    lab = new_lab(collect_objects=True)
    action, uri = nightly(lab, 1)
    shard, record = lab.store.shard_of(action.run_id), lab.get(action)
    gone = Life(action, "aaaaaaaaaa")
    lab.store.doom(shard, {Life.of(record): (uri.rpartition("/")[0],), gone: ("s3://memory/gone",)})
    assert remove_objects(lab.store, lab.blobs, shard) == {Removed.ALREADY_GONE: 1}
    assert set(lab.store.doomed(shard)) == {Life.of(record)}
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
        tokens.add(context._token)
        lab.settle()
        lab.clock.advance(DAY)
        collect(lab.store, lab.settings, lab.blobs)
    assert len(tokens) == 2
