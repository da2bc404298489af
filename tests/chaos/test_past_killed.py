"""Whoever deletes, makes runs of many, archives or compacts is killed at any moment: nothing is half done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from zlib import crc32

import pytest
from past_planted import MISTAKES, planted
from past_site import Site, Trap, Work, at_once, bulk, delete, forget

from reconciler.archive import compaction
from reconciler.archive.layout import EVENTS
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.holds import RunLife

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300), pytest.mark.rule("R91", "R92")]
ROUNDS = 8
SOURCES = 3
"""Runs of a bulk."""
KINDS = ("forgets", "deletes", "reruns", "collects")
"""What is done in each round: a stored run and an archived one are deleted, many are rerun, all is collected."""
LEAST = ROUNDS * 2
"""Kills that have to strike, of four processes a round: some traps lie behind the last write."""
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
ALONE = {"forgets": 9, "deletes": 11, "reruns": 14, "collects": 9}
"""Writes each of them makes at least while nobody else is there."""
FOUND = {
    "records are forgotten before their folders are noted": ("forgets", "objects left"),
    "an object of the archive goes before its folders are noted": ("deletes", "objects left"),
    "a run is marked as archived before the index has it": ("collects", "a run not found"),
    "parts of the index go before the whole is written": ("collects", "a run not found"),
    "runs of a bulk are named anew each time": ("reruns", "a source has two runs"),
}
"""Of each planted mistake who shows it when he is killed, and what is wrong afterwards."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers of their own, which processes find by the environment."""
    with (
        EmbeddedServers(tmp_path_factory.mktemp("past") / "data") as servers,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in servers.env().items():
            patch.setenv(name, value)
        yield servers


@pytest.fixture
def site(servers: EmbeddedServers, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An installation without a past, whose index is compacted early."""
    monkeypatch.setattr(compaction, "MANY", 1)
    name = f"past{crc32(request.node.name.encode())}"
    settings = Settings.from_env(servers.env(), shards=2, inline_limit=64, key_prefix=name, s3_prefix=name)
    return Site(settings)


def test_the_past_is_whole_or_gone(site: Site, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round two delete, one reruns many, one archives and compacts, at once; then others go on where they died.

    Of a run whose deletion was asked for nothing is left but a trace, in no segment either; of all others everything is
    there, once. Each source of a bulk has one run more, whoever carried it out.
    """
    monkeypatch.setattr(compaction, "MANY", 3)
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
            (partial(delete, run=new[0].id), forgets),
            (partial(delete, run=old[f"old{number}"].id), deletes),
            (partial(bulk, name=f"bulk{number}", sources=bulks[f"bulk{number}"]), reruns),
            (forget, collects),
        )
        died.update(kind for kind, one in zip(KINDS, kills, strict=True) if one)
        site.settle()
    assert died.total() >= LEAST, f"too few were killed to prove anything: {died}"
    assert _go_on(site, bulks) == set()
    asked = site.asked()
    print(
        f"{dict(died)} of {ROUNDS} each were killed; of the deletions {len(asked)} had been asked for by then"
    )
    assert 0 < len(asked) < 2 * ROUNDS, "or only one of both fates was tried"
    assert site.objects(EVENTS), "no event was old enough to be stored: the test proved nothing"
    assert site.wrong(list(old.values())) == set()
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


def _go_on(site: Site, bulks: dict[str, list[RunLife]]) -> set[str]:
    """Let others do the rest; what they say twice is the same. Returns what is wrong with the bulks."""
    wrong = set()
    for name, sources in bulks.items():
        done = bulk(site.client, name, sources)
        assert [each.run for each in done] == [str(life) for life in sources]
        assert bulk(site.client, name, sources) == done
        site.settle()
        into = at_once(site.client.made_into, sources)
        for each, found in zip(done, into, strict=True):
            assert bool(each.made) != bool(each.refused), each
            if len(found) > 1:
                wrong.add("a source has two runs")
            elif [str(run) for run in found] != [each.made] * bool(each.made):
                wrong.add("a source has no run, or another one")
    site.outlive_holds()
    for _ in range(3):
        forget(site.client)
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_half_done_after_a_death_at_any_write(site: Site, kind: str) -> None:
    """Each of them alone, killed before its first write, before its second, and so on; then others go on."""
    writes, wrong = _killed_in_turn(site, kind)
    print(f"{kind}: killed before each of {writes} writes")
    assert writes >= ALONE[kind]
    assert wrong == set()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(site: Site, mistake: str) -> None:
    """What the wrong order of two writes leaves behind is seen."""
    kind, harm = FOUND[mistake]
    with planted(mistake):
        _, wrong = _killed_in_turn(site, kind)
    assert harm in wrong


def _killed_in_turn(site: Site, kind: str) -> tuple[int, set[str]]:
    """Kill one of them at each of its writes; returns how many these are, and what is wrong in the end."""
    bulks: dict[str, list[RunLife]] = {}
    runs = []

    def work(number: int) -> Work:
        if kind == "collects":
            forget(site.client)  # another one goes on; else there would be more to do each time
        new = site.ended(*(f"{kind}{number}{part}" for part in "abc"[: SOURCES if kind == "reruns" else 1]))
        runs.extend(new)
        if kind == "deletes":
            forget(site.client)
        if kind in {"forgets", "deletes"}:
            return partial(delete, run=new[0].id)
        if kind == "collects":
            return forget
        lives = bulks[f"bulk{number}"] = [RunLife(run.id, run.incarnation) for run in new]
        return partial(bulk, name=f"bulk{number}", sources=lives)

    writes = site.killed_in_turn(work)
    site.settle()
    wrong = _go_on(site, bulks)
    return writes, wrong | site.wrong(runs)
