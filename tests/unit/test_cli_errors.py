"""The command line without servers: exit codes, errors, commands, and records as they are shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import reconciler.cli
from reconciler.api import errors
from reconciler.api.action import ActionId, ActionSpec, Deletion, Metadata, TaskAction
from reconciler.api.event import ActionEvent, ErrorInfo
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import Condition, ConditionStatus, ConditionType, ErrorState
from reconciler.broker.recording import RecordingMessenger
from reconciler.cli import listing, main
from reconciler.cli.documents import action_document, waiting_reason
from reconciler.cli.exits import MEANING, ExitCode, error_document, exit_code_of, sentence_of
from reconciler.cli.format import stamp
from reconciler.cli.get import _show
from reconciler.cli.group import COMMANDS, Entry
from reconciler.client import Client
from reconciler.core.documents import event_document
from reconciler.core.times import iso
from reconciler.settings import Settings
from reconciler.stores.memory import MemoryStore
from reconciler.stores.memory.blobs import MemoryBlobs

NOON = 1_769_860_800_123  # 2026-01-31 12:00:00.123 UTC
ACTION = ActionId("default", "development", "r", "a0")


# -- exit codes and errors ---------------------------------------------------------------------------------------------
def test_the_table_of_exit_codes_is_complete() -> None:
    """The docstring of the package and `--help` list each code once."""
    listed = re.findall(r"^\| (\d+) \|", reconciler.cli.__doc__ or "", re.MULTILINE)
    assert [int(code) for code in listed] == [int(code) for code in ExitCode]
    help_text = CliRunner().invoke(main, ["--help"]).output
    for code, meaning in MEANING.items():
        assert re.search(rf"^ +{int(code)}  {re.escape(meaning)}$", help_text, re.MULTILINE)
    assert set(MEANING) == set(ExitCode)


CODES: list[tuple[BaseException, int]] = [
    (ZeroDivisionError("x"), 1),
    (errors.ReconcilerError("x"), 1),
    (errors.BlobCorrupt("x"), 6),
    (click.UsageError("x"), 2),
    (errors.InvalidSpec("x"), 2),
    (errors.InvalidArguments("x"), 2),
    (errors.ActionConflict(ACTION, ("inputs",)), 2),
    (errors.ActionFailed(ACTION, "Boom", "x", "USER"), 3),
    (errors.ActionAborted(ACTION, message="x"), 4),
    (errors.ActionTimedOut(ACTION, "DeadlineExceeded", "x"), 5),
    (errors.ActionNotFound(ACTION), 6),
    (errors.BlobNotFound("x"), 6),
    (errors.StoreUnavailable("x"), 7),
    (errors.BlobUnavailable("x"), 7),
    (errors.BrokerUnavailable("x"), 7),
    (errors.ResultTimeout("x"), 8),
    (errors.InvalidSettings(["x"]), 9),
    (KeyboardInterrupt(), 130),
    (click.Abort(), 130),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=[type(error).__name__ for error, _ in CODES])
def test_each_error_has_its_code(error: BaseException, code: int) -> None:
    """Exit code and JSON object of an error agree."""
    assert exit_code_of(error) == code
    document: Any = error_document(error)
    assert document["error"]["exit_code"] == code
    assert document["error"]["message"]
    json.dumps(document)


def test_sentences_are_safe() -> None:
    """What an error says can neither leak a password nor steer a terminal."""
    error = errors.ActionFailed(ACTION, "Boom", "\x1b[2J redis://:t0p-s3cret@host/0", "USER")
    assert sentence_of(error) == f"{ACTION}: [Boom] \\x1b[2J redis://…@host/0"
    document: Any = error_document(error)
    assert document["error"]["message"] == "\\x1b[2J redis://…@host/0"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command `broken` that raises what nobody expects, and one that is not installed."""
    source = "import click\n@click.command()\n@click.option('--json', is_flag=True)\ndef broken(json):\n    1 / 0\n"
    (tmp_path / "cli_planted.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "broken", Entry("cli_planted:broken", "Breaks."))
    monkeypatch.setitem(COMMANDS, "absent", Entry("cli_absent:absent", "Is not there."))


@pytest.mark.usefixtures("planted")
def test_nobody_sees_a_traceback() -> None:
    """An unexpected error is one sentence, or one JSON object; --traceback shows more before it."""
    plain = CliRunner().invoke(main, ["broken"])
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert plain.stderr == (
        "Error: unexpected ZeroDivisionError: division by zero. "
        "`reconciler --traceback …` shows where; please report it.\n"
    )
    assert json.loads(CliRunner().invoke(main, ["broken", "--json"]).stderr)["error"]["exit_code"] == 1
    assert "Traceback" in CliRunner().invoke(main, ["--traceback", "broken"]).stderr


@pytest.mark.usefixtures("planted")
def test_commands_that_are_not_installed_are_not_offered() -> None:
    """A command whose module is missing is not listed, and is answered with those that are there."""
    help_text = CliRunner().invoke(main, ["--help"]).stdout
    assert "Breaks." in help_text
    assert "Is not there." not in help_text
    refused = CliRunner().invoke(main, ["absent"])
    assert refused.exit_code == 2
    assert "There are: submit, get, " in refused.stderr


def test_wrong_usage_is_told_in_json_too() -> None:
    """With --json even an unknown option is one JSON object on stderr."""
    refused = CliRunner().invoke(main, ["get", "r", "--no-such-option", "--json"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert json.loads(refused.stderr)["error"]["type"] == "NoSuchOption"


@pytest.mark.parametrize(
    "name", ["submit", "get", "list", "watch", "events", "result", "logs", "abort", "doctor"]
)
def test_each_command_explains_itself(name: str) -> None:
    """Each command has a help text of its own and takes --json."""
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.stdout
    assert f"Usage: reconciler {name}" in shown.stdout


def test_help_is_quick() -> None:
    """`--help` imports none of the libraries that take long."""
    program = (
        "import sys\n"
        "from reconciler.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'redis', 'boto3', 'celery', 'kombu', 'rich', 'structlog', 'msgspec'} & set(sys.modules)\n"
        "print(sorted(heavy), code, file=sys.stderr)\n"
    )
    root = Path(reconciler.cli.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[] 0\n"
    assert "Commands:" in done.stdout


# -- pages -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("first", [1, 2, 7, 100])
def test_runs_of_one_millisecond_are_all_listed(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """However the pages fall, each run is listed once, newest first, also when many were stored at one time."""
    monkeypatch.setattr(listing, "_PAGE", 2)
    clock = iter([NOON] * 5 + [NOON + 1] * 20 + [NOON + 2] * 3)
    now = [NOON]
    store = MemoryStore(clock=lambda: now[0])
    client = Client(store, MemoryBlobs(), RecordingMessenger(), Settings())
    for number, at in enumerate(clock):
        now[0] = at
        client.submit(ActionSpec(run_name=f"r{number}", task_type="echo", task_template=b"{}", inputs=b"{}"))
    listed = [(summary.created_at, summary.id.run) for summary in listing._all_runs(client, first)]
    assert len(listed) == len(set(listed)) == 28
    assert [at for at, _ in listed] == sorted((at for at, _ in listed), reverse=True)


# -- records -----------------------------------------------------------------------------------------------------------
def record(phase: ActionPhase, deletion: Deletion | None = None, **status: Any) -> TaskAction:
    """Return a record in this phase."""
    metadata = Metadata(namespace="flyte", name="r-a0", creation_timestamp=NOON, deletion=deletion)
    return TaskAction(ACTION, ActionSpec(task_type="echo"), ActionStatus(**status), metadata, phase=phase)


def progressing(message: str, reason: str = "Queued") -> tuple[Condition, ...]:
    """Return the condition of an action that is on its way."""
    return (Condition(ConditionType.PROGRESSING, ConditionStatus.TRUE, reason, message, NOON),)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (record(ActionPhase.QUEUED), "no worker has looked at it yet"),
        (record(ActionPhase.QUEUED, conditions=progressing("waiting for a worker")), "waiting for a worker"),
        (record(ActionPhase.QUEUED, conditions=progressing("")), "Queued"),
        (record(ActionPhase.RUNNING, conditions=progressing("", "Executing")), ""),
        (record(ActionPhase.RUNNING, Deletion(at=NOON), conditions=progressing("")), "is being aborted"),
        (record(ActionPhase.FAILED, conditions=progressing("x")), ""),
    ],
)
def test_why_an_action_waits(action: TaskAction, says: str) -> None:
    """The reason is the condition's own; an action that ended or just runs waits for nothing."""
    reason = waiting_reason(action)
    assert reason.startswith(says)
    assert bool(reason) == bool(says)


def test_get_shows_what_was_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Failed clean-up, back-off and an error that was survived are shown as such."""
    shown = record(
        ActionPhase.QUEUED,
        conditions=progressing("attempt 2 starts later"),
        attempts=2,
        launches=1,
        total_system_failures=3,
        not_before=NOON + 90_000,
        cleanup_error="the container cannot be removed",
        error_state=ErrorState("Boom", "USER", "first line\nsecond line"),
    )
    _show(shown, [], NOON + 30_000)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    width = len("cleanup failed")
    for name, value in {
        "attempts": "2 (relaunched 1 time, 3 system failures in all)",
        "waiting": "attempt 2 starts later",
        "not before": f"{stamp(NOON + 90_000)} (in 1m)",
        "last error": "[Boom] USER: first line",
        "cleanup failed": "the container cannot be removed",
        "": "second line",
    }.items():
        assert f"  {name.ljust(width)}  {value}" in lines
    assert action_document(shown, [])["cleanup_error"] == "the container cannot be removed"


def test_events_have_names_instead_of_numbers() -> None:
    """The end of an attempt is told apart from the end of the action."""
    event = ActionEvent(
        id=ACTION,
        sequence=3,
        phase=ActionPhase.FAILED,
        updated_time=NOON,
        error_info=ErrorInfo("no stock", "KIND_SYSTEM", "Boom"),
        output_prefix="s3://b/x",
    )
    document = event_document(event)
    assert (document["phase"], document["final"], document["at"]) == ("failed", False, iso(NOON))
    assert document["error"] == {"code": "Boom", "kind": "SYSTEM", "message": "no stock"}
    assert document["outputs_uri"] is None
