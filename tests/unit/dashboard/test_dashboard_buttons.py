"""The buttons of the pages in Flower: which there are, what they do, and who is noted."""

from __future__ import annotations

import msgspec
import pytest
from board import doubles, offered, tells

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import InvalidInput, NotACondition
from reconciler.testing import Lab
from worker.dashboard import bulk, detail, overview
from worker.dashboard.buttons import ANYBODY, BUTTONS, Asked, press
from worker.dashboard.wanted import Wanted


def test_buttons_fit_the_action(lab: Lab) -> None:
    """Those of a condition, of what is live, and none of what has ended."""
    asked, call = lab.client.condition("ship", "int"), doubles.delay(1)
    lab.step()
    assert offered(lab, asked.action) == ["signal", "abort"]
    assert offered(lab, call.action) == ["prioritize", "abort"]
    [question] = overview.waiting_document(lab.client, read_only=False)["questions"]
    assert (question["action"], question["type"]) == (str(asked.action), "int")
    assert (
        detail.action_page(lab.client, asked.action, read_only=False)["inputs_preview"] is None
    )  # it takes nothing
    answer = press("signal", Asked(lab.client, asked.action, {"value": 7}, "ada"))
    assert answer["outcome"] == "stored"
    press("prioritize", Asked(lab.client, call.action, {"priority": 9}, "ada"))
    assert lab.get(call.action).metadata.priority == 9
    abort = Asked(lab.client, call.action, {"reason": "no need"}, "ada")
    told = [press("abort", abort)["told"] for _ in "12"]
    lab.work()
    told.append(press("abort", abort)["told"])
    assert [words.split(",")[0].split(";")[0] for words in told] == [
        "It is being aborted",
        "It was being aborted already",
        "It had ended before",
    ]
    assert (offered(lab, asked.action), offered(lab, call.action)) == (
        ["rerun"],
        ["recover", "rerun", "fork"],
    )
    assert lab.events(asked.action)[-1].actor == lab.events(call.action)[-1].actor == "ada"
    assert overview.waiting_document(lab.client, read_only=False)["questions"] == []


def test_who_presses_is_noted_with_all_that_changes(lab: Lab) -> None:
    """Priority, abort and the run that is made: who, and that it was by a page."""
    call = doubles.delay(1)
    press("prioritize", Asked(lab.client, call.action, {"priority": 9}, "ada"))
    prioritized = lab.get(call.action).metadata.prioritized
    assert prioritized is not None
    assert (prioritized.actor, prioritized.door) == ("ada", "flower")
    press("abort", Asked(lab.client, call.action, {"reason": "no"}, "ada"))
    lab.work()
    deletion = lab.get(call.action).metadata.deletion
    assert deletion is not None
    assert (deletion.actor, deletion.door) == ("ada", "flower")
    told = detail.action_page(lab.client, call.action, read_only=True)["events_told"]
    assert [one["door"] for one in (told[0], told[-1])] == ["client", "flower"]
    made = press("rerun", Asked(lab.client, call.action, {}, "ada"))
    root = RunId.parse(made["run"]).action("a0")
    assert detail.action_page(lab.client, root, read_only=True)["submitted"] == {
        "actor": "ada",
        "door": "flower",
    }
    assert lab.client.who().door == "client"


def test_without_a_login_nobody_is_named(lab: Lab) -> None:
    """The user whose process Flower is has pressed nothing."""
    call, one = doubles.delay(1), doubles.delay(2)
    lab.step()
    assert press("prioritize", Asked(lab.client, call.action, {"priority": 9}, ""))["by"] == ANYBODY
    press("abort", Asked(lab.client, call.action, {"reason": "no"}, ""))
    asked = bulk.AskedOfAll(query={"name": one.id.run}, count=1, values={"reason": "no"})
    bulk.press_all(lab.client, "abort", asked, "")
    given, deletion = lab.get(call.action).metadata.prioritized, lab.get(call.action).metadata.deletion
    assert given is not None
    assert deletion is not None
    assert (given.actor, given.door) == (deletion.actor, deletion.door) == (ANYBODY, "flower")
    other = lab.get(one.action).metadata.deletion
    assert other is not None
    assert (other.actor, other.door) == (ANYBODY, "flower")


