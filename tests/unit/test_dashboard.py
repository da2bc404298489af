"""What the pages in Flower are told, from a lab."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from reconciler import RetryStrategy, TaskEnvironment
from reconciler.api.action import ActionId, ActionSpec, RunId, TaskAction
from reconciler.api.errors import BlobNotFound, InvalidInput, NotACondition
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.archive.bulk import BulkVerb
from reconciler.archive.query import Question
from reconciler.core.times import iso
from reconciler.testing import Lab
from worker.dashboard import bulk, detail, overview
from worker.dashboard.buttons import BUTTONS, Asked, press
from worker.dashboard.changes import FEW, changes_document, named_document
from worker.dashboard.kinds import Bar
from worker.dashboard.rows import bars
from worker.dashboard.search import search_runs
from worker.dashboard.wanted import Wanted, read_wanted

env = TaskEnvironment("board")


@env.task
def doubles(n: int) -> int:
    """Double."""
    return n * 2


@env.task(retries=RetryStrategy(retries=1, backoff=timedelta(minutes=1)))
def fails(why: str) -> int:
    """Fail."""
    raise ValueError(why)


@env.task
def tells(text: str, number: int) -> str:
    """Tell how long a text is."""
    return f"{number} {len(text)}"


@env.task
def asks_below() -> int:
    """Wait for a child that may not begin yet."""
    return doubles.submit((1,), countdown=3600).result()


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab


# -- searching ---------------------------------------------------------------------------------------------------------
def names(lab: Lab, **wanted: object) -> list[str]:
    """Return the runs a search finds, page after page."""
    found: list[str] = []
    after = ""
    while True:
        page = search_runs(lab.client, Wanted(**{**wanted, "after": after}))  # type: ignore[arg-type]  # fields
        found += [run["run"].split("/")[-1] for run in page["runs"]]
        after = page["next"]
        if not after:
            return found


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
    ],
)
def test_a_search_that_cannot_be_read_says_so(lab: Lab, query: dict[str, str]) -> None:
    """With what it knows."""
    with pytest.raises(InvalidInput, match=r"limit|knows|next|succeeded|name=value"):
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


# -- a run and its actions ---------------------------------------------------------------------------------------------
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


def test_a_failure_is_followed_down_to_its_cause(lab: Lab) -> None:
    """The first action that failed below one, and below that."""
    good = doubles.delay(1)
    run = fails.map(["one", "two"])
    lab.work()
    chain = detail.action_page(lab.client, run.action, read_only=False)["blame"]
    assert [(one["action"].split("/")[-1], one["error"]) for one in chain] == [("m0", "[ValueError] one")]
    assert detail.action_page(lab.client, good.action, read_only=False)["blame"] == []


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


# -- buttons -----------------------------------------------------------------------------------------------------------
def offered(lab: Lab, action: object) -> list[str]:
    """Return the buttons a page offers."""
    return [button["name"] for button in detail.action_page(lab.client, action, read_only=False)["buttons"]]  # type: ignore[arg-type]  # an action


def test_buttons_fit_the_action(lab: Lab) -> None:
    """Those of a condition, of what is live, and none of what has ended."""
    asked, call = lab.client.condition("ship", "int"), doubles.delay(1)
    lab.step()
    assert offered(lab, asked.action) == ["signal", "prioritize", "abort"]
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
    ):
        with pytest.raises(InvalidInput):
            press(button, Asked(lab.client, call.action, values, "ada"))
    with pytest.raises(NotACondition):
        press("signal", Asked(lab.client, call.action, {"value": True}, "ada"))
    assert lab.get(call.action).metadata.deletion is None
    assert all(button.explains.endswith(".") for button in BUTTONS.values())
