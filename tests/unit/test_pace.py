"""How many launches a process draws together."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from reconciler.environment import TaskEnvironment
from reconciler.testing import Lab
from worker.attempts import beside
from worker.attempts import drawing as drawing_module
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


def test_less_is_drawn_while_calls_come_by_themselves() -> None:
    """They wait for what was drawn before them: 20 ms of it, or what costs as much as a draw."""
    pace = Pace()
    pace.ran("f", [0.0009] * 100)
    assert (pace.of("f"), pace.of("f", beside_lone=True)) == (55, 22)
    pace.reported("f", 100, 1.0)
    assert (pace.of("f"), pace.of("f", beside_lone=True)) == (32, 22)


def test_the_end_of_a_line_says_nothing_of_the_function() -> None:
    """The next line is drawn from at the pace of before, as far as its calls do not take longer."""
    pace = Pace()
    pace.ran("f", [0.001] * 20)
    pace.ran("f", [0.001])
    assert pace.of("f") == 40
    pace.ran("f", [0.02])
    assert pace.of("f") < 10


@pytest.mark.parametrize(
    ("call", "limit", "least"),
    [(0.0002, 200, 25), (0.0002, 10, 10), (0.002, 25, 2), (0.02, 9, 1), (0.0001, 1, 1)],
)
def test_a_draw_is_of_what_is_worth_one(call: float, limit: int, least: int) -> None:
    """Of what runs in 5 ms, even when that is most of what is left: each draw costs about as much."""
    pace = Pace()
    pace.ran("f", [call] * 256)
    assert pace.least("f", limit) == pytest.approx(least, abs=1)
    assert pace.least("new", 1) == 1


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


class Slow:
    """A batch that runs nothing."""

    def __init__(self, *args: Any, **_: Any) -> None:
        self.seconds = [0.001] * (8 if len(args[4]) > 1 else 1)
        self.given_back = 0

    def run(self) -> None:
        """Run nothing."""

    def write(self) -> None:
        """Write nothing."""

    def report(self) -> None:
        """Report nothing."""


def noop(number: int) -> int:
    """Return what it is given."""
    return number


def drawing(lab: Lab, monkeypatch: pytest.MonkeyPatch, batch: type[Slow]) -> Drawing:
    """Return who draws, and runs such batches; calls of `noop` are known to take a millisecond."""
    monkeypatch.setattr(beside, "Batch", batch)
    telling: Any = None
    engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
    monkeypatch.setattr(drawing_module, "_processes", {})
    work = Drawing(engine, "attempts", "", telling)
    work._process.pace.ran("pace.noop", [0.001] * 8)
    return work


def test_one_call_is_reported_before_many_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call drawn beside many does not wait until all of them are written."""
    lab = Lab()
    task = TaskEnvironment("pace", client=lab.client).task(noop)
    many, one = threading.Event(), threading.Event()

    class OneFirst(Slow):
        """A batch of which the first is reported once another one was."""

        def report(self) -> None:
            """Wait, if it is of many."""
            (many if len(self.seconds) > 1 else one).set()
            assert one.wait(60)

    eight = task.map(range(8))
    of, shard = eight.action.run_id, lab.store.shard_of
    others = (msgspec.structs.replace(of, run=f"r{number}") for number in range(99))
    other = next(run for run in others if shard(run) != shard(of))
    work = drawing(lab, monkeypatch, OneFirst)
    lab.step()
    lab.clock.advance(10)  # between the places of the first and the second of the map
    task.submit((9,), run=other.run)  # in another shard, so in another line
    lab.step()
    assert work._process.lone_at == -math.inf
    work.run()
    assert many.is_set()
    assert one.is_set()
    assert time.monotonic() - work._process.lone_at < 60  # more of them are expected


def test_many_are_written_while_those_before_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 need not rest while what ended before is stored."""
    lab = Lab()
    task = TaskEnvironment("pace", client=lab.client).task(noop)
    written, reported = threading.Event(), []

    class WrittenFirst(Slow):
        """A batch that is reported once one was written before its report."""

        def write(self) -> None:
            """Note it."""
            written.set()

        def report(self) -> None:
            """Wait for it."""
            assert written.wait(60)
            reported.append(self)

    task.map(range(20))
    lab.step()
    drawing(lab, monkeypatch, WrittenFirst).run()
    assert len(reported) > 2


@pytest.mark.parametrize(("seconds", "others"), [(0.3, 0), (0.1, 1)])
def test_a_long_call_is_reported_before_the_next_begins(
    monkeypatch: pytest.MonkeyPatch, seconds: float, others: int
) -> None:
    """The next one may end the process, and a call that was not reported is run again."""
    lab = Lab()
    task = TaskEnvironment("pace", client=lab.client).task(noop)
    reporting = []

    class OfLong(Slow):
        """A batch of one call that took so long."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.seconds = [seconds]

        def report(self) -> None:
            """Note in which thread."""
            reporting.append(threading.current_thread())

    task.delay(1)
    lab.step()
    drawing(lab, monkeypatch, OfLong).run()
    assert [thread is not threading.current_thread() for thread in reporting] == [bool(others)]