def test_large_inputs_are_edited_too(lab: Lab) -> None:
    """Those that lie in S3 are read when the form is opened, numbers exact; what no form can hold says how it is done."""
    text, number = "x" * 80_000, 2**80 + 1
    first = tells.delay(text, number)
    lab.work()
    assert lab.get(first.action).spec.inputs is None
    [fork] = [
        one
        for one in detail.action_page(lab.client, first.action, read_only=False)["buttons"]
        if one["name"] == "fork"
    ]
    assert fork["fields"][0]["source"] == "editable"
    given = msgspec.json.decode(detail.editable_document(lab.client, first.action)["inputs"])
    assert given == {"text": text, "number": number}
    made = press("fork", Asked(lab.client, first.action, {"inputs": {**given, "number": number + 1}}, "ada"))
    root = RunId.parse(made["run"]).action("a0")
    lab.work()
    assert lab.client.result(root) == f"{number + 1} {len(text)}"
    large = tells.delay("x" * 300_000, 1)
    lab.work()
    with pytest.raises(InvalidInput, match=r"reconciler fork .* --input a0=@inputs\.json"):
        detail.editable_document(lab.client, large.action)


def test_the_form_of_a_fork_names_the_types(lab: Lab) -> None:
    """So that whoever changes its inputs knows what fits."""
    call = doubles.delay(1)
    lab.work()
    [fork] = [
        b
        for b in detail.action_page(lab.client, call.action, read_only=False)["buttons"]
        if b["name"] == "fork"
    ]
    assert [one["hint"] for one in fork["fields"]] == ["n: int"]


def test_a_run_is_made_of_an_ended_one(lab: Lab) -> None:
    """Again as it was, or with other inputs of one action; the page shows what it was made of."""
    run = doubles.map([1, 2])
    lab.work()
    again = press("rerun", Asked(lab.client, run.action, {}, "ada"))
    forked = press("fork", Asked(lab.client, run.id.action("m1"), {"inputs": {"n": 2**60}}, "ada"))
    lab.work()
    assert outputs(lab, again["run"]) == [2, 4]
    assert outputs(lab, forked["run"]) == [2, 2**61]
    page = detail.action_page(lab.client, ActionId.parse(f"{forked['run']}/m1"), read_only=False)
    assert (page["made_by"]["verb"], page["made_by"]["changed"]) == ("fork", True)
    with pytest.raises(InvalidInput, match="inputs"):
        press("fork", Asked(lab.client, run.id.action("m1"), {"inputs": [1]}, "ada"))


def outputs(lab: Lab, run: str) -> list[int]:
    """What the members of a run returned."""
    names = [ActionId.parse(f"{run}/m{n}") for n in range(2)]
    return [msgspec.json.decode(detail.whole_document(lab.client, name, "outputs"))["o0"] for name in names]


def test_a_wrong_press_is_refused(lab: Lab) -> None:
    """Unknown button, missing value, wrong type, no condition: each is a sentence, and nothing happens."""
    call = doubles.delay(1)
    for button, values in (
        ("rob", {}),
        ("abort", {}),
        ("abort", {"reason": " "}),
        ("abort", {"reason": 7}),
        ("prioritize", {"priority": "9"}),
        ("prioritize", {"priority": 99}),
        ("prioritize", {"priority": 9, "reason": "it hurries"}),
        ("abort", {"reason": "no", "cascade": False}),
        ("rerun", {"inputs": {"n": 2}}),
    ):
        with pytest.raises(InvalidInput):
            press(button, Asked(lab.client, call.action, values, "ada"))
    with pytest.raises(NotACondition):
        press("signal", Asked(lab.client, call.action, {"value": True}, "ada"))
    assert lab.get(call.action).metadata.deletion is None
    assert all(button.explains.endswith(".") for button in BUTTONS.values())


def test_what_a_press_does_not_read_is_named(lab: Lab) -> None:
    """With what it reads: a misspelled name would otherwise be taken for one that was left out."""
    call = doubles.delay(1)
    with pytest.raises(
        InvalidInput, match=r"^abort knows no value cascade, raeson, so leave it out: it takes reason$"
    ):
        press("abort", Asked(lab.client, call.action, {"raeson": "no", "cascade": True}, "ada"))
    wanted = Wanted(name="")
    for asked in (
        bulk.AskedOfAll(query={"phase": "queued"}, count=1, values={"reason": "no", "force": True}),
        bulk.AskedOfAll(query={"phase": "queued", "limit": "1"}, count=1, values={"reason": "no"}),
    ):
        assert bulk.count_document(lab.client, "abort", wanted)["count"] == 1
        with pytest.raises(InvalidInput, match=r"knows no value (force|limit), so leave it out: it takes "):
            bulk.press_all(lab.client, "abort", asked, "ada")
    assert lab.get(call.action).metadata.deletion is None
