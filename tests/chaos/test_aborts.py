"""An abort at every moment of an action's life, and one that races with its end: one end each, and nothing left running."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import harm_tasks
import msgspec
import pytest
from harm_support import LONG, RECOVERY, Site, gone, percentile, running_site, traces, until

from reconciler.api.action import ActionSpec, AttemptOutcome
from reconciler.api.errors import ActionEnded
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client, Run
from reconciler.settings import Settings
from reconciler.stores.base import Finished
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.testing.invariants import check_due_index, check_run
from reconciler.wiring import Engine

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]
MEMBERS = 1000 if LONG else 200
SLOTS = 6
RACES = 10_000 if LONG else 200


TEMPLATE = ActionSpec(
    task_type="function",
    task_template=encode_template(TaskTemplate(type="function", custom={"function": "race"})),
    inputs=b"{}",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with a quota of one unit, which is used up as soon as one holds it."""
    env = {"RECONCILER_QUOTAS": "license=1", "RECONCILER_ABORT_GRACE": "1"}
    folder = tmp_path_factory.mktemp("aborts")
    with running_site(folder, env=env, client_env=env, attempts_concurrency=SLOTS) as made:
        yield made


def test_an_abort_ends_an_action_in_any_phase(site: Site, tmp_path: Path) -> None:
    """Queued, waiting for a unit, running, deaf, asleep, between two attempts, waiting for a person: all end as aborted."""
    tally = str(tmp_path / "tally")
    runs: dict[str, Run[Any]] = {
        "queued": harm_tasks.nobody.delay(),
        "running": harm_tasks.die.delay("wait", tally),
        "deaf": harm_tasks.deaf.delay(tally),
        "back-off": harm_tasks.fail.delay(tally),
        "holder": harm_tasks.hold.delay(tally),
    }
    until(
        lambda: {line.partition(":")[0] for line in traces(Path(tally))} >= {"wait", "deaf", "fail", "hold"}
    )
    runs["waiting"] = harm_tasks.hold.delay(tally)
    runs["paused"] = site.client.condition("approval", prompt="go on?")
    wanted = {
        "queued": ActionPhase.QUEUED, "running": ActionPhase.RUNNING, "deaf": ActionPhase.RUNNING,
        "back-off": ActionPhase.QUEUED, "holder": ActionPhase.RUNNING, "paused": ActionPhase.PAUSED,
        "waiting": ActionPhase.WAITING_FOR_RESOURCES,
    }  # fmt: skip
    for name, run in runs.items():
        until(partial(in_phase, site, run, wanted[name]), what=f"{name} in its phase")
    took = stopped(site, list(runs.values()))
    for run in runs.values():
        assert check_run(site.client, run.id) == {ActionPhase.ABORTED: 1}
    check_due_index(site.client)
    deaf = next(line for line in traces(Path(tally)) if line.startswith("deaf:"))
    until(lambda: gone(int(deaf.partition(":")[2])), what="the end of the process that listens to nobody")
    after = site.map(range(2 * SLOTS), 0.0, tmp_path / "after")
    assert after.result(timeout=30) == list(range(2 * SLOTS)), "a slot is not free"
    print(f"aborted in {len(runs)} phases: seconds to stop {[round(s, 1) for s in took]}")


def test_an_abort_ends_a_group_with_all_members(site: Site, tmp_path: Path) -> None:
    """A running group is aborted: no member is left running or due, and none succeeds afterwards."""
    tally = tmp_path / "tally"
    run = site.map(range(MEMBERS), 0.5, tally)
    until(lambda: len(traces(tally)) >= 6, what="the first members")
    [took] = stopped(site, [run])
    phases = check_run(site.client, run.id)
    check_due_index(site.client)
    assert phases[ActionPhase.ABORTED] > MEMBERS / 2
    assert set(phases) <= {ActionPhase.ABORTED, ActionPhase.SUCCEEDED}
    print(f"group of {MEMBERS} aborted: {took:.1f} s to stop, {dict(phases)}")


def test_an_abort_that_races_with_the_end_leaves_one_end(site: Site, rng: random.Random) -> None:
    """A worker reports while somebody aborts: one terminal event, and the record stays as it ended first."""
    settings = msgspec.structs.replace(Settings.from_env(site.stack.env()), key_prefix="race")
    store = RedisStore(settings)
    blobs = MemoryBlobs()
    engine = Engine(settings, store=store, blobs=blobs, messenger=RecordingMessenger())
    client = Client(store, blobs, engine.messenger, settings)
    ends: Counter[ActionPhase] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(RACES):
            ends[race(engine, client, pool, rng)] += 1
    engine.stepper.close()
    print(f"abort against end, {RACES} races: {dict(ends)}, one terminal event each")
    assert set(ends) == {ActionPhase.SUCCEEDED, ActionPhase.ABORTED}, "one side always won: this was no race"


def race(engine: Engine, client: Client, pool: ThreadPoolExecutor, rng: random.Random) -> ActionPhase:
    """Report and abort one running action at about the same time, and step until it has ended."""
    run = client.submit(TEMPLATE)
    shard = engine.store.shard_of(run.id)
    engine.stepper.step(shard)
    launch = client.get(run.action).attempt.launch
    engine.store.start_attempt(run.action, launch, owner="w", lease=60_000)
    pauses, ready = [rng.uniform(0, 0.002) for _ in range(2)], threading.Barrier(2)

    def report() -> None:
        ready.wait()
        threading.Event().wait(pauses[0])
        engine.store.finish_attempts(
            shard, "w", [Finished(run.action, launch, AttemptOutcome(ended="returned"))]
        )
        engine.stepper.step(shard, [run.action], drain=False)

    def abort() -> None:
        ready.wait()
        threading.Event().wait(pauses[1])
        with suppress(ActionEnded):
            client.abort(run.action, "race")
        engine.stepper.step(shard, [run.action], drain=False)

    for side in [pool.submit(report), pool.submit(abort)]:
        side.result()
    until(partial(ends, engine, run), what="the end of the race")
    return next(iter(check_run(client, run.id)))


def ends(engine: Engine, run: Run[Any]) -> bool:
    """Step; whether the action of a run has ended."""
    engine.stepper.step(engine.store.shard_of(run.id))
    record = engine.store.get(run.action)
    return record is not None and record.phase.is_terminal()


def stopped(site: Site, runs: list[Run[Any]]) -> list[float]:
    """Abort all; seconds until each has ended, with all below it."""
    began = time.monotonic()
    for run in runs:
        run.abort("chaos")
    left, took = set(range(len(runs))), []
    while left:
        counts = {index: site.client.counts(runs[index].id) for index in left}
        done = {index for index, count in counts.items() if count.ended == count.total}
        took += [time.monotonic() - began] * len(done)
        left -= done
        assert time.monotonic() - began < 60, "not all actions have ended within 60 s"
        threading.Event().wait(0 if done else 0.05)
    assert percentile(took, 0.99) < RECOVERY
    return took


def in_phase(site: Site, run: Run[Any], phase: ActionPhase) -> bool:
    """Whether its action is in a phase."""
    return site.client.get(run.action).phase is phase
