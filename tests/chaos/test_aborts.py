"""An abort at every moment of an action's life, and one that races with its end: one end each, and nothing left running."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import harm_tasks
import msgspec
import pytest
from harm_support import LONG, RECOVERY, Site, percentile, running_site, traces, until
from invariants import check_due_index, check_run

from reconciler.api.action import ActionSpec, AttemptOutcome
from reconciler.api.condition import ConditionSpec
from reconciler.api.phase import ActionPhase
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client, Run
from reconciler.settings import Settings
from reconciler.stores.memory_blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]
MEMBERS = 1000 if LONG else 200
RACES = 10_000 if LONG else 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with a quota of one unit, which is used up as soon as one holds it."""
    env = {"RECONCILER_QUOTAS": "license=1", "RECONCILER_ABORT_GRACE": "1"}
    with running_site(
        tmp_path_factory.mktemp("aborts"), env=env, client_env=env, attempts_concurrency=6
    ) as made:
        yield made


def test_an_abort_ends_an_action_in_any_phase(site: Site, tmp_path: Path) -> None:
    """Queued, waiting for a unit, running, deaf, asleep, between two attempts, waiting for a person: all end as aborted."""
    tally = str(tmp_path / "tally")
    env = harm_tasks.env
    runs: dict[str, Run[Any]] = {
        "queued": harm_tasks.nobody.delay(),
        "running": harm_tasks.die.delay("wait", tally),
        "deaf": harm_tasks.deaf.delay(tally),
        "back-off": harm_tasks.fail.delay(tally),
        "holder": harm_tasks.hold.delay(tally),
    }
    until(lambda: {line.partition(":")[0] for line in traces(Path(tally))} >= {"wait", "deaf", "fail", "hold"})
    runs["waiting"] = harm_tasks.hold.delay(tally)
    runs["paused"] = env.client.condition(ConditionSpec(type="boolean", prompt="go on?"))
    wanted = {
        "queued": ActionPhase.QUEUED, "running": ActionPhase.RUNNING, "deaf": ActionPhase.RUNNING,
        "back-off": ActionPhase.QUEUED, "holder": ActionPhase.RUNNING, "paused": ActionPhase.PAUSED,
        "waiting": ActionPhase.WAITING_FOR_RESOURCES,
    }  # fmt: skip
    for name, run in runs.items():
        until(
            lambda r=run, n=name: site.client.get(r.action).phase is wanted[n], what=f"{name} in its phase"
        )
    took = stopped(site, list(runs.values()))
    for run in runs.values():
        assert check_run(site.client, run.id) == {ActionPhase.ABORTED: 1}
    check_due_index(site.client)
    print(f"aborted in {len(runs)} phases: seconds to stop {[round(s, 1) for s in took]}")
