from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.checker import Violation
from tests.simulation.simulation import Simulation, story_of
from tests.simulation.workload import IMPATIENT, MAPS, TURNS, Theme

SEEDS = int(os.environ.get("SIM_SEEDS", "200"))
START = int(os.environ.get("SIM_START", "0"))
ONE = os.environ.get("SIM_SEED")
"""With a number, that story alone is told, with its trace."""


def told(seed: int, theme: Theme | None = None) -> Simulation:
    """A story, told to its end; one that breaks a promise fails with its seed."""
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
        sim = told(seed)
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


def test_a_seed_tells_one_story() -> None:
    """The same seed gives the same trace, also in another process where hashes are others."""
    seed = 7
    mine = hashlib.sha256(story_of(told(seed)).encode()).hexdigest()
    assert hashlib.sha256(story_of(told(seed)).encode()).hexdigest() == mine
    program = (
        "import hashlib\nfrom tests.simulation.simulation import Simulation, story_of\n"
        f"sim = Simulation({seed}); sim.run()\nprint(hashlib.sha256(story_of(sim).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert other.stdout.strip() == mine
