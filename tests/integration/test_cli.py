"""`submit` and `result` against real servers: what they print, where, and with which exit code they end."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from cli_support import ECHO, HERE, SLEEP, Backend, echo_spec, error_of, make

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.client.submission import group_root

pytestmark = pytest.mark.servers

BIG = 2**80 + 1
NOWHERE = "redis://127.0.0.1:1/0"


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
        (["shop.greet", "--app", "no/such.py"], "there is no file"),
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


def test_waiting_is_woken_by_the_end(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting `result` returns when the action ends, not when it next looks by itself."""
    monkeypatch.setattr("reconciler.client.waiting.LOOK_AGAIN", 3600.0)
    backend.sleep("r", 0.1)
    worker = threading.Thread(target=backend.end, args=("r",))
    worker.start()
    result = backend.reconciler("result", "r", "--json")
    worker.join()
    assert (result.exit_code, result.stdout) == (0, "null\n")
