"""The command line without servers: how things are written, how names are read, and what the exit codes are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.api import errors
from reconciler.api.action import ActionId
from reconciler.api.template import RetryStrategy, TaskMetadata
from reconciler.api.transition import retryable_failure, success
from reconciler.cli.documents import summary_document
from reconciler.cli.durations import duration
from reconciler.cli.format import ago, in_row, json_safe, one_line, scrub, size, stamp
from reconciler.cli.output import emit, show_table
from reconciler.cli.session import Place, read_text
from reconciler.core.times import iso, span
from reconciler.core.visible import BLANK, visible
from reconciler.testing import Lab, ScriptedPlugin

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
@example("\u034f")
def test_nothing_steers_a_terminal(text: str) -> None:
    """Of all control characters only line feed and tab are left; other text that can be seen is not changed."""
    shown = visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    if text.isprintable() and not set(text) & BLANK:
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
        ("s3://b/_archive/runs/p/d/r@abc.ndjson.gz", "s3://b/_archive/runs/p/d/r@abc.ndjson.gz"),
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


# -- terminals ---------------------------------------------------------------------------------------------------------
UNSEEN = (
    "\x00\x07\r\x1b\x7f\x80\x85\x9b\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202e"
    "\u2060\u2066\u2069\u3164\ufeff\ufff9\ue000\U000e0001\U000e0041\U0010fffd\ud800\ufffe"
)


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_what_cannot_be_seen_is_written_out(character: str) -> None:
    """Controls, C1, direction, zero width, private and half characters have no power, in no form of output."""
    for shown in (
        visible(f"a{character}b"),
        visible(f"a{character}b", colours=True),
        in_row(f"a{character}b"),
        json_safe(f'"a{character}b"'),
    ):
        assert character not in shown
        assert "a\\" in shown


@pytest.mark.parametrize(
    "text", ["Grüße, 世界　!", "שלום", "naïve ❤️ 🎉", "a\tb\nc", "“quotes” …", "e\u0301 \xa0 x"]
)
def test_what_can_be_seen_stays(text: str) -> None:
    """Texts of all languages are shown as they are."""
    assert visible(text) == text
    assert json_safe(text) == text


def test_a_cell_is_one_line() -> None:
    """A line break in a cell would forge a row of the table."""
    assert in_row("a\nb\tc\u2028d") == "a\\nb\\tc\\u2028d"


@pytest.mark.parametrize("text", [UNSEEN.replace("\ud800", ""), "\u200fé\x9b\U000e0041"])
def test_escaped_json_is_the_same_document(text: str) -> None:
    """Programs read from a terminal's JSON what they read from a pipe's."""
    document = msgspec.json.encode({text: [text]}).decode()
    assert msgspec.json.decode(json_safe(document)) == {text: [text]}


def test_no_name_forges_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """A row of a table is one line, whatever a short name holds."""
    show_table(["run", "name"], [["a", "x\nb    succeeded"], ["c", "\u2028\x1b[2K\u200f"]])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "a    x\\nb    succeeded",
        "c    \\u2028\\x1b[2K\\u200f",
    ]


def test_no_json_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON for programs is escaped on its way too: a terminal may be reading."""
    emit({"name": "\x9b2J\u061c"})
    assert capsys.readouterr().out == '{"name":"\\u009b2J\\u061c"}\n'


def test_an_overcome_error_is_not_shown() -> None:
    """A success after a failed attempt has no error, in a list and in JSON; the attempts tell of it."""
    plugin = ScriptedPlugin("task", retryable_failure("Oops", "try me again"), success())
    lab = Lab([plugin])
    action = lab.submit("task", metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    lab.settle()
    assert lab.get(action).status.error_state is not None
    assert summary_document(lab.get(action))["error"] is None
