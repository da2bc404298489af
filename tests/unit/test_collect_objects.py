"""What the collector does with objects in S3."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.api.action import ActionId, AttemptOutcome
from reconciler.api.errors import BlobUnavailable
from reconciler.api.template import TaskMetadata
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.archive.layout import run_path
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.garbage import Life
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.sweeps.collect import collect
from reconciler.sweeps.objects import Removed, note_objects, remove_objects
from reconciler.testing import Lab, ScriptedPlugin
from worker.attempts.batch import Batch

pytestmark = pytest.mark.rule("R42")


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Write outputs and succeed."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(b'{"o0":1}')))


def ended(lab: Lab, *, discoverable: bool = False, base: str = "") -> tuple[ActionId, str]:
    """Return an action that has succeeded longer than its retention ago, and where its outputs lie."""
    metadata = TaskMetadata(discoverable=discoverable)
    action = lab.submit("task", metadata=metadata, run_output_base=base, inputs={"x": "x" * 5000})
    lab.settle()
    outputs = lab.get(action).status.outputs
    assert outputs is not None
    lab.clock.advance(timedelta(hours=2))
    return action, outputs.uri


class KilledError(Exception):
    """The collector dies here."""


def new_lab(*, collect_objects: bool = True) -> Lab:
    """Return a lab whose actions write outputs."""
    return Lab([ScriptedPlugin("task", answer)], collect_objects=collect_objects, archive=timedelta(0))


def test_objects_go_with_the_record() -> None:
    """Inputs and outputs of a forgotten action are removed, those of an action that is kept are not."""
    lab = new_lab()
    action, outputs = ended(lab)
    inputs = f"{lab.get(action).spec.input_uri}/inputs.pb"
    kept = lab.submit("task", inputs={"x": "y" * 5000})
    lab.settle()
    assert lab.blobs.stat(inputs) is not None
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    assert lab.blobs.stat(inputs) is None
    assert lab.blobs.stat(outputs) is None
    young = lab.get(kept)
    assert young.status.outputs is not None
    assert lab.blobs.stat(young.status.outputs.uri) is not None
    assert lab.blobs.stat(f"{young.spec.input_uri}/inputs.pb") is not None


def test_objects_stay_unless_asked() -> None:
    """Without the setting nothing is removed."""
    lab = new_lab(collect_objects=False)
    _, outputs = ended(lab)
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    assert lab.blobs.stat(outputs) is not None


@pytest.mark.parametrize(
    ("discoverable", "base"), [(True, ""), (False, "s3://memory/shared")], ids=["cached", "own base"]
)
def test_what_others_may_use_stays(base: str, *, discoverable: bool) -> None:
    """Outputs the catalog may refer to, and folders others may have chosen, outlive the record."""
    lab = new_lab()
    _, outputs = ended(lab, discoverable=discoverable, base=base)
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    assert lab.blobs.stat(outputs) is not None


def test_each_action_has_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed, gone before, and refused by S3 are counted; a name in use again is left alone."""
    lab = new_lab()
    action, outputs = ended(lab)
    shard, now = lab.store.shard_of(action.run_id), lab.store.now()

    def noted() -> None:
        note_objects(lab.store, lab.blobs, shard, before=now, limit=9)

    noted()
    assert remove_objects(lab.store, lab.blobs, shard) == {}
    assert lab.blobs.stat(outputs) is not None
    assert set(lab.store.garbage(shard)) == {Life.of(lab.get(action))}, (
        "another sweep may forget it at this moment"
    )
    notes = lab.store.garbage(shard)
    assert lab.store.collect(shard, before=now, limit=9, noted=True).deleted

    def refuse(uri: str) -> int:
        raise BlobUnavailable(f"S3 refuses to remove {uri}.")

    with monkeypatch.context() as patch:
        patch.setattr(lab.blobs, "delete_prefix", refuse)
        assert remove_objects(lab.store, lab.blobs, shard) == {Removed.FAILED: 1}
    assert remove_objects(lab.store, lab.blobs, shard) == {Removed.DELETED: 1}
    assert remove_objects(lab.store, lab.blobs, shard) == {}
    lab.store.note_garbage(shard, notes)
    assert remove_objects(lab.store, lab.blobs, shard) == {Removed.ALREADY_GONE: 1}


def test_a_collector_may_die_anywhere() -> None:
    """Killed after any of its writes, it leaves no record without its objects, and the next pass leaves no object."""
    deaths = 0
    while True:
        lab = new_lab()
        action, outputs = ended(lab)
        left = deaths

        def die(verb: str, _: object) -> None:
            nonlocal left
            if left == 0:
                raise KilledError(verb)
            left -= 1

        lab.store.on_write = die
        try:
            collect(lab.store, lab.settings, lab.blobs)
        except KilledError:
            lab.store.on_write = None
            if lab.store.get(action) is not None:
                assert lab.blobs.stat(outputs) is not None
            collect(lab.store, lab.settings, lab.blobs)
            deaths += 1
        else:
            break
        assert lab.store.get(action) is None
        assert lab.blobs.stat(outputs) is None
        assert lab.store.garbage(lab.store.shard_of(action.run_id)) == {}
    assert deaths >= 3


class Late(SimpleNamespace):
    """A launch that ends when its action is forgotten: it has written outputs, and was told by no heartbeat."""

    def write(self, _: str) -> None:
        """See `Attempt.write`: done before."""

    def measure(self) -> None:
        """See `Attempt.measure`."""

    def told(self) -> AttemptOutcome:
        """See `Attempt.told`."""
        return AttemptOutcome(ended="returned")

    def times(self) -> tuple[int, int]:
        """See `Attempt.times`."""
        return 0, 0


@pytest.mark.parametrize("superseded", [False, True])
@pytest.mark.parametrize("way", ["forgotten", "archived", "not collected", "away"])
def test_what_a_late_worker_wrote_in_vain_is_left_to_the_collector(way: str, *, superseded: bool) -> None:
    """Its report is refused as its action is gone: what it wrote is noted, unless the archive has it or all objects stay."""
    lab = new_lab(collect_objects=way != "not collected")
    action, outputs = ended(lab)
    record = lab.get(action)
    assert collect(lab.store, lab.settings, lab.blobs) == 1
    lab.blobs.put(outputs, b"late")
    if way == "archived":
        lab.blobs.put(lab.blobs.uri(run_path(action.run_id, record.metadata.incarnation)), b"")
    blobs = Silent(lab.blobs) if way == "away" else lab.blobs
    stepper = lab.engine.stepper
    engine: Any = SimpleNamespace(settings=lab.settings, store=lab.store, blobs=blobs, stepper=stepper)
    telling: Any = SimpleNamespace(ended=lambda *_: None, flush=lambda: None)
    batch = Batch(engine, lab.store.shard_of(action.run_id), "line", "owner", [], telling)
    beat = SimpleNamespace(superseded=superseded)
    late: Any = Late(
        record=record, launch="l", outcome=None, seconds=0.0, beat=beat, taken=False, stepped=False
    )
    batch._ended = [late]
    batch.report()
    collect(lab.store, lab.settings, lab.blobs)
    assert (lab.blobs.stat(outputs) is None) is (way == "forgotten")


class Silent:
    """S3 that does not answer to a look."""

    def __init__(self, blobs: MemoryBlobs) -> None:
        self._blobs = blobs

    def stat(self, uri: str) -> None:
        """Raise."""
        raise BlobUnavailable(uri)

    def __getattr__(self, name: str) -> Any:  # all else
        return getattr(self._blobs, name)
