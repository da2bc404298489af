"""Options of all commands: none takes an empty value, and what can be said once is not said twice. No server is asked."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from reconciler.cli import main
from reconciler.cli.commands import Command


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield each command with the words that call it."""
    context = click.Context(main)
    todo = [(name, main.get_command(context, name)) for name in main.list_commands(context)]
    while todo:
        words, command = todo.pop()
        assert command is not None
        yield words, command
        if isinstance(command, click.Group):
            todo += [(f"{words} {name}", each) for name, each in command.commands.items()]


VALUES = [
    (words, option)
    for words, command in commands()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag
]
TEXTS = [(words, option) for words, option in VALUES if isinstance(option.type, click.types.StringParamType)]


def answer(*words: str) -> str:
    """Return the error of a command line that is refused."""
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 2, result.output
    return result.stderr


def required(words: str, but: str = "") -> list[str]:
    """Return words for everything that a command must have."""
    command = dict(commands())[words]
    found: list[str] = []
    for param in command.params:
        if param.required and param.opts[0] != but:
            found += [param.opts[0], "x"] if isinstance(param, click.Option) else ["5"]
    return found


def test_all_commands_share_the_rules() -> None:
    """No command is made without them."""
    assert [words for words, command in commands() if not isinstance(command, Command)] == []
    assert len(TEXTS) > 40


@pytest.mark.parametrize(("words", "option"), TEXTS, ids=lambda each: getattr(each, "name", each))
def test_an_empty_value_is_refused(words: str, option: click.Option) -> None:
    """An unset variable of a shell does not mean all runs, nor a new name."""
    name = option.opts[0]
    told = answer(*words.split(), *required(words, name), name, "")
    assert f"{name} must not be empty" in told or "is no label" in told
    assert "leave it out" in told or "give it a value" in told or "write name=value" in told


@pytest.mark.parametrize("name", ["--name", "--task", "--code"])
def test_an_empty_filter_does_not_choose_all(name: str) -> None:
    """The error of a filter says what leaving it out means."""
    told = answer("bulk", "abort", "--reason", "x", name, "")
    assert f"{name} must not be empty: leave it out to mean all." in told


@pytest.mark.parametrize(
    ("words", "option"),
    [(words, option) for words, option in VALUES if not option.multiple],
    ids=lambda each: getattr(each, "name", each),
)
def test_a_value_is_given_once(words: str, option: click.Option) -> None:
    """Of two values none is dropped in silence."""
    name = option.opts[0]
    assert f"{name} is given 2 times: give it once." in answer(*words.split(), name, "5", f"{name}=6")


def test_a_flag_may_be_repeated() -> None:
    """It says the same again."""
    assert "--dry-run" not in answer("bulk", "abort", "--dry-run", "--dry-run")


def test_labels_are_all_asked_for() -> None:
    """Two values of one label are refused, since no run has both."""
    told = answer("history", "--label", "team=a", "--label", "team=b")
    assert "team is to be 'a' and 'b'" in told
    assert "write name=value" in answer("history", "--label", "=x")


def test_an_action_is_changed_once() -> None:
    """A fork does not drop the first of two inputs for an action."""
    told = answer("fork", "r", "--input", 'a0={"x": 9}', "--input", 'a0={"x": 10}')
    assert "--input names a0 twice: write all its changes in one" in told


@pytest.mark.parametrize("document", ['{"n": 1, "n": 2}', '{"m": [{"n": 1, "n": 2}]}'])
def test_an_input_is_changed_once(document: str) -> None:
    """Of two values for one name none is dropped in silence, however deep they stand."""
    assert "'n' stands 2 times in one object: name it once" in answer(
        "fork", "r", "--input", f"a0={document}"
    )


def test_names_and_keys_are_given_in_the_same_words() -> None:
    """The new run of `submit` and that of `rerun` take the same options."""
    for words in ("submit", "rerun", "recover", "fork"):
        options = {opt for option in dict(commands())[words].params for opt in option.opts}
        assert {"--run", "--name", "--key", "--idempotency-key"} <= options, words


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("p/d/nightly-", "write --name nightly- --project p --domain d"),
        ("nightly@abc", "stands before '@'"),
        ("tree-*", "no name of a run begins with 'tree-*'"),
    ],
)
def test_more_than_a_name_is_refused(name: str, told: str) -> None:
    """It would be the beginning of no name, so nothing would be found, in silence."""
    for words in (["history"], ["bulk", "abort", "--reason", "x"]):
        assert told in answer(*words, "--name", name)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--since", "2026-9-1", "is no day: write YYYY-MM-DD"),
        ("--until", "2026-02-31", "is no day: write YYYY-MM-DD"),
        ("--label", "flyte.org/run=r", "is not searched: ask by project, domain, name and phase"),
    ],
)
def test_options_are_read_as_questions_are(option: str, value: str, told: str) -> None:
    """What no run can have is refused in the words in which Python refuses it."""
    assert told in answer("history", option, value)
