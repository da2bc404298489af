"""A draw and the ticket that is passed on: what was drawn is run, whatever becomes of the ticket (R79, R82)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.api.action import TaskAction
from reconciler.api.errors import BrokerUnavailable, StoreUnavailable
from reconciler.environment import TaskEnvironment
from reconciler.stores.lines import Head
from reconciler.stores.timing import TICKET_TTL
from reconciler.testing import Lab
from worker.attempts import beside
from worker.attempts.drawing import Drawing

RAN: list[str] = []


def noop(number: int) -> int:
    """Return what it is given."""
    return number


class Noted:
    """A batch that notes what it was to run."""

    seconds = (0.001,)
    given_back = 0

    def __init__(self, *args: Any, **_: Any) -> None:
        records: list[TaskAction] = args[4]
        RAN.extend(record.id.action for record in records)

    def run(self) -> None:
        """Run nothing: what was drawn is what counts here."""

    def report(self) -> None:
        """Report nothing, as above."""


def away(error: type[Exception]) -> Any:
    """Return a verb whose server does not answer."""

    def verb(*_: object) -> bool:
        raise error("away")

    return verb


@pytest.mark.rule("R79", "R82")
@pytest.mark.parametrize(
    ("part", "verb", "error"),
    [("store", "announce", StoreUnavailable), ("messenger", "ticket", BrokerUnavailable)],
)
def test_what_was_drawn_runs_without_a_ticket(
    monkeypatch: pytest.MonkeyPatch, part: str, verb: str, error: type[Exception]
) -> None:
    """A server that is away between the draw and the ticket keeps no launch under a lease that nobody renews."""
    lab = Lab()
    env = TaskEnvironment("passing", client=lab.client)
    env.task(noop).map(range(5))
    lab.step()
    lab.clock.advance(TICKET_TTL + 1)  # the ticket that announced the line is over, so another one is due
    RAN.clear()
    monkeypatch.setattr(beside, "Batch", Noted)
    monkeypatch.setattr(getattr(lab, part), verb, away(error))
    telling: Any = None
    engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
    Drawing(engine, "attempts", "", telling).run()
    assert sorted(RAN) == ["m0", "m1", "m2", "m3", "m4"]


@pytest.mark.rule("R82")
def test_heads_that_give_nothing_send_no_ticket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads may outlive the last launch of their lines: who finds nothing behind them calls no other worker."""
    lab = Lab()
    for number, function in enumerate(("one", "two", "three")):
        head = Head(number, f"attempts/5-/p/{function}", 1, 1)
        lab.store.announce("attempts", [head])
    lab.clock.advance(TICKET_TTL + 1)
    sent: list[str] = []
    monkeypatch.setattr(lab.messenger, "ticket", sent.append)
    telling: Any = None
    engine: Any = SimpleNamespace(store=lab.store, messenger=lab.messenger, settings=lab.settings)
    assert lab.store.pick("attempts", choose=False).lines == 3
    Drawing(engine, "attempts", "", telling).run()
    assert lab.store.pick("attempts", choose=False).lines == 0
    assert not sent
