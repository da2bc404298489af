"""A run lives for three weeks on real servers, whose collectors die and whose S3 is away for days: its archive is whole."""

from __future__ import annotations

import os
import random
import struct
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from past_site import WRITES, Site, Trap
from past_site import spec as echo

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.template import Identifier, TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, TaskInfo, running, success
from reconciler.archive.archive import Archive
from reconciler.archive.layout import EVENTS
from reconciler.client import Client
from reconciler.embedded import valkey
from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers
from reconciler.plugins.context import TaskExecutionContext
from reconciler.settings import Settings
from reconciler.stores.s3 import S3Blobs
from reconciler.sweeps.collect import collect
from reconciler.testing import ScriptedPlugin

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600), pytest.mark.rule("R42")]
SAYS = timedelta(minutes=6)
"""How often the run says something new."""
LIVES = timedelta(days=21)
SWEEP = timedelta(hours=6)
"""Between two passes of the collector, each of which follows one that may have died."""
_NOTICED = 10.0
"""Seconds within which the server notices that its clock was moved."""
TEMPLATE = encode_template(
    TaskTemplate(id=Identifier(project="default", domain="development", name="slow"), type="slow")
)
AWAY = (timedelta(days=8), timedelta(days=10))
"""From when until when S3 does not answer: longer than events are kept."""


class Weeks:
    """The clock of the records' server, which a test moves.

    Attributes:
        file: through which it learns how far.
        passed: how much time has passed.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.passed = timedelta()
        self.move(timedelta())

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.passed += by
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("q", int(self.passed.total_seconds())))


@pytest.fixture
def weeks(tmp_path: Path) -> Weeks:
    """The clock, before the server starts."""
    return Weeks(tmp_path / "moved")


@pytest.fixture
def settings(shim: Path, weeks: Weeks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Servers of one's own, of which that of the records goes by a clock of its own."""
    moved = {"LD_PRELOAD": os.fspath(shim), "SKEW_FILE": os.fspath(weeks.file)}
    monkeypatch.setattr(valkey, "preloaded", lambda: moved)
    with EmbeddedServers(tmp_path / "servers") as servers:
        for name, value in servers.env().items():
            monkeypatch.setenv(name, value)
        yield Settings.from_env(servers.env(), shards=1, requeue_duration=SAYS / 2)


class Installation:
    """Steps in this process, collectors in others, on these servers.

    Args:
        settings: of the installation.
        weeks: the clock.
    """

    def __init__(self, settings: Settings, weeks: Weeks) -> None:
        self.weeks = weeks
        self.site = Site(settings, [ScriptedPlugin("slow", self._slow).entry])
        self.client = self.site.client
        [port] = pick_ports(1)
        self._nowhere = msgspec.structs.replace(settings, s3_endpoint=f"http://127.0.0.1:{port}")

    def _slow(self, ctx: TaskExecutionContext) -> PhaseInfo:
        """Say something new at each call, until its time is over."""
        now = TaskInfo(occurred_at=ctx.now)
        if self.weeks.passed >= LIVES:
            return success(now)
        return running(int(self.weeks.passed / SAYS), now)

    def step(self) -> None:
        """Make all steps whose time has come."""
        store = self.client.store
        while (due := store.due(0, 1)) and due[0][1] <= store.now():
            self.site.engine.stepper.step(0)

    def wait(self) -> None:
        """Let time pass until the run says something new; the server looks at its clock when it has nothing to do."""
        before, deadline = self.client.store.now(), time.monotonic() + _NOTICED
        self.weeks.move(SAYS)
        while self.client.store.now() - before < SAYS / timedelta(milliseconds=1):
            assert time.monotonic() < deadline, "the clock stands still"

    def collect(self, rng: random.Random) -> bool:
        """Let one collector die at a write, and another one make a whole pass; tell whether the first one did."""
        if AWAY[0] <= self.weeks.passed < AWAY[1]:
            collect(self.client.store, self._nowhere, S3Blobs(self._nowhere))
            return False
        verb = rng.choice([*WRITES["store"], "put", "delete"])
        [died] = self.site.harmed((swept, Trap(rng.randrange(2), verb)))
        swept(self.client)
        return died


def swept(client: Client) -> None:
    """Make one pass of the collector."""
    collect(client.store, client.settings, client.blobs)


def test_the_archive_of_a_run_of_weeks_is_complete_and_in_order(
    settings: Settings, weeks: Weeks, rng: random.Random
) -> None:
    """Each of its more than 5,000 events is there once, in order; so are those of runs that ended meanwhile beside it."""
    there = Installation(settings, weeks)
    spec = ActionSpec(task_type="slow", task_template=TEMPLATE, inputs=b"{}")
    long = there.client.submit_many([spec], run="weeks")
    short: list[RunId] = []
    deaths = passes = 0
    while weeks.passed < LIVES + timedelta(days=1):
        if weeks.passed % timedelta(days=1) == timedelta():
            short.append(there.client.submit_many([echo()], run=f"day{weeks.passed.days}").id)
        there.step()
        there.wait()
        if weeks.passed % SWEEP == timedelta():
            deaths, passes = deaths + there.collect(rng), passes + 1
    archive = Archive(there.client.blobs)
    assert there.client.runs() == []
    counts = {}
    for run in [long.id, *short]:
        read = archive.read_run(run)
        assert read is not None
        assert (read.damage, read.missing) == ("", 0)
        for action in read.actions.values():
            events = read.events(action.id.action)
            assert [event.sequence for event in events] == list(range(1, action.events + 1))
            assert [event.updated_time for event in events] == sorted(event.updated_time for event in events)
        counts[run.run] = sum(len(read.events(name)) for name in read.actions)
    assert counts["weeks"] > 5000
    assert there.site.objects(EVENTS) == []
    print(
        f"a run of {LIVES.days} days: {counts['weeks']} events complete and in order, beside {len(counts) - 1} runs of a "
        f"day; {deaths} of {passes} collectors died, S3 was away for {(AWAY[1] - AWAY[0]).days} days"
    )
