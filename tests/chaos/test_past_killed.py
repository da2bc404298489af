"""Whoever deletes, makes runs of many, archives or compacts is killed at any moment: nothing is half done."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
from crash_points import PARTS

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.errors import BlobNotFound
from reconciler.api.template import Identifier, Interface, TaskTemplate, encode_template
from reconciler.archive import compaction
from reconciler.archive.archive import Archive
from reconciler.archive.bulk import BulkVerb, Done
from reconciler.archive.layout import EVENTS, RUNS
from reconciler.archive.packing import unpack
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Client, Run
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.holds import RunLife
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.sweeps.archive import archive_all
from reconciler.sweeps.collect import collect
from reconciler.wiring import Engine

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.rule("R91", "R92")]
ROUNDS = 8
SOURCES = 3
"""Runs of a bulk."""
KINDS = ("forgets", "deletes", "reruns", "collects")
"""What is done in each round: a stored run and an archived one are deleted, many are rerun, all is collected."""
LEAST = ROUNDS * 2
"""Kills that have to strike, of four processes a round: some traps lie behind the last write."""
WRITES = {
    "store": [
        *("create", "seal", "recall", "set_archived", "set_spilled", "trim_events", "note_garbage"),
        *("drop_garbage", "collect", "hold", "let_go"),
    ],
    "blobs": ["put", "create_many", "delete", "delete_prefix"],
}
"""What changes something: whoever dies at any other call leaves what one leaves who dies at the write before it."""
COLLECTING = [
    "seal",
    "set_archived",
    "set_spilled",
    "note_garbage",
    "drop_garbage",
    "collect",
    "put",
    "delete",
]
"""Writes of a collector: it dies once after each of these, in some order."""
DELETING = 9
"""Writes that whoever deletes a run makes at least; he dies before all but one of them."""
REMAKING = 14
"""Those of a bulk."""
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
    for key in redis.scan_iter("*swept*"):
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
    """Servers, and the product's code on them, without its processes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings, store=RedisStore(settings), blobs=S3Blobs(settings), messenger=Quiet())
        self.client = client_of(settings)

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

    def harmed(self, *works: tuple[Work, Trap]) -> list[bool]:
        """Do it in processes, all at once, each of which may die; whether they did."""
        started = [self._fork(work, trap) for work, trap in works]
        died = []
        for pid in started:
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a process ended with an error"
            died.append(os.WIFSIGNALED(status))
        return died

    def _fork(self, work: Work, trap: Trap) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:  # pragma: no cover
            arm(trap)
            work(client_of(self.settings))
        except BaseException:  # noqa: BLE001  # told by its status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)


