"""What a child takes over from its parent, and which labels a submission may have (R75)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from reconciler.api.action import Metadata, RunId, TaskAction
from reconciler.api.errors import ActionNotFound, InvalidSpec
from reconciler.api.transition import success
from reconciler.core.inheritance import inherited
from reconciler.testing import Lab, ScriptedPlugin
from reconciler.testing.scripted import Answer

pytestmark = [pytest.mark.rule("R75"), pytest.mark.rule("R75")]


def family(lab: Lab, parent: Mapping[str, object], child: Mapping[str, object]) -> TaskAction:
    """Submit a parent and a child of it; returns the child's record."""
    first = lab.submit("demo", **parent)
    second = lab.submit("demo", run_name=first.run, action_name="c1", parent_action_name="a0", **child)
    return lab.get(second)


def laboratory(*answers: Answer) -> Lab:
    """Return a lab whose tasks answer like this."""
    return Lab([ScriptedPlugin("demo", *(answers or (success(),)))])


def test_a_child_has_the_environment_of_its_parent() -> None:
    """Variables are taken over; what the child says itself wins, and the parent keeps its own."""
    lab = laboratory()
    child = family(lab, {"env_vars": {"A": "1", "B": "1"}}, {"env_vars": {"B": "2"}})
    assert child.spec.env_vars == {"A": "1", "B": "2"}
    assert lab.get(child.id.run_id.action("a0")).spec.env_vars == {"A": "1", "B": "1"}


@pytest.mark.parametrize(("mine", "expected"), [(None, True), (False, False)])
def test_a_child_is_as_interruptible_as_its_parent(mine: bool | None, expected: bool) -> None:  # noqa: FBT001  # a case
    """Unless it says itself what it is."""
    child = family(laboratory(), {"interruptible": True}, {"interruptible": mine})
    assert child.spec.interruptible is expected


def test_a_child_has_the_labels_of_its_parent_but_not_those_of_its_end() -> None:
    """Its own labels win, and a child of an ended parent is not born collectable."""
    lab = laboratory()
    ended = lab.get(lab.submit("demo"))
    ended.metadata = msgspec.structs.replace(
        ended.metadata, extra_labels={"team": "red", "tier": "1"}, annotations={"note": "x"}, completed_at=5
    )
    child = TaskAction(
        ended.id, ended.spec, metadata=Metadata(namespace="n", name="c", extra_labels={"team": "blue"})
    )
    labels = inherited(child, ended).labels
    assert (labels["team"], labels["tier"]) == ("blue", "1")
    assert "flyte.org/termination-status" not in labels
    assert inherited(child, ended).metadata.annotations == {"note": "x"}


def test_a_child_of_nobody_is_refused() -> None:
    """A parent that does not exist is named."""
    with pytest.raises(ActionNotFound, match="a0"):
        laboratory().submit("demo", run_name="r", action_name="c1", parent_action_name="a0")


def test_the_same_child_again_is_the_same_child() -> None:
    """What was taken over does not make a repetition another spec."""
    lab = laboratory()
    first = family(lab, {"env_vars": {"A": "1"}}, {})
    again = lab.submit("demo", run_name=first.id.run, action_name="c1", parent_action_name="a0")
    assert again == first.id


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({"flyte.org/termination-status": "terminated"}, "reserved"),
        ({"": "x"}, "is not allowed"),
        ({"a:b": "x"}, "is not allowed"),
        ({"a*": "x"}, "is not allowed"),
        ({"team": "x" * 257}, "at most 256 characters"),
        ({"team": "a\nb"}, "printable"),
        ({f"l{n}": "x" for n in range(65)}, "65 labels are given, at most 64"),
    ],
)
def test_labels_are_checked_at_the_door(labels: dict[str, str], why: str) -> None:
    """A reserved, overlong or unreadable label is refused with the rule it breaks, and nothing is stored."""
    lab = laboratory()
    spec = lab.get(lab.submit("demo")).spec
    with pytest.raises(InvalidSpec, match=why):
        lab.client.submit(msgspec.structs.replace(spec, run_name="refused"), labels=labels)
    assert [run.id.run for run in lab.client.runs()] != ["refused"]


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}])
def test_variables_no_process_can_have_are_refused(variables: dict[str, str]) -> None:
    """They would fail each attempt, so they are refused before the first."""
    with pytest.raises(InvalidSpec, match="cannot be set"):
        laboratory().submit("demo", env_vars=variables)


def test_what_was_taken_over_counts_against_the_limits() -> None:
    """A child that is small itself is refused when it is too large with what its parent hands down."""
    lab = laboratory()
    with pytest.raises(InvalidSpec, match="envVars have"):
        family(lab, {"env_vars": {"A": "x" * 20_000}}, {"env_vars": {"B": "x" * 20_000}})


def test_annotations_that_were_taken_over_count_as_well() -> None:
    """They do not pile up from parent to child beyond what one record may carry."""
    lab = laboratory()
    spec = lab.get(lab.submit("demo")).spec
    parent = msgspec.structs.replace(spec, run_name="tree")
    child = msgspec.structs.replace(parent, action_name="a1", parent_action_name="a0")
    lab.client.submit(parent, annotations={"above": "x" * 20_000})
    with pytest.raises(InvalidSpec, match="annotations have"):
        lab.client.submit(child, annotations={"below": "x" * 20_000})
    assert lab.client.counts(RunId.parse("default/development/tree")).total == 1


def test_annotations_are_free_text_up_to_a_limit() -> None:
    """They are kept with the record; what is no text, or too much of it, is refused."""
    lab = laboratory()
    spec = lab.get(lab.submit("demo")).spec
    run = lab.client.submit(msgspec.structs.replace(spec, run_name="noted"), annotations={"why": "a: b"})
    assert lab.get(run.action).metadata.annotations == {"why": "a: b"}
    for wrong in ({"why": 1}, {"why": "x" * 40_000}):
        with pytest.raises(InvalidSpec, match="annotations"):
            lab.client.submit(msgspec.structs.replace(spec, run_name="wrong"), annotations=wrong)  # type: ignore[arg-type]  # the point
