"""A worker that starts has a ticket sent for what waits in its queues."""

from __future__ import annotations

import pytest

from reconciler.broker.recording import RecordingMessenger
from reconciler.core.line import Line
from reconciler.stores.lines import Head
from reconciler.stores.memory import MemoryStore
from reconciler.tickets import announce_anew, announce_queue
from worker.functions_told import FunctionsTold

pytestmark = pytest.mark.rule("R82")
LINE = Line("q", 5, alone=False, fair="p", function="f").name


def test_a_ticket_that_may_have_died_is_sent_again_at_once() -> None:
    """Nobody waits until its mark has ended; for an empty or a paused queue none is sent."""
    store, messenger = MemoryStore(), RecordingMessenger()
    assert not announce_anew(store, messenger, "q")
    assert announce_queue(store, messenger, "q", [Head(0, LINE, 1, 1)])
    assert not announce_queue(store, messenger, "q")
    assert announce_anew(store, messenger, "q")
    assert not announce_anew(store, messenger, "other")
    store.set_queue("q", pause=True)
    assert not announce_anew(store, messenger, "q")


def test_a_queue_is_new_once() -> None:
    """The queues a worker begins to take attempts from are named the first time they are told of."""
    queues = ["a"]
    told = FunctionsTold("w", {}, lambda: queues, {})
    store = MemoryStore()
    assert told.tell(store) == {"a"}
    queues.append("b")
    assert told.tell(store) == {"b"}
    queues.remove("a")
    assert told.tell(store) == set()
    queues.append("a")
    assert told.tell(store) == {"a"}
