"""Which projects a login of Flower sees."""

from __future__ import annotations

import msgspec
import pytest

from reconciler import Client, Settings, TaskEnvironment
from reconciler.api.errors import InvalidSettings
from reconciler.api.logins import WHOLE, View, view_of
from reconciler.testing import Lab
from worker.dashboard import bulk, detail, overview
from worker.dashboard.search import search_runs
from worker.dashboard.wanted import Wanted

env = TaskEnvironment("logins")
ENTRIES = ("ada=photos+shop", "*@example.com=photos", "root=*", "eve@example.com=shop")


@env.task
def answers() -> int:
    """Answer."""
    return 42


@pytest.mark.parametrize(
    ("login", "projects"),
    [
        ("ada", {"photos", "shop"}), ("ADA", {"photos", "shop"}), ("bob@example.com", {"photos"}),
        ("eve@example.com", {"photos", "shop"}), ("bob@example.com.evil", set()), ("adam", set()), ("", set()), ("*", set()),
    ],
)  # fmt: skip
def test_a_login_sees_its_projects(login: str, projects: set[str]) -> None:
    """Those of all entries that fit; whoever fits none sees nothing, and nobody does."""
    assert view_of(ENTRIES, login) == View(frozenset(projects))


def test_all_is_seen_by_who_is_told_so_and_where_nothing_is_set() -> None:
    """`*` stands for all projects."""
    assert view_of(ENTRIES, "root") == view_of((), "anybody") == view_of((), "") == WHOLE
    assert view_of(("*=*",), "") == View(frozenset())  # nobody is no login


@pytest.mark.parametrize("text", ["ada", "ada=", "=photos", "ada=a+", "ada=a/b", "ada=../x", "ada=*x"])
def test_a_wrong_entry_is_refused_at_start(text: str) -> None:
    """With the form it must have."""
    with pytest.raises(InvalidSettings, match="FLOWER_PROJECTS"):
        Settings.from_env({"RECONCILER_FLOWER_PROJECTS": text})


def test_searches_counts_and_questions_keep_to_it() -> None:
    """A run of another project is neither found, counted, met nor asked about, and `next` does not name it."""
    lab = Lab()
    names = {}
    for project in ("red", "blue", "green"):
        client = Client(
            lab.store, lab.blobs, lab.messenger, msgspec.structs.replace(lab.settings, project=project)
        )
        env.client = client
        names[project] = {str(answers.submit(run=f"{project}-{n}").id) for n in range(2)}
        client.condition("ask", prompt=project)
    lab.step()
    lab.settle()
    view = View(frozenset({"red"}))
    for limit in (1, 2, 50):
        found, after = set(), ""
        while True:
            page = search_runs(lab.client, Wanted(limit=limit, after=after), view)
            found |= {run["run"] for run in page["runs"]}
            assert "blue" not in str(page)
            assert page["searched"] <= 3
            after = page["next"]
            if not after:
                break
        assert {name.split("/")[0] for name in found} == {"red"}
        assert names["red"] <= found
    assert search_runs(lab.client, Wanted(project="blue"), view)["runs"] == []
    assert search_runs(lab.client, Wanted(), View(frozenset()))["runs"] == []
    waiting = overview.waiting_document(lab.client, view, read_only=False)
    assert [one["prompt"] for one in waiting["questions"]] == ["red"]
    assert (waiting["waiting"], waiting["complete"]) == (1, True)
    assert bulk.count_document(lab.client, "abort", Wanted(task="answers"), view)["count"] == 2
    met = bulk.press_all(
        lab.client,
        "abort",
        bulk.AskedOfAll(query={"task": "answers"}, count=2, values={"reason": "no"}),
        "ada",
        view,
    )
    assert met["done"] == 2
    blue = [run for run in lab.client.runs(50) if run.id.project == "blue"]
    assert all(lab.get(run.id.action("a0")).metadata.deletion is None for run in blue)


def test_lineage_names_no_run_of_another_project() -> None:
    """Neither where a run came from nor what was made of it."""
    lab = Lab()
    names = {}
    for project in ("red", "blue"):
        env.client = Client(
            lab.store, lab.blobs, lab.messenger, msgspec.structs.replace(lab.settings, project=project)
        )
        names[project] = answers.submit(run=f"{project}-1")
    lab.work()
    made = lab.client.rerun(names["red"].id)
    root = lab.get(made.action)
    stranger = msgspec.structs.replace(root.metadata.lineage, source=str(names["blue"].id))
    view = View(frozenset({"red"}))
    assert detail.lineage_document(lab.client, root, view)["made_by"]["source"].startswith(
        str(names["red"].id)
    )
    root.metadata = msgspec.structs.replace(root.metadata, lineage=stranger)
    assert detail.lineage_document(lab.client, root, view)["made_by"] is None
    source = lab.get(names["red"].action)
    assert detail.lineage_document(lab.client, source, view)["made_into"] == [str(made.id)]
    assert detail.lineage_document(lab.client, source, View(frozenset({"blue"})))["made_into"] == []


def test_who_sees_few_runs_is_told_when_not_all_was_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only names are read for him, a bounded number; then nobody says that nothing waits."""
    lab = Lab()
    for n in range(5):
        lab.client.condition(f"theirs-{n}")
    lab.step()
    view = View(frozenset({"red"}))
    for read, complete in ((4, False), (5, True)):
        monkeypatch.setattr(overview, "_READ", read)
        found = overview.waiting_document(lab.client, view, read_only=True)
        assert (found["questions"], found["waiting"], found["complete"]) == ([], 0, complete)
