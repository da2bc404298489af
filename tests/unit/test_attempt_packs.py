"""Packs: which outputs share an object, how a part of one is named, and who removes it."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from reconciler import Cache, TaskEnvironment
from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.errors import InvalidSpec
from reconciler.archive.folders import folders_of
from reconciler.client.door import Door
from reconciler.core.layout import Part, packs_folder, read_part, run_folder
from reconciler.settings import Settings
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.attempts.packs import LARGEST, parcels_of

PACK = "s3://memory/_runs/p/d/r@i/a0/packs/" + "0" * 32
env = TaskEnvironment("packs")


@env.task
def double(n: int) -> int:
    """Double."""
    return 2 * n


@env.task(cache=Cache(version="1"))
def known(n: int) -> int:
    """Double, or remember."""
    return 2 * n


@env.task(cache=Cache(version="1"))
def doubles(count: int) -> int:
    """Start calls, and add up what they give."""
    return sum(double.map(list(range(count))).result())


@pytest.fixture
def lab() -> Lab:
    """An installation in which objects go with their actions."""
    made = Lab(collect_objects=True, archive=timedelta(0))
    env.client = made.client
    return made


# -- names -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("part", [Part(PACK, 0, 1), Part(PACK, 17, 999_999_999)])
def test_a_part_is_read_as_it_was_written(part: Part) -> None:
    """The URI of a part names the pack, and the first byte and the size in it."""
    assert read_part(str(part)) == part


@pytest.mark.parametrize(
    "uri",
    [
        PACK,
        f"{PACK}#0+0",
        f"{PACK}#0+01",
        f"{PACK}#-1+1",
        f"{PACK}#0-1",
        f"{PACK}#0+1000000000",
        f"{PACK}#1000000000+1",
        f"{PACK}#0+1\n",
        f"{PACK}#0+1#0+1",
        f"{PACK}# 0+1",
        f"{PACK}#٣+1",
        f"{PACK}/inputs.pb#0+1",
        f"{PACK}0#0+1",
        f"{PACK[:-1]}A#0+1",
        f"{PACK.replace('r@i', 'r')}#0+1",
        f"{PACK.replace('_runs', 'runs')}#0+1",
        f"{PACK.replace('packs', 'inputs')}#0+1",
        f"{PACK.replace('s3:', 'file:')}#0+1",
    ],
)
def test_no_other_name_is_a_part(uri: str) -> None:
    """A range has one spelling, and stands behind the name of a pack only."""
    assert read_part(uri) is None


@pytest.mark.parametrize("field", ["input_uri", "run_output_base"])
def test_no_submission_names_a_part(field: str) -> None:
    """A place a submitter gives is no part of what others wrote."""
    spec = ActionSpec(
        run_name="r",
        project="p",
        domain="d",
        action_name="a0",
        task_type="echo",
        task_template=b"{}",
        input_uri="s3://memory/in",
    )
    door = Door(Settings(), "memory")
    door.check(ActionId("p", "d", "r", "a0"), spec)
    with pytest.raises(InvalidSpec, match="holds one of"):
        door.check(ActionId("p", "d", "r", "a0"), msgspec.structs.replace(spec, **{field: f"{PACK}#0+1"}))


# -- who shares one ----------------------------------------------------------------------------------------------------
class Ended:
    """A launch that has ended with these outputs."""

    def __init__(self, record: TaskAction, outputs: bytes | None, text: str = "") -> None:
        self.record = record
        self._outputs = outputs
        self._text = text

    def object(self) -> tuple[str, bytes] | None:
        """See `Attempt.object`."""
        return None if self._outputs is None else (f"s3://memory/{self.record.id}", self._outputs)

    def has_text(self) -> bool:
        """See `Attempt.has_text`."""
        return bool(self._text)


def parcelled(lab: Lab, ended: list[Ended], packs: int = 1024) -> list[tuple[str, bytes, int]]:
    """Return URI, bytes and number of outputs of each object."""
    engine: Any = SimpleNamespace(
        settings=msgspec.structs.replace(lab.settings, pack_outputs=packs), blobs=lab.blobs
    )
    found: Any = ended
    return [(one.uri, one.data, len(one.parts)) for one in parcels_of(engine, found)]


def members(lab: Lab, count: int = 3, task: Any = double) -> list[TaskAction]:
    """Return calls of one map."""
    run = task.map(list(range(count)))
    return [lab.get(run.id.action(f"m{index}")) for index in range(count)]


def test_small_outputs_of_siblings_share_an_object(lab: Lab) -> None:
    """One object for each parent, in its folder; each output is named by its range."""
    some, others = members(lab), members(lab, 2)
    found = parcelled(lab, [Ended(record, b"%d" % n * n) for n, record in enumerate([*some, *others], 1)])
    assert [(data, count) for _, data, count in found] == [(b"122333", 3), (b"444455555", 2)]
    for (uri, _, _), record in zip(found, (some[0], others[0]), strict=True):
        own = lab.blobs.uri(run_folder(record.id.run_id, record.metadata.incarnation))
        assert uri.startswith(packs_folder(own, "a0") + "/")
        assert read_part(f"{uri}#0+1") is not None


def test_a_full_pack_is_followed_by_another(lab: Lab) -> None:
    """No pack is larger than what is created the quick way."""
    size = LARGEST // 2
    found = parcelled(lab, [Ended(record, b"x" * size) for record in members(lab, 5)], packs=size)
    assert [(len(data), count) for _, data, count in found] == [
        (2 * size, 2),
        (2 * size, 2),
        (size, 1),
    ]


def test_who_has_an_object_of_its_own(lab: Lab) -> None:
    """What is cached, large, has a log, is no child, lies elsewhere or ran alone; and everybody, unless it is asked for."""
    first, second, third = members(lab)
    root = lab.get(double.delay(1).action)
    third.spec = msgspec.structs.replace(third.spec, run_output_base="s3://memory/chosen")
    alone = [
        Ended(first, b"1"),
        Ended(second, b"1" * 1025),
        Ended(second, b"1", "a log"),
        Ended(third, b"1"),
        Ended(root, b"1"),
        *(Ended(record, b"1") for record in members(lab, 2, known)),
    ]
    found = parcelled(lab, [*alone, Ended(root, None)])
    assert sorted((uri, count) for uri, _, count in found) == sorted(
        (f"s3://memory/{one.record.id}", 1) for one in alone
    )
    siblings = [Ended(record, b"1") for record in (first, second)]
    assert [count for *_, count in parcelled(lab, siblings)] == [2]
    assert [count for *_, count in parcelled(lab, siblings, packs=0)] == [1, 1]


# -- who removes one ---------------------------------------------------------------------------------------------------
def test_a_cached_parent_gives_up_its_packs_alone(lab: Lab) -> None:
    """Its outputs stay, as the cache serves them; what its children shared goes with it. One without children has none."""
    action = doubles.delay(2).action
    single = known.delay(1).action
    lab.work()
    lab.settle()
    while not lab.get(action).phase.is_terminal():
        lab.work()
        lab.settle()
    record = lab.get(action)
    own = lab.blobs.uri(run_folder(action.run_id, record.metadata.incarnation))
    folder = packs_folder(own, action.action)
    assert folders_of(lab.blobs, record) == (folder,)
    assert folders_of(lab.blobs, lab.get(single)) == ()
    lab.blobs.put(f"{folder}/{'0' * 32}", b"12")
    outputs = record.status.outputs
    assert outputs is not None
    lab.clock.advance(timedelta(hours=2))
    while collect(lab.store, lab.settings, lab.blobs):
        pass
    assert lab.store.get(action) is None
    assert lab.blobs.stat(f"{folder}/{'0' * 32}") is None
    assert lab.blobs.stat(outputs.uri) is not None
