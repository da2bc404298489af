"""`python -m benchmarks archive`: what the archive costs, and how fast it answers (docs/archive.md).

Runs of 1,000 actions are really submitted, ended, archived by the collector and forgotten, on a real Valkey and a real S3
server; then the last of them is written `n` times more, under other names, by what writes the archive. The CPU is that of
this process, which is the collector here. Figures swing with the machine; requests are exact.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.shapes import LEAF
from reconciler.api.action import RunId
from reconciler.archive.archive import Archive
from reconciler.archive.compaction import compact
from reconciler.archive.index import Group, Row, row_of, write_rows
from reconciler.archive.layout import day_of
from reconciler.archive.query import Question, ask
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.archiving import RawAction, RawRun
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3.blobs import S3Blobs
from reconciler.sweeps.archive import archive_all
from reconciler.sweeps.collect import collect
from reconciler.wiring import Engine

ACTIONS = 1000
"""Actions of a run, without its root."""
_REAL = 20
"""Runs that are really submitted."""
_PASS = 100
"""Runs that stand together in an object of the index, before it is compacted."""
_ASKED = 5
_WRITERS = 8


def measure(runs: int) -> dict[str, object]:
    """Archive and ask; figures by name.

    Args:
        runs: how many runs of `ACTIONS` actions the archive shall hold when it is asked.
    """
    with (
        tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder,
        EmbeddedServers(Path(folder)) as servers,
    ):
        os.environ.update(servers.env())
        settings = msgspec.structs.replace(
            Settings.from_env(), retention=timedelta(0), events_retention=timedelta(seconds=1)
        )
        store, blobs = RedisStore(settings), S3Blobs(settings)
        figures, template = _archived(settings, store, blobs)
        figures |= _filled(blobs, template, runs)
        return figures | _asked(blobs, template, runs)


def _archived(settings: Settings, store: RedisStore, blobs: S3Blobs) -> tuple[dict[str, object], RawRun]:
    """Have runs archived and forgotten by the collector; one of them as it was stored."""
    engine = Engine(settings, store=store, blobs=blobs, messenger=RecordingMessenger())
    client = Client(store, blobs, RecordingMessenger(), settings)
    _end(engine, client, 1)
    collect(store, settings, blobs)
    started = _used(store)
    template = _end(engine, client, _REAL)
    full = _used(store)
    raw = store.recall(template)
    assert raw is not None
    count = _REAL * (ACTIONS + 1)
    cpu, began = time.process_time(), time.perf_counter()
    archived = archive_all(store, blobs, settings, store.now())
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    assert archived == _REAL, archived
    deadline = time.monotonic() + 60
    while client.runs() or _events(store):
        collect(store, settings, blobs)
        assert time.monotonic() < deadline, "Redis is not empty"
    return {
        "archived actions": count,
        "CPU us of an archived action": round(1e6 * cpu / count, 1),
        "archived actions a second": round(count / took),
        "Redis KiB at the start": started // 1024,
        "Redis KiB before they are archived": full // 1024,
        "Redis KiB once they are forgotten": _used(store) // 1024,
    }, raw


def _end(engine: Engine, client: Client, runs: int) -> RunId:
    last = RunId("", "", "")
    for _ in range(runs):
        run = client.submit_many([LEAF] * ACTIONS)
        while not run.phase.is_terminal():
            for shard in range(engine.settings.shards):
                engine.stepper.step(shard)
        last = run.id
    return last


def _events(store: RedisStore) -> int:
    return sum(store.client.xlen(store.keys.events(shard)) for shard in range(store.shards))


def _used(store: RedisStore) -> int:
    store.client.memory_purge()
    info: Any = store.client.info("memory")
    return int(info["used_memory"])


def _filled(blobs: S3Blobs, template: RawRun, runs: int) -> dict[str, object]:
    """Write one run so many times, under other names, with its lines in the index."""
    archive = Archive(blobs)
    began, size = time.perf_counter(), 0

    def write(number: int) -> Row:
        run = _renamed(template, f"copy-{number:06d}")
        written = archive.write(run)
        return row_of(run, written.header, written.size)

    days = set()
    with ThreadPoolExecutor(_WRITERS) as pool:
        for start in range(0, runs, _PASS):
            rows = list(pool.map(write, range(start, min(runs, start + _PASS))))
            size += sum(row.size for row in rows)
            days |= write_rows(blobs, rows)
    compact(blobs, days)
    return {
        "actions in the archive": runs * (ACTIONS + 1),
        "bytes of an archived action": round(size / (runs * (ACTIONS + 1))),
        "s to fill it": round(time.perf_counter() - began, 1),
    }


def fill(runs: int) -> None:
    """Write lines of so many runs into the index, over ten days: for the list of runs, which reads nothing else."""
    settings = Settings.from_env()
    store, blobs = RedisStore(settings), S3Blobs(settings)
    now, days = store.now(), set()
    for start in range(0, runs, 10 * _PASS):
        rows = [_line(number, now) for number in range(start, min(runs, start + 10 * _PASS))]
        days |= write_rows(blobs, rows)
    compact(blobs, days)


def _line(number: int, now: int) -> Row:
    ended = now - 60_000 - number * 8_640  # 100,000 of them in ten days
    return Row(
        project="default",
        domain="development",
        run=f"copy-{number:06d}",
        incarnation=f"{number:010d}",
        created_at=ended - 5_000,
        ended_at=ended,
        phase="succeeded",
        task="bench.one",
        actions=ACTIONS,
        groups=(Group("bench.one", "succeeded", "", ACTIONS),),
        labels={},
    )


def _renamed(run: RawRun, name: str) -> RawRun:
    old, new = f'"{run.run.run}"', f'"{name}"'
    actions = [
        RawAction(each.name, each.ended, each.fields, [event.replace(old, new) for event in each.events])
        for each in run.actions
    ]
    return msgspec.structs.replace(run, run=RunId(run.run.project, run.run.domain, name), actions=actions)


def _asked(blobs: S3Blobs, template: RawRun, runs: int) -> dict[str, object]:
    """Ask for a day of one task, and for one run, with nothing remembered."""
    ended = max(action.ended for action in template.actions)
    task = row_of(template, Archive(blobs).write(template).header, 0).groups[-1].task
    question = Question(project=template.run.project, since=day_of(ended), until=day_of(ended), task=task)
    found = ask(blobs, question)
    assert len(found.rows) >= runs
    one = RunId(template.run.project, template.run.domain, f"copy-{runs // 2:06d}")
    read = Archive(blobs).read_run(one)
    assert read is not None
    assert len(read.actions) == ACTIONS + 1
    return {
        "ms to list a day of one task": _ms(lambda: ask(blobs, question)),
        "runs listed": len(found.rows),
        "requests to S3 for it": found.requests,
        "ms to read one run": _ms(lambda: Archive(blobs).read_run(one)),
        "requests to S3 for that": 2,
    }


def _ms(call: Callable[[], object]) -> int:
    took = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return round(1000 * statistics.median(took))
