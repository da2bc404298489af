"""S3 is away for an hour while runs end: nothing is forgotten that is not archived, and all is caught up with after."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis_usage import Usage

from benchmarks.shapes import LEAF
from reconciler.api.action import RunId
from reconciler.archive.archive import Archive
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client
from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3.blobs import S3Blobs
from reconciler.sweeps.collect import collect
from reconciler.wiring import Engine

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600), pytest.mark.rule("R42")]
MINUTES = 60
"""Passes of the collector while S3 is away; it makes one a minute."""
RUNS = 4
"""Runs that end between two passes."""
LEAVES = 24
MOST = 1800
"""Bytes of Redis that an ended action costs at most until it is archived (docs/archive.md)."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Servers of one's own, and no retention: what has ended is to be archived at once."""
    with EmbeddedServers(tmp_path / "servers") as servers:
        for name, value in servers.env().items():
            monkeypatch.setenv(name, value)
        given: dict[str, Any] = {"retention": timedelta(0), "events_retention": timedelta(seconds=2)}
        yield msgspec.structs.replace(Settings.from_env(), **given)


class Installation:
    """Steps and collector in this process, on real servers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store, self.blobs = RedisStore(settings), S3Blobs(settings)
        [port] = pick_ports(1)
        nobody = msgspec.structs.replace(
            settings, s3_endpoint=f"http://127.0.0.1:{port}", socket_timeout=timedelta(seconds=1)
        )
        self.nowhere = S3Blobs(nobody)
        self.engine = Engine(settings, store=self.store, blobs=self.blobs, messenger=RecordingMessenger())
        self.client = Client(self.store, self.blobs, RecordingMessenger(), settings)

    def end(self, runs: int) -> list[RunId]:
        """Have so many runs end."""
        made = [self.client.submit_many([LEAF] * LEAVES) for _ in range(runs)]
        while not all(run.phase.is_terminal() for run in made):
            for shard in range(self.settings.shards):
                self.engine.stepper.step(shard)
        return [run.id for run in made]

    def kept(self) -> int:
        """Return bytes Redis keeps."""
        return Usage.of(self.store.client).kept

    def drain(self) -> None:
        """Collect until nothing is left to be forgotten, and no event."""
        while self.client.runs() or any(
            self.store.client.xlen(self.store.keys.events(shard)) for shard in range(self.store.shards)
        ):
            collect(self.store, self.settings, self.blobs)


def test_s3_is_away_for_an_hour(settings: Settings) -> None:
    """Ended runs stay whole in Redis, which grows by so many bytes an action; then the archive has them all."""
    there = Installation(settings)
    there.end(RUNS)
    there.drain()
    began = there.kept()
    ended: list[RunId] = []
    for _ in range(MINUTES):
        ended += there.end(RUNS)
        assert collect(there.store, settings, there.nowhere) == 0
    assert len(there.client.runs(10_000)) == len(ended)
    grown = (there.kept() - began) / (len(ended) * (LEAVES + 1))
    assert all(there.client.counts(run).total == LEAVES + 1 for run in ended)
    passes = 0
    while there.client.runs():
        collect(there.store, settings, there.blobs)
        passes += 1
    there.drain()
    archive = Archive(there.blobs)
    for run in ended:
        read = archive.read_run(run)
        assert read is not None
        assert (len(read.actions), read.damage, read.missing) == (LEAVES + 1, "", 0)
        assert len(archive.incarnations(run)) == 1
    print(
        f"{len(ended)} runs of {LEAVES + 1} actions ended in {MINUTES} passes without S3: Redis grew by {grown:.0f} bytes "
        f"an action, {there.kept() - began:+d} bytes after {passes} passes with S3"
    )
    assert grown < MOST
    assert there.kept() < began * 1.15
