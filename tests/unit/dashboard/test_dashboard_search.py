"""What a search of runs finds in the pages of Flower, and what is done to all it finds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from board import doubles, fails, names

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.errors import InvalidInput
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.archive.bulk import BulkVerb
from reconciler.archive.query import Question
from reconciler.testing import Lab
from worker.dashboard import bulk
from worker.dashboard.search import search_runs
from worker.dashboard.wanted import read_wanted


def test_runs_are_found_by_what_is_known_of_them(lab: Lab) -> None:
    """By name, task, phase, error, label and time, alone and together; newest first."""
    doubles.submit((1,), run="alpha", labels={"team": "red"})
    lab.clock.advance(timedelta(minutes=1))
    between = lab.clock()
    lab.clock.advance(timedelta(minutes=1))
    fails.submit(("no",), run="beta")
    lab.work()
    doubles.submit((1,), run="gamma")
    assert names(lab) == ["gamma", "beta", "alpha"]
    assert names(lab, name="ALP") == ["alpha"]
    assert names(lab, task="doubles") == ["gamma", "alpha"]
    assert names(lab, phase="failed") == names(lab, code="ValueError") == ["beta"]
    assert names(lab, label="team=red") == names(lab, label="team") == ["alpha"]
    assert names(lab, label="team=blue") == names(lab, project="other") == []
    assert names(lab, since=between) == ["gamma", "beta"]
    assert names(lab, until=between) == ["alpha"]
    assert names(lab, task="doubles", phase="queued") == ["gamma"]


def test_a_phase_is_known_however_it_is_written(lab: Lab) -> None:
    """People write it as they see it."""
    doubles.submit((1,), run="one")
    for phase in ("queued", "QUEUED", "Queued"):
        [found] = search_runs(lab.client, read_wanted({"phase": phase}))["runs"]
        assert found["run"].endswith("/one")


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_hold_each_run_once(lab: Lab, limit: int) -> None:
    """Of one millisecond too, and with a filter."""
    wanted = [f"r{n}" for n in range(6)]
    for name in wanted:
        doubles.submit((1,), run=name)
    assert sorted(names(lab, limit=limit)) == wanted
    assert sorted(names(lab, limit=limit, task="doubles")) == wanted


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"colour": "red"},
        {"after": "nonsense"},
        {"phase": "done"},
        {"label": "=red"},
        {"label": "flyte.org/run=r"},
        {"project": "a/b"},
        {"domain": "a*"},
        {"name": "tree-*"},
        {"since": "5", "until": "4"},
        {"since": "-1"},
    ],
)
def test_a_search_that_cannot_be_read_says_so(lab: Lab, query: dict[str, str]) -> None:
    """With what it knows, or what no run can have."""
    told = (
        r"limit|knows|next|succeeded|name=value|not searched|not allowed|no name of a run has|leave no time"
    )
    with pytest.raises(InvalidInput, match=told):
        search_runs(lab.client, read_wanted(query))


@pytest.mark.parametrize("field", ["name", "task", "label", "project", "since"])
def test_an_empty_field_of_a_search_does_not_choose_all(lab: Lab, field: str) -> None:
    """Neither of one that lists, nor of one whose runs are all aborted."""
    doubles.submit((1,), run="spared")
    with pytest.raises(InvalidInput, match=f"{field} must not be empty: give it a value, or leave it out"):
        bulk.count_document(lab.client, "abort", read_wanted({field: ""}))
    asked = bulk.AskedOfAll(query={field: ""}, count=1, values={"reason": "no"})
    with pytest.raises(InvalidInput, match=f"{field} must not be empty"):
        bulk.press_all(lab.client, "abort", asked, "ada")


def test_a_time_of_a_search_names_its_unit() -> None:
    """The page takes since:2h, the API does not."""
    with pytest.raises(InvalidInput, match=r"\$.since.*since and until are times in ms since the epoch"):
        read_wanted({"since": "2h"})


def test_all_roots_of_a_run_are_aborted(lab: Lab) -> None:
    """Whatever they are called: one of another name would go on unseen."""
    for run, name in (("two-roots", "a0"), ("two-roots", "b"), ("no-a0", "b")):
        spec = ActionSpec(run_name=run, action_name=name, task_type="core-sleep", inputs=b"{}")
        lab.client.submit(spec, countdown=3600)
    lab.client.abort(RunId.parse("default/development/two-roots").action("a0"), "alone")
    lab.step()
    query = {"name": "o"}
    count = bulk.count_document(lab.client, "abort", read_wanted(query))["count"]
    assert count == 2
    asked = bulk.AskedOfAll(query=query, count=count, values={"reason": "no"})
    assert bulk.press_all(lab.client, "abort", asked, "ada")["done"] == 2
    lab.work()
    assert all(
        record.phase.is_terminal() for run in lab.client.runs(9) for record in lab.client.actions(run.id)
    )


def test_all_runs_of_a_search_are_met_and_no_other(lab: Lab) -> None:
    """Their number is told first; when it has changed meanwhile nothing is done."""
    for name in ("x1", "x2", "y1"):
        doubles.submit((1,), run=name)
    lab.step()
    query = {"name": "x"}
    counted = bulk.count_document(lab.client, "abort", read_wanted(query))
    assert counted["count"] == 2
    doubles.submit((1,), run="x3")
    with pytest.raises(
        InvalidInput, match="2 runs fitted the search when it was confirmed, and now 3: look again"
    ):
        bulk.press_all(
            lab.client, "abort", bulk.AskedOfAll(query=query, count=2, values={"reason": "no"}), "ada"
        )
    assert names(lab, phase="aborted") == []
    done = bulk.press_all(
        lab.client, "abort", bulk.AskedOfAll(query=query, count=3, values={"reason": "no"}), "ada"
    )
    lab.work()
    assert (done["done"], done["refused"]) == (3, [])
    assert sorted(names(lab, phase="aborted")) == ["x1", "x2", "x3"]
    assert bulk.count_document(lab.client, "abort", read_wanted({}))["count"] == 0
    assert bulk.press_all(lab.client, "rerun", bulk.AskedOfAll(query=query, count=3), "ada")["done"] == 3
    assert len(names(lab)) == 7
    with pytest.raises(InvalidInput, match="one action at a time"):
        bulk.count_document(lab.client, "signal", read_wanted({}))


def test_the_same_press_twice_does_nothing_twice(lab: Lab) -> None:
    """A request that is sent again, as without an answer, goes on with the bulk it made; nobody else's does."""
    for name in ("z1", "z2"):
        doubles.submit((1,), run=name)
    lab.work()
    counted = bulk.count_document(lab.client, "rerun", read_wanted({"name": "z"}))
    asked = bulk.AskedOfAll(query={"name": "z"}, count=counted["count"], bulk=counted["bulk"])
    first, again = (bulk.press_all(lab.client, "rerun", asked, "ada") for _ in range(2))
    assert first == again == {"verb": "rerun", "done": 2, "refused": [], "bulk": counted["bulk"]}
    made = [name for name in names(lab) if name not in {"z1", "z2"}]
    assert len(made) == 2
    assert str(lab.client.bulk.open(counted["bulk"]).plan.by) == "ada (flower)"
    for verb, by in (("rerun", "eve"), ("abort", "ada")):
        with pytest.raises(InvalidInput, match="another bulk of this name"):
            bulk.press_all(lab.client, verb, asked, by)


def test_what_may_be_done_to_all_is_what_the_command_would_do(lab: Lab) -> None:
    """Recover meets a run whose root succeeded although a part below it did not; rerun none of which a part is alive."""
    template = encode_template(TaskTemplate(type="echo"))
    part, alive = (RunId.parse(f"default/development/{name}") for name in ("part", "alive"))
    for run in (part, alive):
        for name in ("a0", "b"):
            spec = ActionSpec(
                run_name=run.run, action_name=name, task_type="echo", task_template=template, inputs=b"{}"
            )
            lab.client.submit(spec, countdown=None if name == "a0" else 3600)
    lab.client.abort(part.action("b"), "enough")
    for _ in range(3):
        lab.step()
    assert [lab.client.counts(run).ended for run in (part, alive)] == [2, 1]
    assert lab.get(part.action("a0")).phase is ActionPhase.SUCCEEDED
    always = Question(project="default", since="2000-01-01", until="2999-01-01")
    for verb, runs in (("abort", 1), ("rerun", 1), ("recover", 1)):
        found = len(lab.client.bulk.find(BulkVerb(verb), always).rows)
        assert (verb, found, bulk.count_document(lab.client, verb, read_wanted({}))["count"]) == (
            verb,
            runs,
            runs,
        )
