from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.environment import TaskEnvironment
from reconciler.testing import Lab
from tests.unit.test_drawing_passes_on import RAN, Noted, noop
from worker.attempts import beside, drawing, staying
from worker.attempts.drawing import Drawing
from worker.attempts.staying import Staying


def test_what_is_said_counts_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose main process has died or stands still says nothing, and its slots are given back."""
    clock = [100.0]
    monkeypatch.setattr(staying, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    page = Staying()
    assert not page.allowed("attempts")
    page.allow("attempts")
    assert page.allowed("attempts")
    assert not page.allowed("gpu")
    clock[0] += 2.0
    assert page.allowed("attempts")
    clock[0] += 1.0
    assert not page.allowed("attempts")
    page.allow("attempts")
    page.allow("")
    assert not page.allowed("attempts")


def test_a_worker_that_ends_keeps_no_slot() -> None:
    """Whatever a thread of it says that had begun before."""
    page = Staying()
    page.allow("attempts")
    page.end()
    page.allow("attempts")
    assert not page.allowed("attempts")


def test_who_works_is_known_by_its_process() -> None:
    """One that has said nothing is taken for busy; so is one that shares its cell with another."""
    page, me = Staying(), os.getpid()
    assert page.works(me)
    page.work(working=False)
    assert not page.works(me)
    assert page.works(me + 1)
    assert page.works(me + 1024)
    page.work(working=True)
    assert page.works(me)


def test_a_fork_hears_what_is_said_after_it() -> None:
    """The processes of a pool are forked before the worker knows."""
    page, (told, tells), (heard, hears) = Staying(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.read(told, 1)
        os.write(hears, b"y" if page.allowed("attempts") else b"n")
        os._exit(0)
    page.allow("attempts")
    os.write(tells, b"x")
    assert os.read(heard, 1) == b"y"
    os.waitpid(child, 0)
    for descriptor in (told, tells, heard, hears):
        os.close(descriptor)


@pytest.mark.parametrize(("stay", "longest", "ran"), [(True, 60.0, 5), (False, 60.0, 0), (True, 0.0, 0)])
def test_a_ticket_is_kept_where_nobody_else_can_want_the_slot(
    monkeypatch: pytest.MonkeyPatch, *, stay: bool, longest: float, ran: int
) -> None:
    """But not for ever."""
    lab = Lab()
    env = TaskEnvironment("staying", client=lab.client)
    env.task(noop).map(range(5))
    lab.step()
    RAN.clear()
    monkeypatch.setattr(beside, "Batch", Noted)
    monkeypatch.setattr(drawing, "_BUDGET", 1e-7)  # over at once, but for one look
    monkeypatch.setattr(drawing, "_LONGEST", longest)
    monkeypatch.setattr(drawing, "staying", page := Staying())
    page.allow("attempts" if stay else "gpu")
    telling: Any = None
    engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
    Drawing(engine, "attempts", "", telling).run()
    assert len(RAN) == ran
