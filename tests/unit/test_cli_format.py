"""The command line without servers: how things are written, how names are read, and what the exit codes are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import reconciler.cli
from reconciler.api import errors
from reconciler.api.action import ActionId, ActionSpec, ActionStatus, Deletion, Metadata, TaskAction
from reconciler.api.conditions import Condition, ConditionStatus, ConditionType, ErrorState
from reconciler.api.event import ActionEvent, ErrorInfo
from reconciler.api.phase import ActionPhase
from reconciler.cli import main
from reconciler.cli.documents import action_document, event_document, waiting_reason
from reconciler.cli.exits import MEANING, ExitCode, error_document, exit_code_of, sentence_of
from reconciler.cli.format import ago, iso, one_line, scrub, size, span, stamp, visible
from reconciler.cli.get import _show
from reconciler.cli.group import COMMANDS, Entry
from reconciler.cli.session import Place, duration, read_text

NOON = 1_769_860_800_123  # 2026-01-31 12:00:00.123 UTC
ACTION = ActionId("default", "development", "r", "a0")


# -- times, sizes, texts -----------------------------------------------------------------------------------------------
def test_times_are_utc_in_every_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The zone of the machine changes nothing."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert iso(NOON) == "2026-01-31T12:00:00.123Z"
    assert stamp(NOON) == "2026-01-31 12:00:00 UTC"
    assert (iso(0), stamp(0)) == (None, "-")


@given(st.integers(1, 253_402_300_799_999))
def test_iso_is_exact(at: int) -> None:
    """ISO times say the millisecond, and can be read back."""
    read = datetime.fromisoformat(iso(at) or "")
    assert read.utcoffset() == timedelta(0)
    assert (read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == at


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.999, "0s"),
        (59, "59s"),
        (60, "1m"),
        (200, "3m20s"),
        (3600, "1h"),
        (3605, "1h"),
        (86_400 * 5 + 3600, "5d1h"),
        (-3, "0s"),
    ],
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    """The two largest units are enough for people."""
    assert span(int(seconds * 1000)) == text


def test_ages_look_both_ways() -> None:
    """A time is shown with how long ago, or in how long, it is."""
    assert ago(NOON, NOON + 200_000) == "2026-01-31 12:00:00 UTC (3m20s ago)"
    assert ago(NOON, NOON - 200_000) == "2026-01-31 12:00:00 UTC (in 3m20s)"
    assert ago(0, NOON) == "-"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (4096, "4.0 KiB"), (3 * 2**29, "1.5 GiB"), (2**42, "4096.0 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    """Sizes use binary units."""
    assert size(count) == text


@given(st.text())
def test_nothing_steers_a_terminal(text: str) -> None:
    """Of all control characters only line feed and tab are left; other text is not changed."""
    shown = visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    if text.isprintable():
        assert shown == text


def test_colours_may_stay() -> None:
    """In logs sequences that only colour are obeyed, all others are written out."""
    text = "\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;title\x07\x9b2J"
    assert visible(text, colours=True) == "\x1b[1;31mred\x1b[0m\\x1b[2J\\x1b]0;title\\x07\\x9b2J"
    assert "\x1b" not in visible(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:t0p-s3cret@host:1/0", "redis://…@host:1/0"),
        ("redis://ann:t0p@s3/cret@host:1/0", "redis://…@host:1/0"),
        ("unix:///tmp/r.sock?db=1&password=t0p-s3cret", "unix:///tmp/r.sock?db=1&password=…"),
        ("sentinel://:t0p-s3cret@a:1;sentinel://b:1", "sentinel://…@a:1;sentinel://b:1"),
        ("http://ann:t0p-s3cret@host/", "http://…@host/"),
    ],
)
def test_credentials_are_scrubbed(url: str, shown: str) -> None:
    """A URL in a sentence loses user and password, and nothing else."""
    assert scrub(f"Redis at '{url}' is down: me@home") == f"Redis at '{shown}' is down: me@home"


def test_one_line_fits_a_column() -> None:
    """Line breaks become blanks, and what is too long is cut with a mark."""
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 80) == "x" * 71 + "…"


# -- names and options -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("r", "shop/production/r/a0"),
        ("r/a1", "shop/production/r/a1"),
        ("p/d/r", "p/d/r/a0"),
        ("p/d/r/a1", "p/d/r/a1"),
    ],
)
def test_actions_are_read_in_four_forms(monkeypatch: pytest.MonkeyPatch, text: str, path: str) -> None:
    """What is left out comes from the settings; a run stands for its root."""
    monkeypatch.setenv("RECONCILER_PROJECT", "shop")
    monkeypatch.setenv("RECONCILER_DOMAIN", "production")
    place = Place("", "")
    assert str(place.action(text)) == path
    if text.count("/") in {0, 2}:
        assert str(place.run(text)) == path.rpartition("/")[0]


def test_options_win_over_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """--project and --domain are used where none is written, and must not contradict what is."""
    monkeypatch.setenv("RECONCILER_PROJECT", "shop")
    place = Place("other", "production")
    assert str(place.action("r")) == "other/production/r/a0"
    assert str(place.action("other/production/r")) == "other/production/r/a0"
    with pytest.raises(errors.InvalidName, match="another domain"):
        place.action("other/staging/r")


@pytest.mark.parametrize("text", ["", "/", "r/", "a/b/c/d/e", "r/a 1", "../r", "p//r", "r*", "p/d/r/a0/"])
def test_other_names_are_refused(text: str) -> None:
    """No name reaches a server that breaks the rule of names."""
    with pytest.raises(errors.InvalidName):
        Place("", "").action(text)


@pytest.mark.parametrize("text", ["r/a0", "p/d/r/a0"])
def test_an_action_is_no_run(text: str) -> None:
    """Where a run is needed an action is refused, with the forms that are right."""
    with pytest.raises(errors.InvalidName, match="project/domain/run"):
        Place("", "").run(text)


def test_a_wrong_option_is_wrong_usage() -> None:
    """A project that breaks the rule of names is told as a name, not as a setting."""
    with pytest.raises(errors.InvalidName, match="project"):
        Place("a/b", "")


def test_durations() -> None:
    """Durations are written as in the settings."""
    assert [duration(text) for text in ("0", "90", "250ms", "2h")] == [0, 90, 0.25, 7200]
    for text in ("soon", "-1", "", "9" * 400):
        with pytest.raises(click.BadParameter):
            duration(text)


def test_documents_are_read_from_files(tmp_path: Path) -> None:
    """`@FILE` is replaced by what the file holds, byte for byte."""
    (tmp_path / "x").write_bytes(b'{"a": "\xc3\xa4"}')
    assert read_text("--args", f"@{tmp_path}/x") == b'{"a": "\xc3\xa4"}'
    assert read_text("--args", "{}") == b"{}"
    with pytest.raises(click.BadParameter, match="cannot be read"):
        read_text("--args", f"@{tmp_path}/none")


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
    (errors.BlobCorrupt("x"), 1),
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
    assert plain.stderr.splitlines() == [
        "Error: unexpected ZeroDivisionError: division by zero. "
        "`reconciler --traceback …` shows where; please report it."
    ]
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
    assert "There are: submit, get, list" in refused.stderr


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


# -- records -----------------------------------------------------------------------------------------------------------
def record(phase: ActionPhase, deletion: Deletion | None = None, **status: Any) -> TaskAction:
    """A record in this phase."""
    metadata = Metadata(namespace="flyte", name="r-a0", creation_timestamp=NOON, deletion=deletion)
    return TaskAction(ACTION, ActionSpec(task_type="echo"), ActionStatus(**status), metadata, phase=phase)


def progressing(message: str, reason: str = "Queued") -> tuple[Condition, ...]:
    """The condition of an action that is on its way."""
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
        "attempts": "2 (relaunched 1 times, 3 system failures in all)",
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
