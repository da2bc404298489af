"""The command line against real servers: what it prints, where, and with which exit code it ends."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import ECHO, SLEEP, Backend, backend_on, echo_spec, eventually, stop_runner

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.client.submission import group_root
from reconciler.embedded.servers import EmbeddedServers

pytestmark = pytest.mark.servers

BIG = 2**80 + 1
HERE = "default/development"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey and S3 of this module."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as running:
        yield running
    stop_runner()


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An empty installation."""
    with backend_on(servers, monkeypatch) as made:
        yield made


def error_of(result: Any) -> dict[str, Any]:
    """The error object on stderr."""
    found: dict[str, Any] = json.loads(result.stderr.splitlines()[-1])["error"]
    return found


# -- submit ------------------------------------------------------------------------------------------------------------
def test_submit_prints_the_run_alone(backend: Backend) -> None:
    """Stdout holds nothing but the run, whatever imported modules print; the action is stored and waits."""
    result = backend.reconciler("submit", "shop.greet", "--args", '{"name": "Ada"}', "--run", "r")
    assert (result.exit_code, result.stdout) == (0, f"{HERE}/r\n")
    assert backend.get("r").phase is ActionPhase.QUEUED
    shown = backend.reconciler("get", "r").stdout
    assert "queued" in shown
    assert "no worker has looked at it yet" in shown


def test_submit_waits_for_the_result(backend: Backend) -> None:
    """With --wait the result follows the run; with --json both are in one document."""
    backend.call("first", "greet", name="Ada")
    backend.end("first")
    for more, printed in (
        ((), f"{HERE}/first\nhello Ada\n"),
        (("--json",), f'{{"run":"{HERE}/first","action":"{HERE}/first/a0","result":"hello Ada"}}\n'),
    ):
        call = ("submit", "shop.greet", "--args", '{"name": "Ada"}', "--run", "first", "--wait", *more)
        result = backend.reconciler(*call)
        assert (result.exit_code, result.stdout) == (0, printed)


def test_submit_names_the_run_however_waiting_ends(backend: Backend) -> None:
    """A wait that times out still says which run was stored."""
    inputs = ("--inputs", '{"duration": 60}', "--interface", json.dumps(SLEEP))
    result = backend.reconciler(
        "submit", "--type", "core-sleep", *inputs, "--wait", "--timeout", "50ms", "--json"
    )
    assert result.exit_code == 8
    run = json.loads(result.stdout)["run"]
    assert backend.answer("get", run)["phase"] == "queued"
    assert "goes on" in error_of(result)["message"]


def test_idempotency_key_gives_the_first_run(backend: Backend) -> None:
    """The same key and input name one run; the same key with another input is refused and stores nothing."""
    call = ("submit", "shop.greet", "--key", "order-17", "--args")
    first, again = (backend.reconciler(*call, '{"name": "Ada"}').stdout for _ in range(2))
    assert first == again
    other = backend.reconciler(*call, '{"name": "Bob"}', "--json")
    assert (other.exit_code, error_of(other)["type"]) == (2, "ActionConflict")
    assert len(backend.answer("list")["runs"]) == 1


