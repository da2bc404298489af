"""Inputs that are too large for a record go to S3 side by side, a few at a time, wherever many are submitted."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import TaskAction
from reconciler.api.errors import ActionNotFound, BlobUnavailable
from reconciler.client.storing import Storing
from reconciler.client.waking import Waker
from reconciler.core.paths import INPUTS_FILE
from reconciler.stores.blobs import PUTS, put_many
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.outputs import read_inputs
from reconciler.testing import Lab

env = TaskEnvironment("large")
MANY = 3 * PUTS
LARGE = "x" * 100_000


@env.task()
def measure(text: str) -> int:
    """Its length."""
    return len(text)


@env.task()
def measure_all(count: int) -> list[int]:
    """The lengths of many texts, by children of one request."""
    return measure.map([f"{number}{LARGE}" for number in range(count)]).result()


class Crowd:
    """Holds each write of large inputs until so many are under way, and counts how many were at once.

    Args:
        least: of them.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._changed = threading.Condition()
        self._open = 0
        self.most = self.all = 0

    def __call__(self, uri: str) -> None:
        """Act after each write."""
        if not uri.endswith(INPUTS_FILE) or "/a0/" in uri:  # what the map itself is given is one object
            return
        with self._changed:
            self._open, self.all = self._open + 1, self.all + 1
            self.most = max(self.most, self._open)
            self._changed.notify_all()
            if self.all <= self._least:
                assert self._changed.wait_for(lambda: self.most >= self._least, 60), "one after the other"
            self._open -= 1


def lab_with(crowd: Callable[[str], None]) -> Lab:
    """Return the engine in memory, its objects watched."""
    lab = Lab()
    lab.blobs.on_write = crowd
    env.client = lab.client
    return lab


DOORS: dict[str, Callable[[], Any]] = {
    "a map": lambda: measure.map([f"{number}{LARGE}" for number in range(MANY)]),
    "a map with a bound": lambda: measure.map(
        [f"{number}{LARGE}" for number in range(MANY)], concurrency=MANY
    ),
    "children": lambda: measure_all.submit((MANY,)),
}


@pytest.mark.rule("R15")
@pytest.mark.parametrize("door", DOORS)
def test_side_by_side(door: str) -> None:
    """A submission, members a map starts itself, children of a function: several writes at once, never too many."""
    crowd = Crowd(PUTS)
    lab = lab_with(crowd)
    run = DOORS[door]()
    lab.work()
    assert run.result() == [len(f"{number}{LARGE}") for number in range(MANY)]
    assert (crowd.most, crowd.all >= MANY) == (PUTS, True)


def test_one_that_is_refused_keeps_no_other_from_being_stored() -> None:
    """Of children with large inputs: one that stands with other code is taken as it is, one without a parent is told."""
    lab = Lab()
    env.client = lab.client
    parent = lab.client.condition("parent", run="family")
    incarnation = lab.client.get(parent.action).metadata.incarnation
    number = itertools.count()

    def child(name: str, above: str = "a0") -> TaskAction:
        spec = measure.spec((f"{next(number)}{LARGE}",), {})
        spec = msgspec.structs.replace(
            spec, run_name="family", action_name=name, parent_action_name=above, run_output_base=""
        )
        action = TaskAction(parent.id.action(name), spec)
        action.set_metadata(incarnation=incarnation)
        return action

    storing = Storing(lab.store, lab.blobs, lab.settings, Waker(lab.messenger))
    assert storing.adopt([child("c1")]) == [None]
    answers = storing.adopt([child("c0"), child("c1"), child("c2", above="nobody"), child("c3")])
    assert [type(answer) for answer in answers] == [type(None), type(None), ActionNotFound, type(None)]
    stored = [name for name in ("c0", "c1", "c2", "c3") if lab.store.get(parent.id.action(name))]
    assert stored == ["c0", "c1", "c3"]
    for name in stored:
        read_inputs(lab.blobs, lab.client.get(parent.id.action(name)).spec)
    assert len([uri for uri in map(str, lab.blobs._objects) if uri.endswith(INPUTS_FILE)]) == 3
    again = storing.adopt([child("c2", above="nobody")])
    assert [type(answer) for answer in again] == [ActionNotFound]


def test_a_server_that_is_away_is_told() -> None:
    """The failure of one is raised; an empty list asks nobody."""

    class Away(MemoryBlobs):
        def put(self, uri: str, data: bytes, *, overwrite: bool = True) -> str:
            del uri, data, overwrite
            raise BlobUnavailable("S3 does not answer; start it")

    with pytest.raises(BlobUnavailable, match="does not answer"):
        put_many(Away(), [(f"s3://memory/{number}", b"") for number in range(100)])
    put_many(Away(), [])


def test_handles_of_a_map_know_its_members_whatever_is_large() -> None:
    """Also where nothing is small enough for a record: what a group is told of its members stays in it."""
    lab = Lab(inline_limit=1)
    env.client = lab.client
    run = measure.map(["a", "bc"])
    while not run.phase.is_terminal():
        lab.work()
        lab.settle()
    assert lab.client.run(run.id, measure).result() == [1, 2]
    again = run.rerun()
    while not again.phase.is_terminal():
        lab.work()
        lab.settle()
    assert again.result() == [1, 2]