def arm(trap: Trap) -> None:
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Servers of their own, whose index is compacted early."""
    with (
        EmbeddedServers(tmp_path_factory.mktemp("past") / "data") as servers,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in servers.env().items():
            patch.setenv(name, value)
        patch.setattr(compaction, "MANY", 3)
        yield Site(Settings.from_env(servers.env(), shards=2, inline_limit=64))


def test_the_past_is_whole_or_gone(site: Site, rng: random.Random) -> None:
    """In each round two delete, one reruns many, one archives and compacts, at once; then others go on where they died.

    Of a run whose deletion was asked for nothing is left but a trace, in no segment either; of all others everything is
    there, once. Each source of a bulk has one run more, whoever carried it out.
    """
    living = [site.client.condition("lives", run=f"lives{number}") for number in range(4)]
    names = [f"old{number}" for number in range(2 * ROUNDS)]
    old = {run.id.run: run for run in site.ended(*names)}
    forget(site.client)  # of what is deleted in each round one is archived, one is stored
    bulks: dict[str, list[RunLife]] = {}
    died: Counter[str] = Counter()
    for number, (forgets, deletes, reruns, collects) in enumerate(_traps(rng)):
        new = site.ended(*(f"new{number}{part}" for part in "abc"))
        old |= {run.id.run: run for run in new}
        bulks[f"bulk{number}"] = [
            RunLife(run.id, run.incarnation) for run in (new[1], new[2], old[f"old{number + ROUNDS}"])
        ]
        kills = site.harmed(
            (lambda client, run=new[0]: delete(client, run.id), forgets),
            (lambda client, run=old[f"old{number}"]: delete(client, run.id), deletes),
            (lambda client, name=f"bulk{number}": bulk(client, name, bulks[name]), reruns),
            (forget, collects),
        )
        died.update(kind for kind, one in zip(KINDS, kills, strict=True) if one)
        site.settle()
    assert died.total() >= LEAST, f"too few were killed to prove anything: {died}"
    _go_on(site, bulks)
    asked = {run for trace in site.client.history.deleted() for run in trace.runs}
    print(
        f"{dict(died)} of {ROUNDS} each were killed; of the deletions {len(asked)} had been asked for by then"
    )
    assert 0 < len(asked) < 2 * ROUNDS, "or only one of both fates was tried"
    _check_gone(site, asked)
    _check_whole(site, [run for run in old.values() if f"{run.id}@{run.incarnation}" not in asked])
    assert [run.phase.is_terminal() for run in living] == [False] * len(living)


def _traps(rng: random.Random) -> list[tuple[Trap, Trap, Trap, Trap]]:
    """Choose where each of the four dies in each round: never twice at the same write, so that few are left out."""
    deletes = [
        [0, *rng.sample(range(1, DELETING), ROUNDS - 1)] for _ in range(2)
    ]  # before 0 nothing was asked for
    for numbers in deletes:
        rng.shuffle(numbers)
    reruns = rng.sample(range(REMAKING), ROUNDS)
    collects = rng.sample(COLLECTING, ROUNDS)
    return [
        (Trap(stored), Trap(archived), Trap(rerun), Trap(rng.randrange(2), verb))
        for stored, archived, rerun, verb in zip(*deletes, reruns, collects, strict=True)
    ]


def _go_on(site: Site, bulks: dict[str, list[RunLife]]) -> None:
    """Let others do the rest; what they say twice is the same."""
    for name, sources in bulks.items():
        done = bulk(site.client, name, sources)
        assert [each.run for each in done] == [str(life) for life in sources]
        assert bulk(site.client, name, sources) == done
        site.settle()
        into = at_once(site.client.made_into, sources)
        for each, found in zip(done, into, strict=True):
            assert bool(each.made) != bool(each.refused), each
            assert [str(run) for run in found] == [each.made] * bool(each.made)
    _outlive_holds(site.client)
    for _ in range(3):
        forget(site.client)


def _outlive_holds(client: Client) -> None:
    """Let the minutes pass for which whoever died keeps the records of his source."""
    redis = client.store.client  # type: ignore[attr-defined]  # of Redis
    for key in redis.scan_iter("*holds:*"):
        redis.hset(key, mapping=dict.fromkeys(redis.hkeys(key), 1))


def _check_gone(site: Site, asked: set[str]) -> None:
    """Check that nothing of them is left but a finished trace."""
    assert all(trace.finished_at for trace in site.client.history.deleted())
    names = {run.partition("@")[0].rpartition("/")[2] for run in asked}
    folders = [uri for uri in site.objects("_runs") if uri.partition("@")[0].rpartition("/")[2] in names]
    archived = [uri for uri in site.objects(RUNS) if uri.partition("@")[0].rpartition("/")[2] in names]
    assert (folders, archived) == ([], [])
    segments = [line for uri in site.objects(EVENTS) for line in unpack(site.client.blobs.get(uri)).lines]
    assert segments, "no event was old enough to be stored: the test proved nothing"
    assert not [line for line in segments if any(f'"{name}"'.encode() in line for name in names)]
    store = site.client.store
    assert [store.garbage(shard) for shard in range(store.shards)] == [{}] * store.shards


def _check_whole(site: Site, runs: list[Run[Any]]) -> None:
    """Check that all are archived whole, and found once though the index was compacted; Redis has forgotten them."""
    lines = site.remembered()
    assert set(lines.values()) == {1}
    assert {summary.id.run[:5] for summary in site.client.runs(1000)} == {"lives"}
    assert {RunLife(run.id, run.incarnation) for run in runs} <= set(lines)
    archive = Archive(site.client.blobs)
    for kept in at_once(lambda run: archive.read_run(run.id, run.incarnation), runs):
        assert kept is not None
        assert (kept.damage, kept.missing, len(kept.actions)) == ("", 0, 3)
    assert {len(result) for result in at_once(lambda run: run.result(), runs)} == {2}