def test_a_refused_submission_leaves_large_inputs_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that lie in S3 are not replaced by a conflicting submission under the same run."""
    monkeypatch.setenv("RECONCILER_INLINE_LIMIT", "16")
    call = ("submit", "--type", "echo", "--interface", json.dumps(ECHO), "--run", "r", "--inputs")
    assert backend.reconciler(*call, json.dumps({"x": [1] * 50})).exit_code == 0
    assert backend.reconciler(*call, json.dumps({"x": [2] * 50})).exit_code == 2
    backend.end("r")
    assert backend.answer("result", "r") == [1] * 50


def test_submit_reads_documents_from_files(backend: Backend, tmp_path: Path) -> None:
    """`@FILE` and `@-` stand for what a file or stdin holds; a template may come from a file as well."""
    (tmp_path / "args.json").write_text('{"name": "Ada", "times": 2}')
    result = backend.reconciler("submit", "shop.greet", "--args", f"@{tmp_path}/args.json", "--run", "r")
    assert result.exit_code == 0
    assert json.loads(backend.get("r").spec.inputs or b"") == {"name": "Ada", "times": 2}
    (tmp_path / "task.json").write_text(json.dumps({"type": "core-sleep", "interface": SLEEP}))
    plain = ("submit", "--template", f"{tmp_path}/task.json", "--inputs", "@-", "--run", "s")
    assert backend.reconciler(*plain, input='{"duration": 0}').exit_code == 0
    backend.end("s")
    assert backend.get("s").phase is ActionPhase.SUCCEEDED


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "name of a FUNCTION"),
        (["shop.greet", "--type", "echo"], "not for a FUNCTION"),
        (["--type", "echo", "--args", "{}"], "are for a FUNCTION"),
        (["--type", "echo", "--template", __file__, "--interface", "{}"], "not both"),
        (["--template", __file__], "is no task template"),
        (["shop.greet", "--timeout", "1"], "for --wait"),
        (["shop.greet", "--wait", "--timeout", "soon"], "not a duration"),
        (["shop.greet", "--wait", "--timeout", "-1s"], "negative"),
        (["shop.great"], "Did you mean shop.greet?"),
        (["shop.greet", "--app", "no_such_module"], "cannot be imported"),
        (["shop.greet", "--args", '{"nam": "Ada"}'], "name: str, times: int"),
        (["shop.greet", "--args", "[]"], "Write a JSON object"),
        (["shop.greet", "--args", "@/no/such/file"], "cannot be read"),
        (["shop.greet", "--args", '{"name": "Ada"}', "--run", "a/b"], "is not allowed"),
        (["--type", "echo", "--inputs", "7"], "must be a JSON object"),
        (["--type", "echo", "--interface", '{"inputs": 1}'], "--interface"),
    ],
)
def test_submit_refuses_what_makes_no_sense(backend: Backend, args: list[str], says: str) -> None:
    """Wrong usage and input that does not fit end with 2 and a sentence that names the way out; nothing is stored."""
    result = backend.reconciler("submit", *args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert backend.client.runs() == []


def test_a_broker_that_is_down_loses_nothing(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored is accepted; that no wake-up was sent is told on stderr, apart from the answer."""
    monkeypatch.setenv("RECONCILER_BROKER_URL", NOWHERE)
    result = backend.reconciler("submit", "shop.greet", "--args", '{"name": "Ada"}', "--run", "r")
    assert (result.exit_code, result.stdout) == (0, f"{HERE}/r\n")
    assert "wake.not_sent" in result.stderr
    backend.end("r")


# -- results -----------------------------------------------------------------------------------------------------------
def make(backend: Backend, end: str) -> None:
    """A run `r` that has ended in this way."""
    if end == "failed":
        backend.call("r", "fail", why="no stock")
    elif end == "timed_out":
        template = {
            "type": "core-sleep",
            "interface": SLEEP,
            "metadata": {"timeouts": {"overall": "PT0.05S"}},
        }
        spec = ActionSpec(
            run_name="r",
            task_type="core-sleep",
            task_template=json.dumps(template).encode(),
            inputs=b'{"duration": 3600}',
        )
        backend.client.submit(spec)
    else:
        backend.sleep("r", 3600 if end == "aborted" else 0)
    if end == "aborted":
        backend.drive()
        assert backend.reconciler("abort", "r", "--reason", "no need", "--yes").exit_code == 0
    backend.end("r")
    assert str(backend.get("r").phase) == end


@pytest.mark.parametrize(("end", "code"), [("succeeded", 0), ("failed", 3), ("aborted", 4), ("timed_out", 5)])
def test_each_end_has_its_exit_code(backend: Backend, end: str, code: int) -> None:
    """`result` and `watch` exit alike, by how the action ended; the error says why."""
    make(backend, end)
    for command in ("result", "watch"):
        result = backend.reconciler(command, "r", "--json")
        assert result.exit_code == code
        if code:
            error = error_of(result)
            assert (error["exit_code"], error["action"]) == (code, f"{HERE}/r/a0")
    shown = backend.answer("get", "r")
    assert (shown["phase"], shown["ended_at"] is not None) == (end, True)


@pytest.mark.parametrize(
    "args",
    [
        ["get", "r"],
        ["list", "r"],
        ["watch", "r"],
        ["events", "r"],
        ["result", "r"],
        ["logs", "r"],
        ["abort", "r", "--reason", "x"],
        ["get", "r/a1"],
        ["get", "other/production/r"],
        ["get", "other/production/r/a0"],
    ],
)
def test_what_is_not_there_is_not_found(backend: Backend, args: list[str]) -> None:
    """An unknown run or action ends with 6, and never looks like an empty one."""
    result = backend.reconciler(*args)
    assert (result.exit_code, result.stdout) == (6, "")
    assert "is stored" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("args", [["get", "r"], ["list"], ["submit", "shop.greet", "--args", '{"name": ""}']])
