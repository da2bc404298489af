"""What the page of a run and of an action in Flower is told: rows, bars, failures, previews."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from board import asks_below, doubles, fails, offered, tells

from reconciler.api.errors import BlobNotFound, InvalidInput
from reconciler.api.phase import ActionPhase
from reconciler.core.times import iso
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.changes import FEW, changes_document, named_document
from worker.dashboard.kinds import Bar
from worker.dashboard.rows import bars


def test_rows_come_in_pages_and_then_as_changes(lab: Lab) -> None:
    """The cursor of the run gives what happened since, and no more."""
    run = doubles.map([1, 2, 3])
    lab.step()
    page = detail.run_document(lab.client, run.id, read_only=False)
    assert page["actions"] == 4
    assert [row["name"] for row in detail.rows_document(lab.client, run.id, "")["actions"]] == [
        "a0",
        "m0",
        "m1",
        "m2",
    ]
    lab.clock.advance(timedelta(seconds=1))
    lab.work()
    news = changes_document(lab.client, run.id, page["cursor"])
    assert {row["name"]: row["phase"] for row in news["actions"]} == dict.fromkeys(
        ["a0", "m0", "m1", "m2"], "succeeded"
    )
    assert changes_document(lab.client, run.id, news["cursor"])["actions"] == []


def test_a_flood_of_changes_is_told_in_short_to_who_asks_for_that(lab: Lab) -> None:
    """Each action once, as it is now, with what its row would say; the root in full, all to who does not ask."""
    run = doubles.map(range(FEW + 5))
    lab.step()
    cursor = detail.run_document(lab.client, run.id, read_only=False)["cursor"]
    lab.clock.advance(timedelta(seconds=1))
    lab.work()
    news = changes_document(lab.client, run.id, cursor, brief=True)
    assert [row["name"] for row in news["actions"]] == ["a0"]
    rows = {row["name"]: row for row in detail.rows_document(lab.client, run.id, "")["actions"]}
    told = {one.name: (one.phase, one.attempt, one.at, one.ended, one.error) for one in news["brief"]}
    assert told == {
        name: (row["phase"], row["attempt"], row["ended"], True, row["error"])
        for name, row in rows.items()
        if name != "a0"
    }
    assert named_document(lab.client, run.id, ["m3", "nobody"])["actions"] == [rows["m3"]]
    assert named_document(lab.client, run.id, ["m3"], "earlier")["actions"] == []
    everything = changes_document(lab.client, run.id, cursor)
    assert (len(everything["actions"]), everything["brief"]) == (FEW + 6, [])


@pytest.mark.parametrize(("after", "limit"), [("zzz", 0), ("", 100_000)])
def test_a_page_of_rows_that_cannot_be_is_refused(lab: Lab, after: str, limit: int) -> None:
    """An empty page would say that this is the end, and a shorter one is not what was asked for."""
    run = doubles.map([1, 2])
    lab.work()
    assert len(detail.rows_document(lab.client, run.id, "", limit=detail.ROWS)["actions"]) == 3
    with pytest.raises(InvalidInput, match=r"use `next` of the answer before|at most 2000"):
        detail.rows_document(lab.client, run.id, after, limit=limit)


def test_bars_tell_attempts_apart(lab: Lab) -> None:
    """What failed, what waits for the next attempt, and where it ended."""
    run = fails.delay("no")
    lab.work()
    record = lab.get(run.action)
    assert record.phase is ActionPhase.FAILED
    found = bars(record)
    assert [bar.attempt for bar in found][-1] == 2
    assert found[0].start == record.metadata.creation_timestamp
    assert all(before.end == after.start for before, after in pairwise(found))
    assert iso(found[-1].end) is not None


def test_a_suspended_function_has_a_bar_of_its_own(lab: Lab) -> None:
    """From when it gave its worker away."""
    run = asks_below.delay()
    for _ in range(4):
        lab.step()
        lab.clock.advance(timedelta(seconds=1))
        lab.settle(limit=timedelta(seconds=1))
    lab.work(limit=timedelta(seconds=5))
    record = lab.get(run.action)
    assert record.attempt.suspended
    found = bars(record)
    assert record.attempt.outcome is not None
    assert found[-1] == Bar("suspended", record.attempt.outcome.at, 0, 1)
    assert found[-2].end == found[-1].start


def test_a_long_error_keeps_its_end_in_a_row(lab: Lab) -> None:
    """That of a chain of actions says at its end what went wrong; what is left out is marked."""
    run = fails.delay("from " + "far " * 100 + "below: the bottom")
    lab.work()
    [row] = detail.rows_document(lab.client, run.id, "")["actions"]
    assert len(row["error"]) == 300
    assert row["error"].startswith("[")
    assert row["error"].endswith("below: the bottom")
    assert " … " in row["error"]


def test_a_failure_is_followed_down_to_its_cause(lab: Lab) -> None:
    """The first action that failed below one, and below that."""
    good = doubles.delay(1)
    run = fails.map(["one", "two"])
    lab.work()
    chain = detail.action_page(lab.client, run.action, read_only=False)["blame"]
    assert [(one["action"].split("/")[-1], one["error"]) for one in chain] == [("m0", "[ValueError] one")]
    assert detail.action_page(lab.client, good.action, read_only=False)["blame"] == []


def test_a_failure_shows_its_traceback(lab: Lab) -> None:
    """Where in the code it was raised; what succeeded has none."""
    good, bad = doubles.delay(1), fails.delay("no")
    lab.work()
    traceback = str(detail.action_page(lab.client, bad.action, read_only=False)["traceback"])
    assert ", in fails" in traceback
    assert traceback.endswith("ValueError: no\n")
    assert detail.action_page(lab.client, good.action, read_only=False)["traceback"] == ""


def test_the_log_of_an_attempt_that_never_was_is_refused(lab: Lab) -> None:
    """An empty log would say that it wrote nothing."""
    run = doubles.delay(1)
    lab.work()
    assert detail.log_document(lab.client, run.action, 1)["attempt"] == 1
    with pytest.raises(InvalidInput, match="has had 1 attempt, and no attempt 99"):
        detail.log_document(lab.client, run.action, 99)


def test_previews_are_exact_and_bounded(lab: Lab) -> None:
    """Integers beyond those of a browser stay as they are; a long document is cut, and can be loaded whole."""
    big = doubles.delay(2**62)
    long = fails.delay("x" * 200_000)
    lab.work()
    page = detail.action_page(lab.client, big.action, read_only=False)
    assert str(2**62) in page["inputs_preview"]["text"]
    assert str(2**63) in page["outputs_preview"]["text"]
    assert page["why"][0]["why"] is None
    cut = detail.action_page(lab.client, long.action, read_only=True)
    assert cut["inputs_preview"]["cut"]
    assert len(cut["inputs_preview"]["text"]) == detail.PREVIEW
    assert cut["inputs_preview"]["size"] == len(detail.whole_document(lab.client, long.action, "inputs"))
    assert cut["buttons"] == []
    msgspec.json.encode(page)


@pytest.mark.parametrize("size", [3, 40_000])
def test_types_are_in_the_order_of_the_declaration(lab: Lab, size: int) -> None:
    """A template keeps them by name; wherever the inputs lie, who reads them knows the declaration."""
    run = tells.submit(("x" * size, 7))
    lab.work()
    page = detail.action_page(lab.client, run.action, read_only=False)
    assert list(page["types"]["inputs"]) == ["text", "number"]
    forms = {button["name"]: button for button in page["buttons"]}
    assert size > 3 or forms["fork"]["fields"][0]["hint"] == "text: str, number: int"


def test_what_an_action_does_not_have_is_not_found_in_words(lab: Lab) -> None:
    """An action without inputs; a group, whose results its members have, and which nobody can fork."""
    asked, group = lab.client.condition("ship"), doubles.map([1, 2])
    for read in (
        lambda: detail.whole_document(lab.client, asked.action, "inputs"),
        lambda: detail.editable_document(lab.client, asked.action),
    ):
        with pytest.raises(BlobNotFound, match="has no inputs; only what was asked for with some has"):
            read()
    lab.work()
    with pytest.raises(BlobNotFound, match=r"is a group .*: each of its 2 members below it has its own"):
        detail.whole_document(lab.client, group.action, "outputs")
    assert offered(lab, group.action) == ["rerun"]
    assert "fork" in offered(lab, group.id.action("m1"))
