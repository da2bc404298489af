"""A function that waits lends its slot: the next in line runs beside it, one at a time, and nothing is kept from others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from reconciler.environment import TaskEnvironment
from reconciler.testing import Lab
from worker.attempts import beside as module
from worker.attempts.beside import Beside, Seat


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        threading.Event().wait(0.005)


def noop(number: int) -> int:
    """Return what it is given."""
    return number


class Ran:
    """A batch that notes what it was to run, and waits until it may end."""

    names: ClassVar[list[str]] = []
    may_end = threading.Event()

    def __init__(self, *args: Any, **_: Any) -> None:
        Ran.names += [record.id.action for record in args[4]]

    def run(self) -> None:
        """Run nothing: what was drawn is what counts here."""
        assert Ran.may_end.wait(60)

    def report(self) -> None:
        """Report nothing, as above."""


class Place:
    """A slot of a worker, and four launches in line."""

    def __init__(self) -> None:
        self.lab = lab = Lab()
        env = TaskEnvironment("beside", client=lab.client)
        env.task(noop).map(range(4))
        lab.step()
        lab.messenger.tickets.clear()
        engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
        telling: Any = None
        self.beside = Beside()
        self.seat = Seat(engine, "attempts", "", "w", telling, self.beside)
        self.waits = True

    def takes(self, queue: str = "attempts") -> bool:
        """Try to take a ticket."""
        return self.seat.take(queue, lambda: self.waits, first=True)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """With a second process that is there at once."""
    ready: Any = SimpleNamespace(functions=lambda: {"noop": ""}, close=lambda: None)
    monkeypatch.setattr(module.runners, "runner_of", lambda _: ready)
    monkeypatch.setattr(module, "Batch", Ran)
    Ran.names, Ran.may_end = [], threading.Event()
    found = Place()
    yield found
    Ran.may_end.set()
    found.beside.rest()
    found.beside.close()


def test_a_second_process_is_started_once_it_was_wanted_often(place: Place) -> None:
    """It costs memory, so who waits once or twice sends tickets, as ever."""
    often = module._OFTEN - 1
    assert [place.takes() for _ in range(often)] == [False] * often
    Ran.may_end.set()
    eventually(place.takes)
    place.beside.rest()
    assert Ran.names


def test_one_at_a_time_as_long_as_the_function_waits(place: Place) -> None:
    """What is next in line runs in the slot, one after the other; a ticket that comes meanwhile is sent to others."""
    place.beside._ready = True
    assert place.takes()
    eventually(lambda: Ran.names == ["m0"])
    assert not place.takes()
    assert not place.takes("another queue")
    Ran.may_end.set()
    place.beside.rest()
    assert Ran.names == ["m0", "m1", "m2", "m3"]


def test_a_function_that_goes_on_leaves_the_line_to_others(place: Place) -> None:
    """Once it waits no longer, nothing more is drawn for its slot, and the ticket is passed on."""
    place.beside._ready = True
    assert place.takes()
    eventually(lambda: Ran.names == ["m0"])
    place.waits = False
    place.lab.messenger.tickets.clear()
    place.lab.clock.advance(60_000)  # the ticket that went to others when the line was long is over
    Ran.may_end.set()
    place.beside.rest()
    assert Ran.names == ["m0"]
    assert place.lab.messenger.tickets == ["attempts"]
    assert place.takes()


def test_a_server_that_is_away_harms_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ticket is lost as any may be, and the next one can be taken."""
    place.beside._ready = True

    def away(*_: object, **__: object) -> None:
        raise module.Unavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(place.lab.store, "pick", away)
        assert place.takes()
        place.beside.rest()
    assert Ran.names == []
    Ran.may_end.set()
    assert place.takes()
