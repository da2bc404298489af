"""An installation without workers, whose processes are forked, and killed at a write of their choice."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import wraps
from itertools import count
from typing import Any, NamedTuple, TypeVar

import msgspec
from crash_points import PARTS

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.errors import BlobNotFound
from reconciler.api.template import Identifier, Interface, TaskTemplate, encode_template
from reconciler.archive.archive import Archive
from reconciler.archive.bulk import BulkVerb, Done
from reconciler.archive.layout import EVENTS, RUNS
from reconciler.archive.packing import unpack
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Client, Run
from reconciler.plugins.registry import PluginEntry
from reconciler.settings import Settings
from reconciler.stores.holds import RunLife
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.sweeps.archive import archive_all
from reconciler.sweeps.collect import collect
from reconciler.wiring import Engine

WRITES = {
    "store": [
        *("create", "seal", "recall", "set_archived", "set_spilled", "trim_events", "note_garbage"),
        *("drop_garbage", "collect", "hold", "let_go"),
    ],
    "blobs": ["put", "create_many", "delete", "delete_prefix"],
}
"""What changes something: whoever dies at any other call leaves what one leaves who dies at the write before it."""
_STEP = 60.0
"""Seconds until what was submitted has to end."""
Work = Callable[[Client], object]
T = TypeVar("T")
R = TypeVar("R")


class Quiet:
    """A messenger nobody listens to: steps are made here."""

    def __getattr__(self, name: str) -> Any:  # any verb
        return lambda *_, **__: 0


def client_of(settings: Settings) -> Client:
    """Make a client with connections of its own."""
    return Client(RedisStore(settings), S3Blobs(settings), Quiet(), settings)


def spec() -> ActionSpec:
    """Make an action that gives back what it was given."""
    template = TaskTemplate(
        id=Identifier(project="default", domain="development", name="echo"),
        type="echo",
        interface=Interface(inputs={"text": "str"}, outputs={"o0": "str"}),
    )
    inputs = msgspec.json.encode({"text": "x" * 500})
    return ActionSpec(task_type="echo", task_template=encode_template(template), inputs=inputs)


def forget(client: Client) -> None:
    """Make one pass of the collector, for which all turns have come and every event is old."""
    redis = client.store.client  # type: ignore[attr-defined]  # of Redis
    for key in redis.scan_iter(f"{client.settings.key_prefix}:swept:*"):
        redis.delete(key)
    at_once = msgspec.structs.replace(client.settings, retention=timedelta(0), events_retention=timedelta(0))
    archive_all(client.store, client.blobs, at_once, client.store.now())
    collect(client.store, msgspec.structs.replace(client.settings, retention=timedelta(0)), client.blobs)


def bulk(client: Client, name: str, sources: list[RunLife]) -> list[Done]:
    """Rerun them; whoever comes later goes on."""
    try:
        found = client.bulk.open(name)
    except BlobNotFound:
        found = client.bulk.plan(BulkVerb.RERUN, sources, name=name)
    return found.carry_out()


def delete(client: Client, run: RunId) -> None:
    """Have a run forgotten for good."""
    client.history.delete(client.history.plan_delete(run))


def at_once(look: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Look at each, side by side: servers take milliseconds for one. No process is forked any more by then."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(look, things))


class Trap(NamedTuple):
    """The write to a server at which a process dies.

    Attributes:
        number: the how many-th.
        verb: of writes of this verb, and right after it; empty: of all, and right before it.
    """

    number: int
    verb: str = ""


class Site:
    """Servers, and the product's code on them, without its processes.

    Attributes:
        settings: of the installation.
        engine: makes the steps.
        client: submits and reads.
    """

    def __init__(self, settings: Settings, plugins: Sequence[PluginEntry] = ()) -> None:
        self.settings = settings
        given: dict[str, Any] = {"store": RedisStore(settings), "blobs": S3Blobs(settings)}
        self.engine = Engine(settings, messenger=Quiet(), plugins=plugins, **given)
        self.client = client_of(settings)

    # -- what is done ----------------------------------------------------------------------------------------------
    def ended(self, *names: str) -> list[Run[Any]]:
        """Make runs of two that ended."""
        runs: list[Run[Any]] = [self.client.submit_many([spec(), spec()], run=name) for name in names]
        self.settle()
        return runs

    def settle(self) -> None:
        """Make steps until nothing is due."""
        deadline, store = time.monotonic() + _STEP, self.engine.store
        while any(store.due(shard, 1) for shard in range(store.shards)):
            assert time.monotonic() < deadline, "something is still due"
            for shard in range(store.shards):
                self.engine.stepper.step(shard)

    def harmed(self, *works: tuple[Work, Trap]) -> list[bool]:
        """Do it in processes, all at once, each of which may die; whether they did."""
        started = [self._fork(work, trap) for work, trap in works]
        died = []
        for pid in started:
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a process ended with an error"
            died.append(os.WIFSIGNALED(status))
        return died

    def killed_in_turn(self, work: Callable[[int], Work]) -> int:
        """Do a work again and again, killed before its first write, its second, and so on, until it survives.

        Args:
            work: makes the one of each number.

        Returns:
            How many writes it has.
        """
        for number in count():
            if self.harmed((work(number), Trap(number))) == [False]:
                return number
        raise AssertionError("it writes without end")

    def outlive_holds(self) -> None:
        """Let the minutes pass for which whoever died keeps the records of his source."""
        redis = self.client.store.client  # type: ignore[attr-defined]  # of Redis
        for key in redis.scan_iter(f"{self.settings.key_prefix}:*}}:holds:*"):
            redis.hset(key, mapping=dict.fromkeys(redis.hkeys(key), 1))

    def _fork(self, work: Work, trap: Trap) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:  # pragma: no cover
            _arm(trap)
            work(client_of(self.settings))
        except BaseException:  # noqa: BLE001  # told by its status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    # -- what is left ----------------------------------------------------------------------------------------------
    def objects(self, place: str) -> list[str]:
        """What lies there."""
        found, after = [], ""
        while page := self.client.blobs.find(self.client.blobs.uri(place) + "/", after=after):
            after = page[-1].uri
            found += [one.uri for one in page]
        return found

    def remembered(self) -> Counter[RunLife]:
        """Count the lines of the index that tell of each run."""
        question = Question(project="default", since=FIRST, until=LAST)
        return Counter(RunLife(row.id, row.incarnation) for row in self.client.history.find(question).rows)

    def asked(self) -> set[str]:
        """What somebody asked to have deleted."""
        return {run for trace in self.client.history.deleted() for run in trace.runs}

    def wrong(self, runs: Sequence[Run[Any]]) -> set[str]:
        """Say what is wrong with these runs, which have ended, and of which all are archived but those to be deleted."""
        asked = self.asked()
        stay = [run for run in runs if f"{run.id}@{run.incarnation}" not in asked]
        return {*self._left(asked), *self._lost(stay)}

    def _left(self, asked: set[str]) -> Iterator[str]:
        """Find what is left of runs of which nothing may be left but a finished trace."""
        if not all(trace.finished_at for trace in self.client.history.deleted()):
            yield "a request is open"
        names = {run.partition("@")[0].rpartition("/")[2] for run in asked}
        for place, what in (("_runs", "objects"), (RUNS, "an archived run")):
            if any(uri.partition("@")[0].rpartition("/")[2] in names for uri in self.objects(place)):
                yield f"{what} left"
        segments = [line for uri in self.objects(EVENTS) for line in unpack(self.client.blobs.get(uri)).lines]
        if any(f'"{name}"'.encode() in line for name in names for line in segments):
            yield "events left"
        store = self.client.store
        if any(store.garbage(shard) for shard in range(store.shards)):
            yield "notes of garbage left"

    def _lost(self, runs: Sequence[Run[Any]]) -> Iterator[str]:
        """Find what is missing of runs that have to be archived whole, and found once; Redis has forgotten them."""
        lines = self.remembered()
        if set(lines.values()) - {1}:
            yield "a run found twice"
        if not {RunLife(run.id, run.incarnation) for run in runs} <= set(lines):
            yield "a run not found"
        if not {summary.id.run[:5] for summary in self.client.runs(1000)} <= {"lives"}:
            yield "a run still stored"
        archive = Archive(self.client.blobs)
        kept = at_once(lambda run: archive.read_run(run.id, run.incarnation), runs)
        if not all(run and (run.damage, run.missing, len(run.actions)) == ("", 0, 3) for run in kept):
            yield "a run not archived whole"
        elif {len(result) for result in at_once(lambda run: run.result(), runs)} - {2}:
            yield "outputs lost"


def _arm(trap: Trap) -> None:
    """Let this process die at a write to a server; a verb that calls another one is one write each."""
    left = trap.number

    def wrapped(call: Any) -> Any:
        @wraps(call)
        def passed(*args: Any, **given: Any) -> Any:  # those of any verb
            nonlocal left
            counts = trap.verb in {"", call.__name__}
            left -= counts
            dies = counts and left == -1
            if dies and not trap.verb:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **given)
            finally:  # also after a refusal, as of an object that is there already
                if dies:
                    os.kill(os.getpid(), signal.SIGKILL)

        return passed

    for part in ("store", "blobs"):
        _, speaker = PARTS[part]
        for verb in WRITES[part]:
            setattr(speaker, verb, wrapped(getattr(speaker, verb)))
