"""What the pages in Flower tell of runs that Redis has forgotten."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import RunId
from reconciler.api.errors import (
    ActionNotFound,
    ArchiveDamaged,
    ArchiveTooNew,
    BlobUnavailable,
    InvalidInput,
    SignalRefused,
    SourceUnusable,
)
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.archive.layout import run_path
from reconciler.archive.packing import pack
from reconciler.archive.recent import PROJECTS
from reconciler.client import Client
from reconciler.core.documents import Document
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.dashboard import bulk, detail
from worker.dashboard.buttons import Asked, press
from worker.dashboard.search import phases_document, search_runs
from worker.dashboard.wanted import Wanted

pytestmark = pytest.mark.rule("R42")
env = TaskEnvironment("board")


class Unlucky(ValueError):
    """An error whose code has a module before its name."""


@env.task
def halves(n: int) -> int:
    """Halve; 13 is refused."""
    if n == 13:
        raise ValueError("unlucky")
    return n // 2


@env.task(retries=0)
def quarters(n: int) -> int:
    """Refuse 13 with an error of its own."""
    if n == 13:
        raise Unlucky("unlucky")
    return n // 4


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab


def forget(lab: Lab) -> None:
    """Let all runs end, and let the collector archive and forget them."""
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []


def found(lab: Lab, **wanted: object) -> list[Document]:
    """Return the runs of a search, page after page."""
    runs: list[Document] = []
    after = ""
    while True:
        page = search_runs(lab.client, Wanted(**{**wanted, "after": after}))  # type: ignore[arg-type]  # fields
        assert "problem" not in page
        runs += page["runs"]
        after = page["next"]
        if not after:
            return runs


def names(lab: Lab, **wanted: object) -> list[str]:
    """Return their names."""
    return [run["run"].split("/")[-1] for run in found(lab, **wanted)]


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_a_search_goes_on_into_the_archive(lab: Lab, limit: int) -> None:
    """Stored runs first, then archived ones, each once; by all that can be asked of a stored one."""
    halves.submit((1,), run="alpha", labels={"team": "red"})
    lab.clock.advance(timedelta(minutes=1))
    halves.submit((13,), run="beta")
    forget(lab)
    since = lab.clock()
    halves.submit((4,), run="gamma")
    assert sorted(names(lab, limit=limit)) == ["alpha", "beta", "gamma"]
    assert names(lab, limit=limit)[0] == "gamma"
    assert names(lab, limit=limit, name="BET") == ["beta"]
    assert names(lab, limit=limit, phase="failed") == names(lab, code="ValueError") == ["beta"]
    assert names(lab, limit=limit, label="team=red") == names(lab, label="team") == ["alpha"]
    assert names(lab, limit=limit, task="halves", phase="succeeded") == ["alpha"]
    assert names(lab, limit=limit, since=since) == names(lab, phase="queued") == ["gamma"]
    assert sorted(names(lab, limit=limit, until=since - 1)) == ["alpha", "beta"]
    assert names(lab, limit=limit, project="other") == names(lab, domain="other") == []
    archived = {run["run"].split("/")[-1]: run for run in found(lab) if run.get("archived")}
    assert archived["beta"]["phases"] == {"failed": 1}
    assert archived["beta"]["root"]["error"] == "[ValueError]"


@pytest.mark.parametrize("archived", [False, True])
def test_a_code_is_found_by_its_beginning(lab: Lab, archived: bool) -> None:  # noqa: FBT001  # pytest gives it by name
    """Or by that of its last part: nobody knows the module of an error by heart."""
    quarters.submit((13,), run="lone")
    forget(lab) if archived else lab.work()
    assert names(lab, code="Unluck") == names(lab, code=f"{Unlucky.__module__}.Unl") == ["lone"]
    assert names(lab, code="lucky") == []


@pytest.mark.parametrize("archived", [False, True])
def test_runs_are_counted_by_phase(lab: Lab, archived: bool) -> None:  # noqa: FBT001  # as above
    """All runs of the search, stored or archived, each once."""
    for number in (1, 2, 13):
        halves.submit((number,))
    forget(lab) if archived else lab.work()
    halves.submit((4,), run="late")
    told = phases_document(lab.client, Wanted())
    assert told == {"phases": {"succeeded": 2, "failed": 1, "queued": 1}, "runs": 4, "complete": True}
    assert phases_document(lab.client, Wanted(phase="failed"))["runs"] == 1


@pytest.mark.parametrize("archived", [False, True])
def test_a_code_is_that_of_any_action(lab: Lab, archived: bool) -> None:  # noqa: FBT001  # pytest gives it by name
    """It is that of the last error of any action, however deep, and says nothing of how the root ended."""
    halves.map([2, 13], keep_failures=True, run="whole")
    halves.submit((2,), run="well")
    halves.submit((13,), run="lone")
    forget(lab) if archived else lab.work()
    assert sorted(names(lab, code="ValueError")) == ["lone", "whole"]
    assert names(lab, code="ValueError", phase="succeeded") == ["whole"]
    assert sorted(names(lab, code="Value")) == ["lone", "whole"]
    assert names(lab, code="valueerror") == names(lab, code="KeyError") == []


def test_a_run_of_the_archive_reads_on(lab: Lab) -> None:
    """Counts, tree, action, history, inputs, outputs and log are those of before, and say where they are from."""
    run = halves.map([2, 4, 13], keep_failures=True)
    lab.work()
    page = detail.run_document(lab.client, run.id, read_only=False)
    rows = detail.rows_document(lab.client, run.id, "")["actions"]
    action = detail.action_page(lab.client, run.id.action("m1"), read_only=False)
    assert (page["archived"], action["archived"]) == (False, False)
    forget(lab)
    after = detail.run_document(lab.client, run.id, read_only=False)
    assert after["archived"]
    assert {**after, "archived": False, "now": 0, "cursor": ""} == {**page, "now": 0, "cursor": ""}
    assert detail.rows_document(lab.client, run.id, "")["actions"] == rows
    assert [one["name"] for one in detail.rows_document(lab.client, run.id, "a0/m1")["actions"]] == ["m2"]
    again = detail.action_page(lab.client, run.id.action("m1"), read_only=False)
    assert again["archived"]
    assert {**again, "archived": False, "now": 0} == {**action, "now": 0}
    assert detail.whole_document(lab.client, run.id.action("m1"), "outputs") == b'{"o0":2}'
    assert detail.log_document(lab.client, run.id.action("m1"), 0)["attempt"] == 1


def test_of_a_name_that_was_used_again_each_run_is_read(lab: Lab) -> None:
    """The address says which one; without it, the last one. What is made is made of the one that is meant."""
    first = halves.submit((8,), run="again")
    forget(lab)
    [old] = found(lab)
    halves.submit((13,), run="again")
    lab.work()
    assert [run["root"]["phase"] for run in found(lab)] == ["failed", "succeeded"]
    for incarnation, phase, text in (("", "failed", "13"), (old["incarnation"], "succeeded", "8")):
        page = detail.run_document(lab.client, first.id, incarnation, read_only=False)
        assert page["root"]["phase"] == phase
        assert detail.rows_document(lab.client, first.id, "", incarnation)["actions"][0]["phase"] == phase
        action = detail.action_page(lab.client, first.action, incarnation, read_only=False)
        assert (action["phase"], text in action["inputs_preview"]["text"]) == (phase, True)
        made = press("rerun", Asked(lab.client, first.action, {}, "ada", incarnation))
        root = RunId.parse(made["run"]).action("a0")
        assert text in detail.action_page(lab.client, root, read_only=True)["inputs_preview"]["text"]
    with pytest.raises(ActionNotFound):
        detail.run_document(lab.client, first.id, "another", read_only=False)


def test_buttons_meet_the_run_that_is_meant(lab: Lab) -> None:
    """Of a name that was used again, who looks at the run that ended changes nothing of the one that waits."""
    first = lab.client.condition("go", run="again")
    lab.step()
    lab.client.signal(first.action, True)
    forget(lab)
    [old] = found(lab)
    waits = lab.client.condition("go", run="again")
    lab.step()
    late = Asked(lab.client, first.action, {"value": True}, "ada", old["incarnation"])
    with pytest.raises(SignalRefused, match="has ended"):
        press("signal", late)
    hurries = msgspec.structs.replace(late, values={"priority": 9})
    assert "0 live actions" in press("prioritize", hurries)["outcome"]
    record = lab.get(waits.action)
    assert (record.signal, record.metadata.priority) == (None, DEFAULT_PRIORITY)
    assert (
        press("signal", msgspec.structs.replace(late, incarnation=waits.incarnation))["outcome"] == "stored"
    )


def test_buttons_refuse_what_can_be_no_source() -> None:
    """Each with its reason, as the client does: alive, never there, outputs gone, unreadable, or of another interface."""
    lab = Lab(inline_limit=1)
    env.client = lab.client
    runs = {name: halves.map([8, 13], run=name) for name in ("gone", "damaged", "newer", "other")}
    forget(lab)
    runs["alive"] = halves.map([8, 13], run="alive")
    outputs = lab.client.get(runs["gone"].id.action("m0")).status.outputs
    assert outputs is not None
    lab.blobs.delete_prefix(outputs.uri.rpartition("/")[0])
    for name, data in (("damaged", b"damaged"), ("newer", pack(['{"kind":"run","version":99}']))):
        lab.blobs.put(lab.blobs.uri(run_path(runs[name].id, runs[name].incarnation)), data)
    told: list[tuple[str, type[Exception], str]] = [
        ("alive", SourceUnusable, "alive"),
        ("never", ActionNotFound, "never"),
        ("gone", SourceUnusable, "are gone from S3"),
        ("damaged", ArchiveDamaged, "is damaged"),
        ("newer", ArchiveTooNew, "version 99"),
    ]
    for name, error, words in told:
        action = RunId("default", "development", name).action("a0")
        with pytest.raises(error, match=words):
            press("recover", Asked(lab.client, action, {}, "ada"))
    assert press("rerun", Asked(lab.client, runs["other"].action, {}, "ada"))["run"]
    lab.store.tell_functions("w", lab.settings.attempts_queue, {halves.name: "0123456789abcdef"}, 60_000)
    with pytest.raises(SourceUnusable, match="another interface now"):
        press("recover", Asked(lab.client, runs["other"].action, {}, "ada"))


def test_all_are_not_met_while_projects_are_left_out(lab: Lab) -> None:
    """A count that left some out without a word would be taken for all."""
    for n in range(PROJECTS + 1):
        settings = msgspec.structs.replace(lab.settings, project=f"p{n:02}")
        env.client = Client(lab.store, lab.blobs, lab.messenger, settings)
        halves.submit((2,), run=f"one-{n}")
    env.client = lab.client
    forget(lab)
    with pytest.raises(InvalidInput, match="project:NAME"):
        bulk.count_document(lab.client, "rerun", Wanted())
    assert bulk.count_document(lab.client, "rerun", Wanted(project="p20"))["count"] == 1


def test_all_archived_runs_of_a_search_are_made_again(lab: Lab) -> None:
    """Rerun and recover meet them as they are listed; abort does not, as they have ended."""
    for n in (2, 13, 4):
        halves.submit((n,), run=f"flock-{n}")
    forget(lab)
    halves.submit((6,), run="flock-6")
    wanted = Wanted(name="flock-")
    counts = [bulk.count_document(lab.client, verb, wanted)["count"] for verb in bulk.VERBS]
    assert dict(zip(bulk.VERBS, counts, strict=True)) == {"abort": 1, "rerun": 3, "recover": 1}
    asked = bulk.AskedOfAll(query={"name": "flock-"}, count=3)
    done = bulk.press_all(lab.client, "rerun", asked, "ada")
    assert (done["done"], done["refused"]) == (3, [])


def test_without_the_archive_the_records_are_shown(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page says what is missing, instead of showing a part as if it were all."""
    halves.submit((1,), run="here")

    def away(*_: object, **__: object) -> None:
        raise BlobUnavailable("S3 does not answer")

    monkeypatch.setattr(lab.blobs, "find", away)
    page = search_runs(lab.client, Wanted())
    assert [run["run"].split("/")[-1] for run in page["runs"]] == ["here"]
    assert "S3 does not answer" in page["problem"]
