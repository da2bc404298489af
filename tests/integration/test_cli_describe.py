"""`describe` against real servers: why an action waits, for people and for programs."""

from __future__ import annotations

import pytest
from cli_support import HERE, Backend, echo_spec, error_of

pytestmark = pytest.mark.servers


def described(backend: Backend, name: str) -> dict[str, object]:
    """What `describe --json` says of one action."""
    [found] = backend.answer("describe", name)["chain"]
    return dict(found)


def stepped(backend: Backend) -> None:
    """Take the steps that are due, and run no function."""
    for shard in range(backend.settings.shards):
        backend.engine.stepper.step(shard)


def test_a_launch_in_line_says_its_place(backend: Backend) -> None:
    """By the real lines: how many stand before it, and that no worker lives; a paused queue is named."""
    for name in ("r0", "r1"):
        backend.call(name, "greet", name="Ada")
    assert described(backend, "r1")["reason"] == "step"
    stepped(backend)
    assert described(backend, "r1")["reason"] == "no worker"
    backend.store.tell_functions("w", "attempts", {"shop.greet": "1"}, 60_000)
    why = str(described(backend, "r1")["why"])
    assert " 2 wait in all lines of the queue, which take turns" in why
    assert "; 1 worker consumes it" in why
    backend.store.tell_functions("w", "attempts", {"shop.other": "1"}, 60_000)
    assert described(backend, "r1")["reason"] == "unknown function"
    backend.client.pause_queue("attempts")
    shown = backend.reconciler("describe", "r1").stdout
    assert shown.startswith(
        f'{HERE}/r1/a0  queued\n  queue "attempts" is paused: `reconciler queue resume attempts`'
    )


def test_the_chain_ends_at_a_person(backend: Backend) -> None:
    """A run that waits for a condition below it shows both; what has ended says how."""
    backend.client.submit_many([echo_spec(b'{"x":1}')], run="r")
    backend.client.condition("ship", prompt="Ship [red]it?", run="r", parent="a0")
    stepped(backend)
    stepped(backend)
    chain = backend.answer("describe", "r")["chain"]
    assert [one["reason"] for one in chain] == ["children", "person"]
    shown = backend.reconciler("describe", "r").stdout
    assert "waits for its children: 1 of 2 have ended." in shown
    assert "waits for a person to answer with yes or no: Ship [red]it?\n" in shown
    ended = backend.reconciler("describe", "r/m0").stdout
    assert "m0  succeeded\n  ended 20" in ended
    assert described(backend, "r/m0")["why"] is None


def test_an_end_says_why(backend: Backend) -> None:
    """The error, or who aborted."""
    backend.call("bad", "fail", why="no stock")
    backend.end("bad")
    assert "with [ValueError] no stock" in backend.reconciler("describe", "bad").stdout
    backend.sleep("gone", 60)
    backend.client.abort(backend.get("gone").id, "no need", "ada")
    backend.end("gone")
    assert ": no need, said ada" in backend.reconciler("describe", "gone").stdout


def test_what_is_not_there_is_not_described(backend: Backend) -> None:
    """Exit code and sentence as everywhere."""
    result = backend.reconciler("describe", "nobody", "--json")
    assert result.exit_code == 6
    assert "nobody" in error_of(result)["message"]


def test_a_text_of_others_begins_no_line_of_its_own(backend: Backend) -> None:
    """A reason or an error with line breaks cannot look like another action: its lines stand below the sentence."""
    lie = f"enough\n{HERE}/other/a0  succeeded\r\n\x1b[31m  ended"
    backend.call("lied", "greet", name="Ada")
    backend.client.abort(backend.get("lied").id, reason=lie, actor=lie)
    backend.end("lied")
    backend.call("raised", "fail", why=lie)
    backend.end("raised")
    for run in ("lied", "raised"):
        first, *others = backend.reconciler("describe", run).stdout.splitlines()
        assert first.startswith(f"{HERE}/{run}/a0  ")
        assert len(others) > 2
        assert all(line.startswith("  ") for line in others)
