"""A process is killed before and after every call it makes to Redis, S3 and the broker."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from crash_points import LOCAL, MOST_PASSES, PARTS, all_points

from reconciler.embedded.servers import EmbeddedServers

LONG = bool(os.environ.get("CHAOS_LONG"))
DEATHS = int(os.environ.get("CHAOS_DEATHS") or (50 if LONG else 1))
"""Deaths at each point."""
AT_ONCE = 8 if LONG else 3
"""Traps of one round; what the round costs is shared by the deaths in it."""
LANES = 8 if LONG else 6
PATIENCE = 3000.0 if LONG else 240.0
SWEEPS = 6
"""How often the traps that killed nobody are set again: some calls depend on who was quicker."""
UNREACHED: dict[str, str] = {
    f"store.{verb}:{side}": why
    for verb, why in (
        ("start_attempt", "workers draw; nobody takes a launch by its name"),
        ("list_asking", "only looks, for the page of questions; nobody opens it here"),
        ("queues_with_rules", "only looks, for lists of queues; nobody lists them here"),
        ("ended_children", "only looks, for who takes results as they come; nobody does here"),
    )
    for side in ("before", "after")
}
"""Points no round passes, with the reason."""
FAST = {
    "ATTEMPT_LEASE": "3s", "STEP_LEASE": "2s", "STEP_BUDGET": "500ms", "REQUEUE_DURATION": "1s",
    "MAX_COUNTDOWN": "1s", "QUOTA_LEASE": "3s", "CACHE_MAX_HEARTBEAT": "1s", "MAX_SYSTEM_FAILURES": "20",
    "QUOTAS": "gpu=1", "SHARDS": "2", "INLINE_LIMIT": "1024", "COLLECT_OBJECTS": "true", "IMPORTS": "chaos_tasks",
}  # fmt: skip
"""Short leases: who died is replaced soon. Few shards: a lane looks at all of them again and again."""
PACKED = "2048"
"""In every other lane small outputs of siblings share an object."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(PATIENCE + 60)]


def test_every_verb_is_a_crash_point() -> None:
    """Each verb of each protocol has a point before and one after it, or a reason why it cannot have one."""
    points = set(all_points())
    for part, (protocol, speaker) in PARTS.items():
        for verb in dir(protocol):
            name = f"{part}.{verb}"
            if callable(getattr(protocol, verb)) and not verb.startswith("_"):
                assert name in LOCAL or {f"{name}:before", f"{name}:after"} <= points, name
                assert callable(getattr(speaker, verb)), name
    assert set(UNREACHED) <= points


def test_a_death_at_every_crash_point_loses_nothing(rng: random.Random, tmp_path: Path) -> None:
    """Whoever dies, and where: all actions end exactly once, with readable outputs, and hold nothing any more."""
    points = [point for point in all_points() if point not in UNREACHED]
    wanted = dict.fromkeys(points, DEATHS)
    rounds: list[dict[str, Any]] = []
    began = time.monotonic()
    with EmbeddedServers(tmp_path / "data") as servers:
        for sweep in range(SWEEPS):
            # A trap for the second pass may find only one; then it is set for the first. What is still missing is passed
            # once a round: a second trap of its kind would wait in vain.
            most, at_once = (MOST_PASSES if LONG else 1, AT_ONCE) if sweep == 0 else (1, 1)
            plan = _plan(wanted, rng, most=most, at_once=at_once)
            rounds += _run_lanes(servers, plan, tmp_path / f"sweep{sweep}")
            deaths = Counter(point for one in rounds for _, point in one["deaths"])
            wanted = {point: DEATHS - deaths[point] for point in points if deaths[point] < DEATHS}
            if not wanted:
                break
    _report(rounds, time.monotonic() - began)
    assert not wanted, f"never died so often as wanted: {wanted}"
    packed = sum(one["packed"] for one in rounds)
    print(f"{packed} outputs lay in packs")
    assert packed, "no output shared an object: these lanes proved nothing of packs"


def _plan(
    wanted: dict[str, int], rng: random.Random, *, most: int, at_once: int
) -> list[list[tuple[str, int]]]:
    """Return traps, in random order, each for a random pass, so many in each round."""
    traps = [(point, rng.randint(1, most)) for point, deaths in wanted.items() for _ in range(deaths)]
    rng.shuffle(traps)
    return [traps[start : start + at_once] for start in range(0, len(traps), at_once)]


def _run_lanes(
    servers: EmbeddedServers, plan: list[list[tuple[str, int]]], folder: Path
) -> list[dict[str, Any]]:
    """Return all rounds of a plan, in lanes beside each other."""
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        lanes = []
        for number in range(min(LANES, len(plan))):
            place = folder / f"lane{number}"
            place.mkdir(parents=True)
            lanes.append(_start_lane(servers, plan[number::LANES], place))
            stack.callback(_end, lanes[-1][0])
        deadline = time.monotonic() + PATIENCE
        for process, place in lanes:
            status = process.wait(max(0.0, deadline - time.monotonic()))
            assert status == 0, (place / "output").read_text()[-4000:]
            found += [json.loads(line) for line in (place / "found").read_text().splitlines()]
    return found


def _start_lane(
    servers: EmbeddedServers, rounds: list[list[tuple[str, int]]], place: Path
) -> tuple[subprocess.Popen[str], Path]:
    prefix = f"{place.parent.name}-{place.name}"
    packs = PACKED if place.name.endswith(("1", "3", "5", "7")) else "0"
    settings = {**FAST, "KEY_PREFIX": prefix, "S3_PREFIX": prefix, "PACK_OUTPUTS": packs}
    here = Path(__file__).parent
    env = {**os.environ, **servers.env(), **{f"RECONCILER_{name}": text for name, text in settings.items()}}
    env["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parents[1])])
    with (place / "output").open("w") as output:
        process = subprocess.Popen(  # our own program
            [sys.executable, str(here / "crash_lane.py"), str(place)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
            text=True,
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(rounds))
    process.stdin.close()
    return process, place


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _report(rounds: list[dict[str, Any]], seconds: float) -> None:
    """Print a line for each point; the cost of a round is shared by the deaths in it."""
    extra: dict[str, list[float]] = defaultdict(list)
    recovery: dict[str, list[float]] = defaultdict(list)
    for found in rounds:
        for _, point in found["deaths"]:
            extra[point].append(found["extra"] / len(found["deaths"]))
            recovery[point].append(found["recovery"])
    print(f"\n{'point':42} deaths  extra/death  recovery p50   max")
    for point in sorted(recovery):
        times = recovery[point]
        print(
            f"{point:42} {len(times):6} {statistics.mean(extra[point]):12.2f} "
            f"{statistics.median(times):12.1f}s {max(times):5.1f}s"
        )
    times = sorted(time for several in recovery.values() for time in several)
    print(
        f"points covered {len(recovery)} of {len(all_points())}, deaths {len(times)}, "
        f"extra executions {sum(found['extra'] for found in rounds)}, "
        f"recovery p50 {statistics.median(times):.1f} s, p99 {times[math.ceil(len(times) * 0.99) - 1]:.1f} s, "
        f"max {times[-1]:.1f} s, {len(rounds)} rounds in {seconds:.0f} s"
    )
