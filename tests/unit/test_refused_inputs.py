"""A submission that is refused leaves nothing in S3, however it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.errors import ActionConflict, ActionNotFound, InvalidName, InvalidSpec, StoreUnavailable
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.api.transition import running, success
from reconciler.client import Client
from reconciler.stores.base import CreateReport
from reconciler.testing import Lab, ScriptedPlugin

TEMPLATE = encode_template(TaskTemplate(type="task"))
LARGE = msgspec.json.encode({"x": "y" * 50_000})
OTHER = msgspec.json.encode({"x": "z" * 50_000})


def spec(**fields: Any) -> ActionSpec:
    """Return a submission with large inputs."""
    return ActionSpec(**{"task_type": "task", "task_template": TEMPLATE, "inputs": LARGE, **fields})


def new_lab() -> Lab:
    """Return a lab whose tasks never end by themselves."""
    return Lab([ScriptedPlugin("task", running(0))])


REFUSED: dict[str, tuple[Callable[[Client], object], type[Exception]]] = {
    "unknown parent": (
        lambda c: c.submit(spec(run_name="r", action_name="b", parent_action_name="nobody")),
        ActionNotFound,
    ),
    "labels": (lambda c: c.submit(spec(), labels={"flyte.org/mine": "x"}), InvalidSpec),
    "annotations": (lambda c: c.submit(spec(), annotations={"x": "y" * 40_000}), InvalidSpec),
    "conflict": (lambda c: c.submit(spec(run_name="taken", inputs=OTHER)), ActionConflict),
    "conflict of a child": (
        lambda c: c.submit(spec(run_name="taken", action_name="c", parent_action_name="a0", inputs=OTHER)),
        ActionConflict,
    ),
    "a bad member": (lambda c: c.submit_many([spec(), spec(short_name="x" * 64)]), InvalidSpec),
    "a bad member's name": (lambda c: c.submit_many([spec(), spec()], run="a/b"), InvalidName),
    "labels of many": (lambda c: c.submit_many([spec(), spec()], labels={"": "x"}), InvalidSpec),
    "a conflict of many": (lambda c: c.submit_many([spec(), spec()], run="taken"), ActionConflict),
    "a base that is ours": (lambda c: c.submit(spec(run_output_base="s3://memory/_runs/x")), InvalidSpec),
    "too large": (lambda c: c.submit_many([spec(), spec(inputs=b"x" * 70_000_000)]), InvalidSpec),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_submission_leaves_nothing(why: str) -> None:
    """Neither the inputs of whoever is refused nor those of the others of a group are stored."""
    lab = new_lab()
    lab.client.submit(spec(run_name="taken"))
    lab.client.submit(spec(run_name="taken", action_name="c", parent_action_name="a0"))
    before = dict(lab.blobs._objects)
    call, error = REFUSED[why]
    with pytest.raises(error):
        call(lab.client)
    assert lab.blobs._objects == before


def test_an_ended_parent_refuses_before_anything_is_stored() -> None:
    """Its child is not accepted, and its inputs are stored nowhere."""
    lab = Lab([ScriptedPlugin("task", success())])
    lab.run(spec(run_name="r"))
    lab.settle()
    before = dict(lab.blobs._objects)
    with pytest.raises(InvalidSpec, match="has ended"):
        lab.client.submit(spec(run_name="r", action_name="b", parent_action_name="a0"))
    assert lab.blobs._objects == before


def test_the_same_again_stores_nothing_twice() -> None:
    """A submission that is repeated finds its action, one by one or as a group, and writes nothing."""
    lab = new_lab()
    run = lab.client.submit(spec(), idempotency_key="one").action
    many = [spec(), spec(inputs=OTHER)]
    lab.client.submit_many(many, run="many")
    before = dict(lab.blobs._objects)
    lab.blobs.on_write = pytest.fail
    assert lab.client.submit(spec(), idempotency_key="one").action == run
    lab.client.submit_many(many, run="many")
    assert lab.blobs._objects == before


def racing(lab: Lab, meanwhile: Callable[[], object]) -> None:
    """Let something happen between the question and the record."""
    asked, once = lab.store.create, [meanwhile]

    def create(actions: list[TaskAction], **how: Any) -> CreateReport:
        if once:
            once.pop()()
        return asked(actions, **how)

    lab.store.create = create  # type: ignore[method-assign]  # the race


def test_a_race_leaves_the_winners_objects_alone() -> None:
    """Of two with other inputs the second is refused, and his alone are removed; with the same inputs both are accepted."""
    lab = new_lab()
    racing(lab, lambda: lab.client.submit(spec(run_name="r", inputs=OTHER)))
    with pytest.raises(ActionConflict):
        lab.client.submit(spec(run_name="r"))
    (address,) = lab.blobs._objects
    record = lab.client.get(lab.client.runs()[0].id.action("a0"))
    assert str(address) == f"{record.spec.input_uri}/inputs.pb"

    lab = new_lab()
    racing(lab, lambda: lab.client.submit(spec(run_name="r")))
    action = lab.client.submit(spec(run_name="r")).action
    (address,) = lab.blobs._objects
    assert str(address) == f"{lab.get(action).spec.input_uri}/inputs.pb"


def test_what_cannot_be_taken_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away when inputs are to be removed changes nothing of the refusal."""
    lab = new_lab()
    racing(lab, lambda: lab.client.submit(spec(run_name="r", inputs=OTHER)))

    def away(_: object) -> None:
        raise StoreUnavailable("the store is away")

    monkeypatch.setattr(lab.store, "get_many", away)
    with pytest.raises(ActionConflict):
        lab.client.submit(spec(run_name="r"))
    assert len(lab.blobs._objects) == 2


def test_a_run_that_is_never_the_same_is_given_up() -> None:
    """A store that names another incarnation each time is told to the caller instead of being asked for ever."""
    lab = new_lab()
    first = lab.client.submit(spec(run_name="r", inputs=b"{}"))
    told = iter("abcdefgh")
    wrong = lab.store.create

    def create(actions: list[TaskAction], **how: Any) -> CreateReport:
        report = wrong(actions, **how)
        others = tuple(msgspec.structs.replace(one, incarnation=next(told)) for one in report.outcomes)
        return msgspec.structs.replace(report, outcomes=others)

    lab.store.create = create  # type: ignore[method-assign]  # never the same
    with pytest.raises(StoreUnavailable, match="made anew"):
        lab.client.submit(spec(run_name="r", inputs=b"{}"))
    assert lab.get(first.action).version == 1
