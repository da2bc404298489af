"""How many launches a process draws together."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from reconciler.environment import TaskEnvironment
from reconciler.testing import Lab
from worker.attempts import beside
from worker.attempts.drawing import Drawing
from worker.attempts.pace import Pace

pytestmark = pytest.mark.rule("R79")


def grown(pace: Pace, call: float, report: float, left: int = 0) -> int:
    """Count the launches drawn after that many calls of so many seconds, each reported in so many seconds."""
    count = 0
    for _ in range(20):
        count = pace.of("f", left)
        pace.ran("f", [call] * count)
        pace.reported("f", count, report * count)
    return count


def test_a_new_function_is_drawn_alone_then_twice_as_many() -> None:
    """Nobody knows yet how long it takes."""
    pace = Pace()
    counts = []
    for _ in range(4):
        counts.append(pace.of("f"))
        pace.ran("f", [0.0001] * counts[-1])
    assert counts == [1, 2, 4, 8]
    assert pace.of("g") == 1


@pytest.mark.parametrize(
    ("call", "report", "count"),
    [(0.01, 0.0001, 5), (0.2, 0.0001, 1), (0.0001, 0.0001, 256), (0.0001, 0.0005, 100), (0.0001, 0.1, 32)],
)
def test_as_many_as_take_a_moment(call: float, report: float, count: int) -> None:
    """As run in 50 ms, and as are reported in 50 ms, but for reports no fewer than 32, and never more than 256."""
    assert grown(Pace(), call, report) == pytest.approx(count, abs=1)


@pytest.mark.parametrize(
    ("call", "report", "left", "count"),
    [
        (0.02, 0.001, 10_000, 12),
        (0.2, 0.0001, 10_000, 1),
        (0.0001, 0.0005, 10_000, 100),
        (0.01, 0.001, 10_000, 12),
        (0.004, 0.001, 10_000, 12),
        (0.002, 0.001, 10_000, 25),
        (0.02, 0.001, 6 * 32, 6),
        (0.02, 0.001, 31, 2),
    ],
)
def test_more_while_nobody_else_waits(call: float, report: float, left: int, count: int) -> None:
    """As run in 250 ms, but of few, and of those of which 12 fit into 50 ms, no more than ever."""
    assert grown(Pace(), call, report, left) == pytest.approx(count, abs=1)


def test_one_call_is_reported_before_many_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call drawn beside many does not wait until all of them are written."""
    lab = Lab()
    env = TaskEnvironment("pace", client=lab.client)
    many, one = threading.Event(), threading.Event()

    class Slow:
        """A batch of which the first is reported once another one was."""

        def __init__(self, *args: Any, **_: Any) -> None:
            self.seconds = [0.001] * (8 if len(args[4]) > 1 else 1)
            self.given_back = 0

        def run(self) -> None:
            """Run nothing."""

        def report(self) -> None:
            """Wait, if it is of many."""
            (many if len(self.seconds) > 1 else one).set()
            assert one.wait(60)

    def noop(number: int) -> int:
        """Return what it is given."""
        return number

    task = env.task(noop)
    eight = task.map(range(8))
    of, shard = eight.action.run_id, lab.store.shard_of
    others = (msgspec.structs.replace(of, run=f"r{number}") for number in range(99))
    other = next(run for run in others if shard(run) != shard(of))
    monkeypatch.setattr(beside, "Batch", Slow)
    telling: Any = None
    engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
    work = Drawing(engine, "attempts", "", telling)
    work._process.pace.ran("pace.noop", [0.001] * 8)
    lab.step()
    lab.clock.advance(10)  # between the places of the first and the second of the map
    task.submit((9,), run=other.run)  # in another shard, so in another line
    lab.step()
    work.run()
    assert many.is_set()
    assert one.is_set()
