"""Who stands by for shards: what he steps, what he leaves to others, and when he goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.api.errors import StoreUnavailable
from reconciler.controller.ahead import StepReport
from reconciler.controller.joined import FEW
from reconciler.testing import Lab
from worker import standby
from worker.standby import Standby

QUIET = StepReport(claimed=1)


class Told:
    """Stands in for `ShardsHeard`: tells of shards in this order; None: nothing comes for a moment."""

    def __init__(self, *told: int | None, left: tuple[int, ...] = (), stays: bool = True) -> None:
        self.told = list(told)
        self.left = [*left]
        self.stays = stays
        self.begun = self.ended = 0

    def begin(self) -> bool:
        """Note that somebody stands by."""
        self.begun += 1
        return True

    def next(self, seconds: float) -> int | None:
        """Tell of the next one."""
        del seconds
        return self.told.pop(0) if self.told else None

    def stay(self) -> bool:
        """Tell whether the notes still stand."""
        return self.stays

    def end(self) -> list[int]:
        """Return what comes with the end."""
        self.ended += 1
        return self.left


class Steps:
    """Stands in for the stepper and the messenger of one process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, heard: Told) -> None:
        self.clock = 0.0
        self.allowed = True
        self.stepped: list[int] = []
        self.sent: list[int] = []
        self.long: dict[int, Callable[[], None]] = {}
        engine: Any = SimpleNamespace(
            stepper=SimpleNamespace(step=self.step),
            messenger=SimpleNamespace(wake=lambda shard, _: self.sent.append(shard)),
            settings=SimpleNamespace(steps_queue="steps"),
        )
        store: Any = None
        monkeypatch.setattr(standby, "ShardsHeard", lambda _: heard)
        monkeypatch.setattr(standby, "time", SimpleNamespace(monotonic=self.monotonic))
        monkeypatch.setattr(
            standby, "staying", SimpleNamespace(allowed=lambda queue: self.allowed and queue == "steps")
        )
        monkeypatch.setattr(standby, "slots", SimpleNamespace(full=lambda: self.full))
        self.heard, self.full = heard, False
        self.stands = Standby(engine, store)

    def monotonic(self) -> float:
        """Return a time, one second after the last."""
        self.clock += 1.0
        return self.clock

    def step(self, shard: int, *, make_way: Callable[[], None]) -> StepReport:
        """Note a step; a long one makes way first."""
        self.stepped.append(shard)
        if shard in self.long:
            make_way()
            make_way()
            self.long[shard]()
        return QUIET


@pytest.mark.parametrize("report", [StepReport(), StepReport(claimed=FEW), StepReport(claimed=1, again=True)])
def test_nobody_stands_by_after_much_work_or_none(
    monkeypatch: pytest.MonkeyPatch, report: StepReport
) -> None:
    """There is more where that came from, and it comes by messages."""
    steps = Steps(monkeypatch, Told(1))
    steps.stands.after(report)
    assert steps.heard.begun == 0


def test_nobody_stands_by_where_a_slot_may_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker says so; it ends, or consumes another queue."""
    steps = Steps(monkeypatch, Told(1))
    steps.allowed = False
    steps.stands.after(QUIET)
    assert steps.heard.begun == 0


def test_nobody_stands_by_in_the_last_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that comes with a countdown needs one; who stands by leaves when all others are taken."""
    steps = Steps(monkeypatch, Told(1, 2))
    steps.full = True
    steps.stands.after(QUIET)
    assert steps.heard.begun == 0
    steps.full = False
    steps.long[1] = lambda: setattr(steps, "full", True)
    steps.stands.after(QUIET)
    assert steps.stepped == [1]
    assert (steps.heard.begun, steps.heard.ended) == (1, 1)


def test_what_is_told_is_stepped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shard after the other, until nothing has come for a while."""
    steps = Steps(monkeypatch, Told(1, None, 2, None, None, 3))
    steps.stands.after(QUIET)
    assert steps.stepped == [1, 2, 3]
    assert steps.sent == []
    assert (steps.heard.begun, steps.heard.ended) == (1, 1)


def test_the_slot_is_given_back_at_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where something comes each second."""
    steps = Steps(monkeypatch, Told(*[1, None] * 300))
    steps.stands.after(QUIET)
    assert 10 < len(steps.stepped) < 100
    assert steps.heard.ended == 1


def test_of_many_at_once_the_last_get_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So other threads take them."""
    steps = Steps(monkeypatch, Told(4, 5, 6, 7, 8, 7))
    steps.stands.after(QUIET)
    assert steps.stepped == [4, 5, 6]
    assert steps.sent == [7, 8]


def test_before_what_takes_long_all_others_get_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those told of before and after he is heard no more; and none is told him during it."""
    steps = Steps(monkeypatch, Told(1, 2, 3, left=(9, 3)))
    ended = []
    steps.long[1] = lambda: ended.append((steps.heard.ended, tuple(steps.sent)))
    steps.stands.after(QUIET)
    assert steps.stepped == [1]
    assert ended == [(1, (2, 3, 9))]
    assert steps.heard.ended == 1


def test_what_was_told_at_the_end_gets_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where his notes are gone."""
    steps = Steps(monkeypatch, Told(None, left=(9,), stays=False))
    steps.stands.after(QUIET)
    assert steps.sent == [9]


def test_a_failed_step_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is away: what was told gets messages as far as they can be sent, and the next step stands by again."""
    steps = Steps(monkeypatch, Told(1, 2, left=(9,)))

    def away() -> None:
        raise StoreUnavailable("away")

    steps.long[1] = away
    with pytest.raises(StoreUnavailable):
        steps.stands.after(QUIET)
    assert steps.sent == [2, 9]
    steps.heard.told, steps.long = [5], {}
    steps.stands.after(QUIET)
    assert steps.stepped == [1, 5]


@pytest.mark.parametrize(
    ("batch", "count", "makes_way"), [(100, 3, False), (4, 30, True), (4, 3, False), (100, 30, True)]
)
def test_a_step_of_many_batches_makes_way(batch: int, count: int, *, makes_way: bool) -> None:
    """Each may be short: together they keep others waiting."""
    lab = Lab(shards=1, step_batch=batch)
    for _ in range(count):
        lab.submit("nobody")  # which no plugin runs: decided in line
    called: list[int] = []
    report = lab.engine.stepper.step(0, make_way=lambda: called.append(1))
    assert report.claimed == count
    assert bool(called) == makes_way


def test_one_thread_stands_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one gives its slot back at once."""
    steps = Steps(monkeypatch, Told(1))
    inside, others = threading.Event(), threading.Event()
    steps.long[1] = lambda: (inside.set(), others.wait(20))  # type: ignore[assignment, func-returns-value]  # both
    first = threading.Thread(target=steps.stands.after, args=(QUIET,))
    first.start()
    assert inside.wait(20)
    steps.stands.after(QUIET)
    assert steps.heard.begun == 1
    others.set()
    first.join(20)
    assert not first.is_alive()
