"""The tree that `reconciler watch` shows of a run, also of one action alone and where the terminal is narrow."""

from __future__ import annotations

import sys

import pytest
from rich.console import Console

from reconciler import TaskEnvironment
from reconciler.cli.run_tree import RunTree, picture
from reconciler.cli.watch import _as_tree, _stuck
from reconciler.testing import Lab

env = TaskEnvironment("watched")


@env.task(retries=0)
def breaks() -> int:
    """Fail with much to say."""
    raise ValueError("what went wrong was long to tell, " * 10)


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_name_the_phase_and_the_time_have_room_before_the_error(lab: Lab, width: int) -> None:
    """A long error is cut, and nothing else; each action stays one line."""
    run = breaks.submit(())
    lab.work()
    screen = Console(width=width)
    with screen.capture() as shown:
        screen.print(picture(RunTree(lab.client, run.id), 20))
    [row] = [line for line in shown.get().splitlines() if line.startswith("a0")]
    assert row.split()[:3] == ["a0", "failed", "0s"]
    assert row.split()[3].startswith("[V")
    assert row.rstrip().endswith("…")


def test_a_run_of_one_action_is_a_tree_on_a_terminal(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children may come later; and it says why no worker takes it."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lab.client.pause_queue("attempts")
    run = breaks.submit(())
    lab.step()
    assert _as_tree(lab.client, run.action, 0, as_json=False)
    screen = Console(width=80)
    with screen.capture() as shown:
        screen.print(picture(RunTree(lab.client, run.id), 20, _stuck(lab.client, lab.get(run.action))))
    assert 'queue "attempts" is paused' in shown.get()
