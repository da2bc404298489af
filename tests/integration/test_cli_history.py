"""`reconciler history`, and the commands that read on in the archive, against real servers."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from cli_support import HERE, Backend, eventually

from reconciler.api.action import RunId
from reconciler.archive.layout import INDEX, day_of
from reconciler.archive.packing import pack
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import folders_in
from reconciler.sweeps.collect import collect

pytestmark = [pytest.mark.servers, pytest.mark.rule("R42")]


def forget(backend: Backend) -> None:
    """Archive and forget what has ended."""
    settings = msgspec.structs.replace(backend.client.settings, retention=timedelta(0))
    collect(backend.client.store, settings, backend.client.blobs)
    assert backend.client.runs() == []


def test_history_and_what_reads_on(backend: Backend) -> None:
    """A forgotten run is listed by what was in it; get, list, events, logs and result show it, and say where it is from."""
    since = day_of(backend.client.store.now())
    backend.call("good", "greet", name="Ada")
    backend.call("bad", "fail", why="no stock")
    for run in ("good", "bad"):
        backend.end(run)
    before = {verb: backend.reconciler(verb, "good").stdout for verb in ("events", "logs", "result")}
    forget(backend)
    answer = backend.answer("history")
    assert {run["run"] for run in answer["runs"]} == {f"{HERE}/good", f"{HERE}/bad"}
    assert (answer["more"], answer["damaged"]) == (False, [])
    assert answer["requests"] < 20
    until = day_of(backend.client.store.now())  # the same day, unless it is midnight
    assert len(backend.answer("history", "--since", since, "--until", until)["runs"]) == 2
    assert list(folders_in(backend.client.blobs, backend.client.blobs.uri(INDEX))) == ["default"]
    [failed] = backend.answer("history", "--code", "ValueError", "--phase", "failed")["runs"]
    assert (failed["run"], failed["phase"], failed["matching"]) == (f"{HERE}/bad", "failed", 1)
    assert f"{HERE}/good" in backend.reconciler("history", "--name", "go").stdout
    assert (
        "No such run"
        in backend.reconciler("history", "--since", "2020-01-01", "--until", "2020-01-02").stderr
    )
    for verb, shown in before.items():
        assert backend.reconciler(verb, "good").stdout == shown, verb
    assert backend.answer("get", "good")["archived"] is True
    assert "read from the archive" in backend.reconciler("get", "bad").stdout
    [listed] = backend.answer("list", "good")["actions"]
    assert (listed["archived"], listed["phase"]) == (True, "succeeded")
    assert backend.reconciler("result", "never").exit_code != 0
    assert "has ended, and so has all below it" in backend.reconciler("prioritize", "good", "9").stdout
    refused = backend.reconciler("signal", "good", "true")
    assert (refused.exit_code, "is no condition" in refused.stderr) == (2, True)
    nothing = backend.reconciler("recover", "good")
    assert (nothing.exit_code, "The new run is to be" in nothing.stderr) == (2, False)
    made = backend.reconciler("recover", "bad")
    assert "The new run is to be" in made.stderr
    assert ": 0 actions are taken over, the rest runs." in made.stdout
    assert "everything runs again" in backend.reconciler("rerun", "bad").stdout
    assert "no action has one of the name greet" in backend.reconciler("history", "--task", "greet").stderr
    asked = ("bulk", "rerun", "--task", "greet", "--dry-run")
    assert "searched by its whole name" in backend.reconciler(*asked).stderr
    where = backend.reconciler("history", "--domain", "elsewhere").stderr
    assert "No such run of default/elsewhere ended" in where


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--since", "yesterday"), "write YYYY-MM-DD"),
        (("--since", "2026-11-30", "--until", "2026-11-01"), "comes after"),
        (("--until", "2020-01-01"), "comes before yesterday"),
        (("--since", "2999-01-01"), "is yet to come"),
        (("--label", "team"), "write name=value"),
    ],
)
def test_wrong_questions_are_told(backend: Backend, options: tuple[str, ...], told: str) -> None:
    """A day and a label have a form, which the error names."""
    refused = backend.reconciler("history", *options)
    assert refused.exit_code == 2
    assert told in refused.stderr


def test_bulk(backend: Backend) -> None:
    """Counted first, asked for a yes, done once; a wrong option is told, and nothing is done then."""
    for run in ("b1", "b2"):
        backend.call(run, "fail", why="no stock")
        backend.end(run)
    chosen = ("--code", "ValueError", "--name", "b")
    counted = backend.answer("bulk", "recover", *chosen, "--dry-run")
    assert [run.pop("incarnation") != "" for run in counted["runs"]] == [True, True]
    where = {"project": "default", "domain": "development", "phase": "failed", "actions": 1}
    assert counted["runs"] == [
        {"run": f"{HERE}/{run}", **where, "archived": False, "would": "recover"} for run in ("b2", "b1")
    ]
    assert (
        "2 runs with 2 actions are chosen"
        in backend.reconciler("bulk", "recover", *chosen, "--dry-run").stdout
    )
    for answer, code in (("n\n", 130), ("", 130)):
        assert backend.reconciler("bulk", "recover", *chosen, input=answer).exit_code == code
    assert backend.answer("bulk", "list") == {"bulks": []}
    done = backend.reconciler("bulk", "recover", *chosen, "--bulk", "mend", input="y\n")
    assert "mend: recover of 2 runs: 2 made." in done.stdout
    assert "`reconciler bulk resume mend`" in done.stderr
    again = backend.answer("bulk", "resume", "mend")
    assert (again["count"], again["done"], again["by"]["door"]) == (2, 2, "cli")
    for made in again["runs"]:
        backend.end(made["made"].rpartition("/")[2])
    assert "If this is interrupted" not in backend.reconciler("bulk", "resume", "mend").stderr
    [listed] = backend.answer("bulk", "list")["bulks"]
    assert (listed["bulk"], listed["done"], listed["refused"]) == ("mend", 2, 0)
    assert "mend" in backend.reconciler("bulk", "list").stdout
    backend.call("b3", "rest", seconds=60)
    stopped = backend.answer("bulk", "abort", "--name", "b3", "--reason", "enough", "--yes")
    assert [run["outcome"] for run in stopped["runs"]] == ["requested"]
    backend.end("b3")
    assert backend.answer("bulk", "rerun", "--name", "nothing", "--yes")["count"] == 0
    counted = backend.answer("bulk", "rerun", "--name", "b", "--limit", "1", "--dry-run")
    assert (counted["limit"], counted["too_many"]) == (1, True)
    told = backend.reconciler("bulk", "rerun", "--name", "b", "--limit", "1", "--dry-run").stdout
    assert "it would be refused" in told
    refused = backend.reconciler("bulk", "rerun", "--name", "b", "--limit", "1", "--yes")
    assert refused.exit_code == 2
    assert "1 to 1 runs" in refused.stderr
    assert backend.reconciler("bulk", "rerun", "--json").exit_code == 2
    assert backend.reconciler("bulk", "abort", "--reason", " ").exit_code == 2
    assert backend.reconciler("bulk", "resume", "none").exit_code == 6


def test_a_bulk_of_which_all_is_refused_has_not_succeeded(backend: Backend) -> None:
    """A script sees it at the exit code, the list counts it, and it is told that it is not tried again."""
    backend.call("gone", "fail", why="no stock")
    backend.end("gone")
    backend.client.bulk.plan("recover", [RunLife(RunId.parse(f"{HERE}/gone"), "another")], name="no")
    refused = backend.reconciler("bulk", "resume", "no")
    assert (refused.exit_code, "no: recover of 1 run: 1 refused." in refused.stdout) == (2, True)
    assert "is not tried again by this bulk" in refused.stderr
    assert backend.reconciler("bulk", "resume", "no", "--json").exit_code == 2
    [listed] = backend.answer("bulk", "list")["bulks"]
    assert (listed["done"], listed["refused"]) == (1, 1)


def test_history_delete(backend: Backend) -> None:
    """Counted first, asked for a yes; then nothing of the run is found, and the trace says who asked."""
    for run in ("d1", "d2"):
        backend.call(run, "greet", name="Ada")
        backend.end(run)
    forget(backend)
    counted = backend.answer("history", "delete", "d1", "--dry-run")
    assert (counted["archived"], counted["actions"], counted["done_at"]) == (1, 1, None)
    for answer in ("n\n", ""):
        assert backend.reconciler("history", "delete", "d1", input=answer).exit_code == 130
    assert (
        "1 run with 1 action would be deleted at once"
        in backend.reconciler("history", "delete", "d1", "--dry-run").stdout
    )
    assert backend.reconciler("get", "d1").exit_code == 0
    done = backend.reconciler("history", "delete", "d1", "--reason", "his right", input="y\n")
    assert "1 run with 1 action was deleted" in done.stdout
    assert backend.reconciler("get", "d1").exit_code == 6
    assert backend.reconciler("history", "delete", "d1", "--yes").exit_code == 6
    assert [run["run"] for run in backend.answer("history", "--name", "d")["runs"]] == [f"{HERE}/d2"]
    [trace] = backend.answer("history", "deleted")["deleted"]
    assert (trace["reason"], trace["by"]["door"], bool(trace["done_at"])) == ("his right", "cli", True)
    assert "his right" in backend.reconciler("history", "deleted").stdout
    forget(backend)
    listed = backend.client.blobs.find(backend.client.blobs.uri("_runs"))
    assert not any("/d1@" in one.uri for one in listed)
    everything = backend.answer("history", "delete", "--all", "--project", "default", "--yes")
    assert everything["archived"] >= 1
    assert backend.answer("history")["runs"] == []
    for wrong in (
        ("history", "delete"),
        ("history", "delete", "--all"),
        ("history", "delete", "d2", "--all", "--project", "default"),
        ("history", "delete", "d2", "--json"),
        ("history", "--project", "acme", "delete", "--all", "--project", "default", "--yes"),
    ):
        assert backend.reconciler(*wrong).exit_code == 2, wrong


def test_a_domain_that_is_set_bounds_what_is_chosen(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who set RECONCILER_DOMAIN lists, deletes and stops nothing of another domain; unset, all domains are meant."""
    places = {"w1": "development", "w2": "staging"}
    for run, domain in places.items():
        backend.sleep(run, 60, "--domain", domain)

    def chosen() -> dict[str, int]:
        """Count what each command that chooses runs would take."""
        stop = ("bulk", "abort", "--reason", "enough", "--dry-run")
        return {
            "list": len(backend.answer("list")["runs"]),
            "bulk": len(backend.answer(*stop)["runs"]),
            "history": len(backend.answer("history")["runs"]),
            "delete": backend.answer("history", "delete", "--all", "--project", "default", "--dry-run")[
                "archived"
            ],
        }

    assert chosen() == {"list": 2, "bulk": 2, "history": 0, "delete": 0}
    monkeypatch.setenv("RECONCILER_DOMAIN", "staging")
    assert (chosen()["list"], chosen()["bulk"]) == (1, 1)
    assert len(backend.answer("list", "--domain", "development")["runs"]) == 1
    monkeypatch.delenv("RECONCILER_DOMAIN")
    for run, domain in places.items():
        backend.client.abort(RunId("default", domain, run).action("a0"))
        eventually(lambda run=run, domain=domain: over(backend, RunId("default", domain, run)))
    forget(backend)
    assert chosen() == {"list": 0, "bulk": 0, "history": 2, "delete": 2}
    monkeypatch.setenv("RECONCILER_DOMAIN", "staging")
    assert chosen() == {"list": 0, "bulk": 0, "history": 1, "delete": 1}
    backend.reconciler("history", "delete", "--all", "--project", "default", "--yes")
    monkeypatch.delenv("RECONCILER_DOMAIN")
    [left] = backend.answer("history")["runs"]
    assert left["run"] == f"{HERE}/w1"


