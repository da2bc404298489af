from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from reconciler.core.layout import PACKS as PACKS_FOLDER
from reconciler.stores.memory.store import MemoryStore
from tests.simulation.checker import Observer, Violation
from tests.simulation.simulation import Simulation, story_of
from tests.simulation.workload import FAMILY, IMPATIENT, MAPS, PACKS, THEMES, TIMED, TURNS, Theme

SEEDS = int(os.environ.get("SIM_SEEDS", "200"))
START = int(os.environ.get("SIM_START", "0"))
ONE = os.environ.get("SIM_SEED")
"""With a number, that story alone is told, with its trace."""
EVERY_THEME = (*THEMES, IMPATIENT, MAPS, TIMED, TURNS)
ALIKE = 169
"""A story that differed from process to process, in several themes, when leases were renewed in the order of a set."""


def told(seed: int, theme: Theme | None = None) -> Simulation:
    """Return a story, told to its end; one that breaks a promise fails with its seed."""
    sim = Simulation(seed, theme=theme)
    try:
        sim.run()
    except Violation as violation:
        print(story_of(sim))
        pytest.fail(f"SIM_SEED={seed}: {violation}")
    return sim


def test_no_story_breaks_a_promise() -> None:
    """Whatever dies, freezes, gets lost or does not answer, every promise holds at every write, and everything ends."""
    if ONE is not None:
        print(story_of(told(int(ONE))))
        return
    for seed in range(START, START + SEEDS):
        told(seed)


@pytest.mark.rule("R90")
def test_no_story_of_maps_breaks_a_promise() -> None:
    """Maps start no more members than may be open, none twice, and end; whatever dies, freezes or gets lost."""
    for seed in range(START, START + SEEDS // 5):
        told(seed, MAPS)


@pytest.mark.rule("R81")
def test_no_story_of_turns_breaks_a_promise() -> None:
    """No fair key and no low priority is passed over for long; whatever dies, freezes or gets lost."""
    for seed in range(START, START + SEEDS // 20):
        told(seed, TURNS)


@pytest.mark.rule("R83")
@pytest.mark.rule("R84")
def test_no_story_of_times_breaks_a_promise() -> None:
    """Nothing begins before its time or after it has expired, and a step ends that in time; whatever dies or freezes."""
    for seed in range(START, START + SEEDS // 5):
        told(seed, TIMED)


def test_no_story_of_packs_breaks_a_promise() -> None:
    """Outputs that share an object are there, whole, as long as a record names them, and go after it."""
    packs = 0
    for seed in range(START, START + max(SEEDS // 20, 12)):
        packs += sum(f"/{PACKS_FOLDER}/" in at.key for at in told(seed, PACKS).blobs._objects)
    assert packs


@pytest.mark.rule("R86", "R89")
def test_no_story_of_impatient_parents_breaks_a_promise() -> None:
    """What one pass has given up, the next gives up, in an event loop or not; who starts over begins a new history."""
    seen: Counter[str] = Counter()
    for seed in range(START, START + max(SEEDS // 20, 10)):
        seen += told(seed, IMPATIENT).families.played
    assert {"limit late", "race", "nap late", "apart", "over"} - seen.keys() == set()
    assert seen["stream"] + seen["stream late"]


def test_stories_are_not_idle() -> None:
    """Every kind of fault happens, every kind of end, every refusal: a simulator that does nothing finds nothing."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        sim = told(seed, FAMILY if seed % 6 == 0 else None)
        for entry in sim.scheduler.trace:
            seen.update(str(part) for part in entry[2:])
            seen.update(str(part) for parts in entry[2:] if isinstance(parts, tuple) for part in parts)
        seen.update(str(event.phase) for events in sim.observer.ends.values() for event in events)
    faults = {"kill", "freeze", "pause", "lag", "store", "again", "blobs", "broker"}
    ends = {"succeeded", "failed", "aborted", "timed_out"}
    others = {
        "superseded",
        "CatalogMiss",
        "BlobExists",
        "returned",
        "raised",
        "killed",
        "oom",
        "refused",
        "Suspended",
        "Died",
    }
    assert (faults | ends | others) - seen.keys() == set()


_DIGESTS = """
import hashlib
from tests.simulation import test_simulation
for theme in test_simulation.EVERY_THEME:
    sim = test_simulation.told(test_simulation.ALIKE, theme)
    print(hashlib.sha256(test_simulation.story_of(sim).encode()).hexdigest())
"""


def test_a_seed_tells_one_story() -> None:
    """The same seed gives the same trace of every theme, in another process, where hashes and addresses are others."""
    root = Path(__file__).parents[2]
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _DIGESTS],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "12345")
    ]
    first, second = ((other.communicate(timeout=120)[0].split(), other.returncode) for other in others)
    assert first == second
    assert (len(first[0]), first[1]) == (len(EVERY_THEME), 0)


def test_a_seed_tells_one_story_whatever_was_told_before() -> None:
    """Neither threads nor caches of earlier stories show."""
    mine = story_of(told(7))
    told(8, IMPATIENT)
    assert story_of(told(7)) == mine


def test_what_began_in_an_earlier_life_is_not_counted_in_a_later_one() -> None:
    """A worker that stood still may begin a launch whose run was forgotten; a later run of that name has one of its own."""
    observer = Observer(MemoryStore())
    launch = ("p/d/r/a0", "1")
    observer.begins(*launch, "worker-1")
    assert not observer.begun
    observer.granted[launch] = "worker-2"
    observer.begins(*launch, "worker-2")
    assert observer.begun == {launch}
