"""What a call does to Python itself, and what speaks when it is collected, ends with that call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patching_functions import WAYS
from runner_support import LOG_LIMIT, caller, child_of, value

from worker.runner.changes import detector
from worker.runner.runner import Ended, Runner

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner of the functions in patching_functions.py, closed afterwards."""
    with Runner(["patching_functions"], log_limit=LOG_LIMIT) as made:
        yield made


@pytest.fixture
def run(runner: Runner, log: Path) -> Callable[..., Ended]:
    """A way to call them."""
    return caller(runner, log)


def test_no_call_sees_a_change_of_another(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """Each change is undone, or costs the process; and what speaks late speaks in the log of its own call."""
    fresh = value(run("patching.look"))
    seen = {}
    for way in WAYS:
        value(run("patching.change", what=way))
        late = "LATE" in log.read_text()
        found = value(run("patching.look"))
        if differs := {name: text for name, text in found.items() if text != fresh[name]}:
            seen[way] = differs
        assert not log.read_bytes(), way
        assert late or not way.endswith("speech"), way
    assert seen == {}
    assert runner.children <= 3  # that with a thread costs one


def test_a_module_first_imported_by_a_call_is_that_of_python(
    runner: Runner, run: Callable[..., Ended]
) -> None:
    """Nobody knows how it was before that call: when it holds code of others, the process is replaced."""
    assert value(run("patching.import_and_patch")) != child_of(runner)
    assert value(run("patching.is_empty")) is True


def test_no_call_answers_for_another(run: Callable[..., Ended]) -> None:
    """An answer that a function has written ahead is none to the next call."""
    run("patching.forge")
    assert value(run("patching.honest")) == "honest"
    assert value(run("patching.honest")) == "honest"


def test_this_python_tells_what_was_changed() -> None:
    """The Pythons we test with need no comparing."""
    assert detector() is not None


def test_a_process_that_was_watched_ends_well() -> None:
    """Python takes its modules apart at the end; that is no change to be told of."""
    program = (
        "import os; from worker.runner.changes import detector; changes = detector(); changes.follow(vars(os)); "
        "os.path = None; assert list(changes.changed()) == [0]"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
