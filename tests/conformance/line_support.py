"""Helpers for tests of lines: put launches into them, draw them, give them back."""

from __future__ import annotations

from collections.abc import Iterable

from support import ATTEMPT_LEASE, LINE, claimed, created, make_action, phase_write, shard_of

from reconciler.api.action import RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.line import Line
from reconciler.stores.base import CommitReport, Store
from reconciler.stores.lines import Draw, GivenBack, Head, Pick, Served
from reconciler.stores.memory import MemoryStore
from reconciler.stores.redis.store import RedisStore

HOUR = 3_600_000
RUN = RunId("p", "d", "r1")


def line(level: int = 5, fair: str = "p", function: str = "f", *, queue: str = "q") -> str:
    """Name of a line."""
    return Line(queue, level, alone=False, fair=fair, function=function).name


def stand(store: Store, actions: Iterable[TaskAction], name: str = LINE) -> CommitReport:
    """Create actions of one shard, and launch them in one commit; they are looked at in an hour."""
    found = list(actions)
    created(store, *found)
    later = store.now() + HOUR
    writes = [
        phase_write(claimed(store, action), ActionPhase.RUNNING, due=later, launch=("1", name))
        for action in found
    ]
    return store.commit(shard_of(store, found[0]), writes)


def many(count: int, run: RunId = RUN) -> list[TaskAction]:
    """So many actions of a run."""
    return [make_action(f"a{number:02d}", run=run) for number in range(count)]


def draw(
    store: Store, action: TaskAction, name: str = LINE, *, limit: int = 1, owner: str = "w1", least: int = 1
) -> Draw:
    """Draw from a line of the shard of an action."""
    shard = shard_of(store, action)
    return store.draw(shard, name, owner=owner, limit=limit, lease=ATTEMPT_LEASE, least=least)


def names(drawn: Draw) -> list[str]:
    """Which actions were drawn, in their order."""
    return [record.id.action for record in drawn.actions]


def everything(store: Store, action: TaskAction, name: str = LINE) -> list[str]:
    """Return all that stands in a line, drawn one by one."""
    found: list[str] = []
    while drawn := names(draw(store, action, name)):
        found += drawn
    return found


def back(record: TaskAction) -> GivenBack:
    """Return a launch that was drawn and not begun."""
    return GivenBack(record.id, record.attempt.launch, record.metadata.incarnation)


def given_back(store: Store, *records: TaskAction, owner: str = "w1", name: str = LINE) -> tuple[Head, ...]:
    """Give launches of one shard back."""
    return store.give_back(
        shard_of(store, records[0]), name, owner=owner, launches=[back(r) for r in records]
    )


def head(store: Store, name: str, *, shard: int = 0, place: int = 0) -> Head:
    """Return a head, seen now."""
    now = store.now()
    return Head(shard, name, place or now, now * 1000)


def picked(store: Store, *served: Served, worker: str = "", queue: str = "q", first: bool = False) -> str:
    """Name of the line that is picked."""
    return store.pick(queue, worker=worker, served=served, first=first).line


def standing(pick: Pick) -> tuple[str, int]:
    """What a pick tells, without the shard."""
    return pick.line, pick.lines


def pause(store: Store, queue: str, *, paused: bool) -> None:
    """Pause a queue, or let it go on."""
    if isinstance(store, MemoryStore):
        store._heads[queue].paused = paused
        return
    assert isinstance(store, RedisStore)
    key = store.keys.queue(queue) + "paused"
    if paused:
        store.client.set(key, "1")
    else:
        store.client.delete(key)
