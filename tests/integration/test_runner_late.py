"""What a call holds is let go of at its own end: in its own log, and before everything is put back for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from late_functions import WAYS
from runner_support import LOG_LIMIT, caller, value

from worker.runner.runner import Ended, Raised, Returned, Runner, Unfit

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A runner of the functions in late_functions.py, closed afterwards."""
    with Runner(["late_functions"], log_limit=LOG_LIMIT) as made:
        caller(made, tmp_path_factory.mktemp("log") / "log")("late.wait")
        yield made


@pytest.mark.parametrize("way", WAYS)
def test_the_next_call_finds_nothing_of_it(
    way: str, runner: Runner, run: Callable[..., Ended], log: Path
) -> None:
    """What acts late acts in its own call; what it closes is opened again; the process serves on, no slower."""
    fresh, before = value(run("late.look")), runner.children
    ended = run("late.leave", what=way)
    assert isinstance(ended, Raised if way.endswith("exception") else Returned), ended
    written = log.read_text()
    assert ("LATE" in written) is way.startswith("speaks")
    assert ("before it closes" in written) is way.startswith("stream_by_descriptor")
    assert value(run("late.look")) == fresh
    assert log.read_bytes() == b""
    assert value(run("late.wait")) == "waited"
    assert log.read_bytes() == b""
    assert value(run("late.unsettled")) == 0
    assert runner.children == before


def test_a_function_that_failed_holds_nothing(run: Callable[..., Ended], tmp_path: Path) -> None:
    """Its next attempt in the same process gets the lock that the first one had."""
    for _ in range(3):
        failed = run("late.hold", path=str(tmp_path / "locked"))
        assert isinstance(failed, Raised), failed
        assert failed.message.startswith("held"), failed


def test_loggers_that_nobody_holds_are_forgotten(run: Callable[..., Ended]) -> None:
    """Calls that make some each do not slow down those after them; one that a module holds stays what it is."""
    first = value(run("late.make_loggers", kept=False))
    assert value(run("late.make_loggers", kept=True)) == first
    assert value(run("late.make_loggers", kept=False)) == first + 2  # it, and its place in the tree


def test_arguments_that_do_not_fit_may_cost_the_process(runner: Runner, run: Callable[..., Ended]) -> None:
    """What they leave while they are made is looked for, too."""
    before = runner.children
    assert isinstance(run("late.refuse", given={"text": ""}), Unfit)
    assert runner.children == before + 1
    assert value(run("late.wait")) == "waited"