def over(backend: Backend, run: RunId) -> bool:
    """Drive, and tell whether the root of a run has ended."""
    backend.drive()
    return backend.client.get(run.action("a0")).phase.is_terminal()


def test_objects_that_cannot_be_read(backend: Backend) -> None:
    """One that is cut, of a newer release, or in the index: told with the way out, no source, and it costs no other."""
    for run in ("cut", "newer", "fine"):
        backend.call(run, "fail", why="no stock")
        backend.end(run)
    forget(backend)
    blobs = backend.client.blobs
    uris = {
        one.uri.rpartition("/")[2].partition("@")[0]: one.uri
        for one in blobs.find(blobs.uri("_archive/runs"))
    }
    data = blobs.get(uris["cut"])
    blobs.put(uris["cut"], data[: len(data) // 3])
    blobs.put(uris["newer"], pack(['{"kind":"run","version":2,"project":"default"}']))
    told = {"cut": ("is damaged", "Restore it from a copy"), "newer": ("version 2", "Install that one")}
    for run, words in told.items():
        for verb in ("get", "recover", "events", "rerun"):
            refused = backend.reconciler(verb, run)
            assert refused.exit_code not in {0, 1}, (verb, run)
            assert all(word in refused.stderr for word in words), (verb, run, refused.stderr)
    done = {
        each["run"].rpartition("/")[2]: each["refused"]
        for each in backend.answer("bulk", "recover", "--yes")["runs"]
    }
    assert ("is damaged" in done["cut"], "version 2" in done["newer"], done["fine"]) == (True, True, None)
    assert backend.reconciler("get", "fine").exit_code == 0
    index = blobs.find(blobs.uri("_archive/index"))[0].uri
    blobs.put(index, b"no index")
    told_of = backend.reconciler("history")
    assert told_of.exit_code == 0
    assert f"{index} is damaged" in told_of.stderr
    refused = backend.reconciler("history", "delete", "newer", "--yes")
    assert (refused.exit_code, "or to delete it" in refused.stderr) == (6, True)
    assert backend.reconciler("history", "delete", "cut", "--yes").exit_code == 0, (
        "what is damaged can be deleted"
    )
    assert backend.reconciler("get", "cut").exit_code == 6


def test_a_name_that_was_used_again(backend: Backend) -> None:
    """History tells its runs apart; what it prints, and what `get` says a run was made of, is taken by whatever reads."""
    for why in ("first", "second"):
        backend.call("again", "fail", why=why)
        backend.end("again")
        forget(backend)
    backend.call("again", "greet", name="Ada")
    backend.end("again")
    rows = backend.answer("history", "--name", "again")["runs"]
    assert [row["run"] for row in rows] == [f"{HERE}/again"] * 2
    second, first = (f"{row['run']}@{row['incarnation']}" for row in rows)
    shown = backend.reconciler("history", "--name", "again").stdout
    assert first in shown
    assert second in shown
    for one, why in ((first, "first"), (second, "second")):
        short = one.rpartition("/")[2]
        told = backend.answer("get", one)
        assert (told["archived"], told["incarnation"]) == (True, one.rpartition("@")[2])
        assert why in told["error"]["message"]
        assert f"ValueError] USER: {why}" in backend.reconciler("get", f"{short}/a0").stdout
        assert why in backend.reconciler("events", short).stdout
        assert why in backend.reconciler("describe", short).stdout
        assert why in backend.reconciler("result", short).stderr
        listed = backend.answer("list", short)
        assert (listed["incarnation"], [each["phase"] for each in listed["actions"]]) == (
            told["incarnation"],
            ["failed"],
        )
        assert "has ended before" in backend.reconciler("abort", short, "--reason", "x", "--yes").stdout
        assert why in backend.reconciler("watch", short).stderr
        assert "has ended, and so has all below it" in backend.reconciler("prioritize", short, "9").stdout
        assert "is no condition" in backend.reconciler("signal", short, "true").stderr
    assert backend.answer("get", "again")["phase"] == "succeeded"
    made = backend.answer("recover", second.rpartition("/")[2])
    assert f"recover of {second}" in backend.reconciler("get", made["run"]).stdout
    assert "incarnation 'a b' is not allowed" in backend.reconciler("get", "again@a b").stderr
    missing = backend.reconciler("recover", "again@never")
    for verb, *options in (("watch",), ("signal", "true"), ("prioritize", "9")):
        never = backend.reconciler(verb, "again@never", *options)
        assert (never.exit_code, "incarnation never" in never.stderr) == (6, True), never.stderr
    assert (missing.exit_code, f"no run {HERE}/again has the incarnation never" in missing.stderr) == (
        6,
        True,
    )
    two = backend.reconciler("history", "delete", f"again@{first.rpartition('@')[2]}", "--incarnation", "x")
    assert "name two runs" in two.stderr
    deleted = backend.answer("history", "delete", first.rpartition("/")[2], "--yes")
    assert deleted["archived"] == 1
    assert [row["incarnation"] for row in backend.answer("history", "--name", "again")["runs"]] == [
        second.rpartition("@")[2]
    ]
