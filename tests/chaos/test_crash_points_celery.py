"""Celery workers are killed at the crash points they pass: one process of a pool, or a whole worker."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from crash_lives import forget
from crash_points import RUNNER, WHOLE, clear_traps, deaths, set_trap
from crash_workload import check, is_free, is_over, submit
from test_crash_points import FAST

from reconciler.api.errors import ReconcilerError
from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.wiring import Engine, build

LONG = bool(os.environ.get("CHAOS_LONG"))
CALLS = (
    *("store.claim", "store.commit", "store.wake", "store.look", "store.nudge", "store.record_audit"),
    *("store.announce", "store.pick", "store.draw"),
    *("store.heartbeat", "store.finish_attempts", "store.conclude", "store.stop_attempt"),
    *("blobs.get", "blobs.create_many", "messenger.wake", "messenger.ticket", RUNNER),
    *("catalog.get", "catalog.put", "catalog.get_or_extend_reservation", "catalog.release_reservation"),
    *("quotas.allocate", "quotas.renew", "quotas.release"),
)
"""What steps and attempts call. What only clients, the collector or a slow batch call is killed in `test_crash_points`."""
AT_ONCE = 3
POINTS = 2 * len(CALLS) if LONG else 2 * AT_ONCE
PATIENCE = 90.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800 if LONG else 300)]


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """The folder the workers look into."""
    folder = tmp_path / "traps"
    folder.mkdir()
    return folder


@pytest.fixture
def crashing(tmp_path: Path, traps: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stack, Engine]]:
    """Servers, two workers that can be killed anywhere, and an engine that cannot."""
    env = {"CHAOS_TRAPS": str(traps), **{f"RECONCILER_{name}": text for name, text in FAST.items()}}
    here = Path(__file__).parent
    with Stack(tmp_path / "data", attempts_concurrency=3, env=env, cwd=here, app="crashing_worker") as stack:
        for name, value in stack.servers.env().items():
            monkeypatch.setenv(name, value)
        yield stack, build(Settings.from_env(stack.env()))


def test_celery_workers_die_at_crash_points(
    crashing: tuple[Stack, Engine], traps: Path, rng: random.Random, tmp_path: Path
) -> None:
    """Whichever process of a worker dies, and where: all actions end exactly once and hold nothing any more."""
    stack, engine = crashing
    client = Client(engine.store, engine.blobs, engine.messenger, engine.settings)
    todo = [f"{call}:{side}" for call in CALLS for side in ("before", "after")]
    rng.shuffle(todo)
    todo, extra, times, number = todo[:POINTS], 0, [], 0
    while todo:
        number += 1
        assert number <= POINTS, f"nobody passes {todo}"
        chosen, todo = todo[:AT_ONCE], todo[AT_ONCE:]
        if rng.random() < 0.5:
            (traps / WHOLE).touch()
        for point in chosen:
            set_trap(traps, point, 1)
        tally = tmp_path / f"tally{number}"
        tally.touch()
        submitting = threading.Thread(target=submit, args=(client, f"round-{number}", str(tally)))
        submitting.start()
        before = len(deaths(traps))
        _until(stack, partial(_is_done, submitting, client), traps)
        times += [time.time() - at for at, _, _ in deaths(traps)[before:][-1:]]
        extra += check(client, tally)[0]
        _until(stack, lambda: is_free(engine, client), traps)
        todo += clear_traps(traps)
        (traps / WHOLE).unlink(missing_ok=True)
        forget(engine)
    died = deaths(traps)
    print(
        f"{len(died)} deaths of Celery processes at {len({point for _, _, point in died})} points, {number} rounds, "
        f"extra executions {extra}, from the last death to the end of a round {[round(t, 1) for t in times]} s"
    )
    assert len({point for _, _, point in died}) == POINTS


def _is_done(submitting: threading.Thread, client: Client) -> bool:
    return not submitting.is_alive() and is_over(client)


def _until(stack: Stack, condition: Callable[[], bool], traps: Path) -> None:
    """Wait for a condition, and start again which worker has died meanwhile."""
    pause = threading.Event()
    known, deadline = -1, 0.0
    while not condition():
        if len(deaths(traps)) > known:
            known, deadline = len(deaths(traps)), time.monotonic() + PATIENCE
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s of the last death"
        with suppress(ReconcilerError):  # a trap may wait for it in its start
            stack.start_workers()
        pause.wait(0.1)