def test_a_dead_server_is_told_without_its_password(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    """A server that cannot be reached ends with 7; no credentials are printed."""
    monkeypatch.setenv("RECONCILER_REDIS_URL", "redis://ann:t0p-s3cret@127.0.0.1:1/0")
    result = backend.reconciler(*args)
    assert result.exit_code == 7
    assert "RECONCILER_REDIS_URL" in result.stderr
    assert "s3cret" not in result.output


def test_wrong_settings_are_told_all_at_once(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends with 9 when the settings cannot be used, and lists each mistake."""
    monkeypatch.setenv("RECONCILER_SHARDS", "many")
    monkeypatch.setenv("RECONCILER_COLOUR", "blue")
    result = backend.reconciler("list", "--json")
    assert result.exit_code == 9
    assert len(error_of(result)["problems"]) == 2


def test_the_wait_times_out_alone(backend: Backend) -> None:
    """`result --timeout` ends with 8 and the action goes on."""
    backend.sleep("r", 60)
    backend.drive()
    result = backend.reconciler("result", "r", "--timeout", "50ms")
    assert result.exit_code == 8
    assert "goes on" in result.stderr
    assert backend.get("r").phase is ActionPhase.RUNNING


def test_results_are_exact(backend: Backend) -> None:
    """An integer of any size comes out as it went in, and a text is printed as it is unless JSON is asked for."""
    inputs = ("--inputs", json.dumps({"x": BIG}), "--interface", json.dumps(ECHO))
    backend.reconciler("submit", "--type", "echo", *inputs, "--run", "big")
    backend.call("text", "greet", name="Ada\u001b[2J")
    backend.end("big")
    backend.end("text")
    assert backend.reconciler("result", "big", "--json").stdout == f"{BIG}\n"
    assert backend.reconciler("result", "big").stdout == f"{BIG}\n"
    assert backend.reconciler("result", "text").stdout == "hello Ada\\x1b[2J\n"
    assert backend.answer("result", "text") == "hello Ada\u001b[2J"


def test_the_result_of_a_group_is_a_list(backend: Backend) -> None:
    """`result` of a group gives the outputs of its members in order; with a failed member it ends with 3."""
    backend.client.submit_many([echo_spec(b'{"x":%d}' % (BIG + n)) for n in range(3)], run="good")
    backend.client.submit_many([echo_spec(b'{"x":1}'), echo_spec(b"{}")], run="bad")
    backend.end("good")
    backend.end("bad")
    assert backend.answer("result", "good") == [BIG, BIG + 1, BIG + 2]
    result = backend.reconciler("result", "bad", "--json")
    assert (result.exit_code, error_of(result)["action"]) == (3, f"{HERE}/bad/m1")


def test_a_group_without_all_members_says_how_it_ended(backend: Backend) -> None:
    """A group that ended before all members were stored is aborted, not `not found`."""
    seed = ActionSpec(run_name="r")
    backend.client.submit(group_root(seed, 3, keep_failures=False))
    assert backend.reconciler("abort", "r", "--reason", "no need", "--yes").exit_code == 0
    backend.end("r")
    assert backend.reconciler("result", "r").exit_code == 4


# -- looking -----------------------------------------------------------------------------------------------------------
def test_get_tells_the_whole_story(backend: Backend) -> None:
    """`get` has the error with code and kind, the history with times in UTC, outputs and log."""
    backend.call("good", "greet", name="Ada")
    backend.call("bad", "fail", why="[red]no \u001b[31mstock")
    backend.end("good")
    backend.end("bad")
    good, bad = backend.answer("get", "good"), backend.answer("get", f"{HERE}/bad/a0")
    assert good["outputs"]["uri"].endswith("/a0/1/outputs.pb")
    assert good["log_uri"].endswith("/a0/1/log.txt")
    assert [entry["phase"] for entry in good["history"]][-1] == "Completed"
    assert good["history"][0]["at"].endswith("Z")
    assert bad["error"] == {"code": "ValueError", "kind": "USER", "message": "[red]no \u001b[31mstock"}
    assert good["labels"]["flyte.org/run"] == "good"
    shown = backend.reconciler("get", "bad").stdout
    assert "[ValueError] USER: [red]no \\x1b[31mstock" in shown
    assert "\u001b" not in shown
    assert " UTC (" in shown


def test_get_says_who_aborted_and_why(backend: Backend) -> None:
    """Reason and actor of an abort are shown."""
    make(backend, "aborted")
    deletion = backend.answer("get", "r")["deletion"]
    assert deletion["reason"] == "no need"
    assert deletion["actor"] in backend.reconciler("get", "r").stdout


def test_list_shows_runs_newest_first(backend: Backend) -> None:
    """Runs come newest first with their actions by phase; --limit says when there are more."""
    for number in range(3):
        backend.sleep(f"r{number}")
        backend.end(f"r{number}")
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 2, run="group")
    answer = backend.answer("list")
    assert [run["run"] for run in answer["runs"]] == [
        f"{HERE}/{name}" for name in ("group", "r2", "r1", "r0")
    ]
    assert answer["runs"][0]["phases"] == {"queued": 3}
    assert not answer["more"]
    shown = backend.reconciler("list", "--limit", "1")
    assert f"{HERE}/group" in shown.stdout
    assert "3 queued" in shown.stdout
    assert "r2" not in shown.stdout
    assert "--limit" in shown.stderr


def test_list_chooses_by_project(backend: Backend) -> None:
    """--project and --domain choose among the runs, and place names that are given without them."""
    backend.sleep("here")
    backend.sleep("there", 0, "--project", "other")
    assert [run["run"] for run in backend.answer("list", "--project", "other")["runs"]] == [
        "other/development/there"
    ]
    assert len(backend.answer("list")["runs"]) == 2
    assert backend.answer("get", "there", "--project", "other")["phase"] == "queued"
    contradiction = backend.reconciler("get", f"{HERE}/here", "--project", "other")
    assert contradiction.exit_code == 2


def test_list_pages_through_a_run(backend: Backend) -> None:
    """--limit and --after show each action of a run once."""
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 12, run="r")
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while after is not None:
        page = backend.answer("list", "r", "--limit", "5", *after)
        seen += [action["action"].rpartition("/")[2] for action in page["actions"]]
        after = ("--after", page["after"]) if page["after"] else None  # type: ignore[assignment]  # ends the loop
    assert sorted(seen) == sorted(["a0", *(f"m{n}" for n in range(12))])
    assert page["phases"] == {"queued": 13}


def test_list_filters_actions(backend: Backend) -> None:
    """--phase and --parent choose among the actions of a run."""
    backend.client.submit_many([echo_spec(b'{"x":1}'), echo_spec(b"{}"), echo_spec(b'{"x":3}')], run="r")
    backend.end("r")
    failed = backend.answer("list", "r", "--phase", "failed")["actions"]
    assert [action["action"].rpartition("/")[2] for action in failed] == ["a0", "m1"]
    children = backend.answer("list", "r", "--parent", "a0")["actions"]
    assert {action["parent"] for action in children} == {"a0"}
    assert len(children) == 3
    assert backend.answer("list", "r", "--parent", "m0")["actions"] == []
    assert "m1      failed" in backend.reconciler("list", "r", "--phase", "failed").stdout
    assert backend.reconciler("list", "--phase", "failed").exit_code == 2


# -- following ---------------------------------------------------------------------------------------------------------
def test_watch_shows_events_while_they_happen(backend: Backend) -> None:
    """Each event is printed when it is committed, as one JSON object per line, up to the final one."""
    backend.sleep("r", 0.2)
    process = backend.start("watch", "r", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["phase"] == "queued"  # before anything else has happened
    backend.drive()
    assert json.loads(process.stdout.readline())["phase"] == "running"
    backend.end("r")
    rest, errors = process.communicate(timeout=30)
    last = [json.loads(line) for line in rest.splitlines()]
    assert [(event["sequence"], event["phase"], event["final"]) for event in last] == [(3, "succeeded", True)]
    assert (process.returncode, errors) == (0, "")


def test_ctrl_c_leaves_the_action_running(backend: Backend) -> None:
    """Ctrl-C ends the watching with 130, and says that the action goes on and how to stop it."""
    backend.sleep("r", 60)
    backend.drive()
    process = backend.start("watch", "r")
    assert process.stdout is not None
    assert "queued" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{HERE}/r/a0 goes on" in errors
    assert f"reconciler abort {HERE}/r/a0" in errors
    assert "Traceback" not in errors
    assert backend.get("r").phase is ActionPhase.RUNNING


def test_watch_ends_when_the_events_are_gone(backend: Backend) -> None:
    """An action that has ended is not waited for, also when its events are no longer kept."""
    backend.sleep("r")
    backend.end("r")
    backend.store.trim_events(backend.store.now() + 1)
    result = backend.reconciler("watch", "r", "--timeout", "10")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no longer kept" in backend.reconciler("events", "r").stderr


def test_events_go_on_behind_a_number(backend: Backend) -> None:
    """`events --after` leaves out what was seen; people get a line each, with attempt and reason."""
    backend.call("r", "fail", why="no stock")
    backend.end("r")
    lines = backend.reconciler("events", "r", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["error"] == {"code": "ValueError", "kind": "USER", "message": "no stock"}
    assert backend.reconciler("events", "r", "--after", "1", "--json").stdout.splitlines() == lines[1:]
    last = backend.reconciler("events", "r").stdout.splitlines()[-1]
    assert "attempt 1  failed" in last
    assert "[ValueError] no stock" in last


def test_logs_are_printed_as_they_were_written(backend: Backend) -> None:
    """A pipe gets the log byte for byte; where none was stored, stderr says why."""
    backend.call("r", "greet", name="Ada")
    backend.sleep("s")
    waiting = backend.reconciler("logs", "r")
    assert (waiting.exit_code, waiting.stdout) == (0, "")
    assert "has not ended (queued)" in waiting.stderr
    backend.end("r")
    backend.end("s")
    written = "greeting Ada\n\u001b[31mred\u001b[0m \u001b]0;title\u0007\n"
    assert backend.reconciler("logs", "r").stdout == written
    assert backend.answer("logs", "r")["log"] == written
    assert "No log is stored" in backend.reconciler("logs", "s").stderr


def test_logs_that_are_gone_are_not_found(backend: Backend) -> None:
    """A log that was removed from S3 ends with 6."""
    backend.call("r", "greet", name="Ada")
    backend.end("r")
    backend.engine.blobs.delete_prefix(backend.answer("get", "r")["log_uri"].rpartition("/")[0])
    assert backend.reconciler("logs", "r").exit_code == 6


# -- abort -------------------------------------------------------------------------------------------------------------
def test_abort_of_a_run_stops_all_of_it(backend: Backend) -> None:
    """RUN alone aborts root and descendants; again, and after the end, it says so and changes nothing."""
    sleep = echo_spec(b'{"x":1}')
    backend.client.submit_many([sleep] * 3, run="r")
    first = backend.answer("abort", "r", "--reason", "wrong input", "--yes")
    assert first["outcome"] == "requested"
    assert backend.answer("abort", "r", "--reason", "other", "--yes")["outcome"] == "already requested"
    backend.end("r")
    assert backend.answer("list", "r")["phases"] == {"aborted": 4}
    assert backend.answer("get", "r")["deletion"]["reason"] == "wrong input"
    assert "has ended before: aborted" in backend.reconciler("abort", "r", "--reason", "x").stdout


def test_abort_of_an_action_spares_the_others(backend: Backend) -> None:
    """RUN/ACTION aborts that action alone."""
    backend.client.submit_many([echo_spec(b'{"x":1}')] * 2, run="r")
    backend.reconciler("abort", "r/m1", "--reason", "wrong input", "--yes")
    backend.end("r")
    assert backend.answer("get", "r/m0")["phase"] == "succeeded"
    assert backend.answer("get", "r/m1")["phase"] == "aborted"


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_abort_asks_first(backend: Backend, answer: str) -> None:
    """Without a yes nothing is aborted, and the exit code is 130."""
    backend.sleep("r", 60)
    result = backend.reconciler("abort", "r", "--reason", "x", input=answer)
    assert result.exit_code == 130
    assert "nothing was aborted" in result.stderr
    assert backend.get("r").metadata.deletion is None
    assert "is being aborted" in backend.reconciler("abort", "r", "--reason", "x", input="y\n").stdout
    assert "is being aborted" in backend.reconciler("get", "r").stdout


@pytest.mark.parametrize("args", [["--yes"], ["--reason", " ", "--yes"], ["--reason", "x", "--json"]])
def test_abort_wants_a_reason_and_a_yes(backend: Backend, args: list[str]) -> None:
    """Without a reason, or with --json but no --yes, nothing is asked or done."""
    backend.sleep("r", 60)
    assert backend.reconciler("abort", "r", *args).exit_code == 2
    assert backend.get("r").metadata.deletion is None


def test_waiting_is_woken_by_the_end(backend: Backend) -> None:
    """A waiting `result` returns when the action ends, not when it next looks."""
    backend.sleep("r", 0.1)
    worker = threading.Thread(target=backend.end, args=("r",))
    worker.start()
    result = backend.reconciler("result", "r", "--timeout", "20", "--json")
    worker.join()
    assert (result.exit_code, result.stdout) == (0, "null\n")
    eventually(lambda: backend.get("r").phase is ActionPhase.SUCCEEDED)
