"""The questions to people in the pages of Flower: where they are seen, what they say, how they are answered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.action import ActionSpec, RunId, TaskAction
from reconciler.api.errors import InvalidInput
from reconciler.testing import Lab
from worker.dashboard import detail, overview
from worker.dashboard.buttons import Asked, press


def test_a_question_is_seen_however_old_its_run_is(lab: Lab) -> None:
    """Also below thousands of newer runs; of many questions the newest are shown, and all are counted."""
    old = lab.client.condition("old", "int")
    lab.step()
    lab.clock.advance(timedelta(minutes=1))
    newer = [RunId("p", "d", f"r{n}").action("a0") for n in range(2100)]
    lab.store.create([TaskAction(action, ActionSpec(task_type="core-sleep")) for action in newer])
    found = overview.waiting_document(lab.client, read_only=False)
    assert [one["action"] for one in found["questions"]] == [str(old.action)]
    assert (found["waiting"], found["complete"]) == (1, True)
    for n in range(250):
        lab.client.condition(f"q{n}")
    lab.clock.advance(timedelta(seconds=1))
    lab.step()
    found = overview.waiting_document(lab.client, read_only=True)
    assert (len(found["questions"]), found["waiting"]) == (200, 251)
    assert found["questions"][0]["buttons"] == []


def test_the_inbox_tells_until_when_a_question_waits(lab: Lab) -> None:
    """0 of one without a limit."""
    limited = lab.client.condition("soon", "str", timeout=timedelta(hours=1))
    lab.client.condition("ever", "str")
    lab.work(limit=timedelta(seconds=1))
    until = {
        one["name"]: one["until"]
        for one in overview.waiting_document(lab.client, read_only=True)["questions"]
    }
    assert until == {"ever": 0, "soon": lab.get(limited.action).metadata.creation_timestamp + 3_600_000}


@pytest.mark.parametrize(
    ("kind", "words", "field"),
    [
        ("bool", "yes or no", "bool"),
        ("int", "a whole number", "int"),
        ("float", "a number", "float"),
        ("str", "a text", "text"),
    ],
)
def test_a_question_says_in_words_what_it_asks_for(lab: Lab, kind: str, words: str, field: str) -> None:
    """Where it waits, why it waits, and in its form, which is one of its kind."""
    run = lab.client.condition("ask", kind, prompt="Well?")
    lab.step()
    [question] = overview.waiting_document(lab.client, read_only=False)["questions"]
    page = detail.action_page(lab.client, run.action, read_only=False)
    assert (question["type"], question["asks_for"]) == (kind, words)
    assert page["question"]["asks_for"] == words
    assert page["why"][0]["why"] == f"waits for a person to answer with {words}: Well?"
    [signal] = [button for button in question["buttons"] if button["name"] == "signal"]
    assert [(one["label"], one["type"], one["hint"]) for one in signal["fields"]] == [
        ("Answer", field, "Well?")
    ]


def test_why_a_question_waits_is_one_line(lab: Lab) -> None:
    """Of a prompt in Markdown the first one, as it is read; the page has the whole."""
    for run, prompt, line in (
        ("long", "\n## **Ship** `pears_2`?\n\n- 12 crates\n- by boat", "Ship pears_2?"),
        ("none", "", "ask"),
        ("marks", "**", "ask"),
    ):
        asked = lab.client.condition("ask", prompt=prompt, run=run)
        lab.step()
        page = detail.action_page(lab.client, asked.action, read_only=True)
        assert page["why"][0]["why"] == f"waits for a person to answer with yes or no: {line}"
        assert page["question"]["prompt"] == prompt


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_answer_is_refused(lab: Lab, value: str) -> None:
    """It would stand, and one press on the page is enough for it."""
    asked = lab.client.condition("note", "str", timeout=timedelta(hours=1))
    lab.work(limit=timedelta(seconds=1))
    with pytest.raises(InvalidInput, match="the answer is empty"):
        press("signal", Asked(lab.client, asked.action, {"value": value}, "ada"))
    assert lab.get(asked.action).signal is None


def test_the_history_has_what_a_person_answered(lab: Lab) -> None:
    """Beside who did and when; of what is answered nothing before it is."""
    asked = lab.client.condition("ship", "int")
    lab.work(limit=timedelta(minutes=1))
    page = detail.action_page(lab.client, asked.action, read_only=False)
    assert {event["answer"] for event in page["events_told"]} == {None}
    press("signal", Asked(lab.client, asked.action, {"value": 7}, "ada"))
    lab.work()
    last = detail.action_page(lab.client, asked.action, read_only=False)["events_told"][-1]
    assert (last["answer"], last["actor"], last["door"]) == ("7", "ada", "flower")
