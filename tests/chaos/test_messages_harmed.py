"""Messages arrive twice, ten times, out of order or never, and the sweeper dies: it costs time, never an action."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import harm_tasks
import pytest
from harm_support import LONG, RECOVERY, Site, percentile, running_site, traces, until
from message_meddler import MessageMeddler

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.embedded import commands
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]
ACTIONS = 2000 if LONG else 60
ROUNDS = 4
"""One after the other: a line that is alone needs few messages, and the last one may still be under way."""
LONE = 500 if LONG else 32
"""Actions with a run, and so mostly a shard, of their own."""
DROPPING = 600.0 if LONG else 8.0
"""Seconds for which messages get lost: what is sent again is sent ever more seldom, so it takes a while to the last."""
WITHOUT_BEAT = 60.0 if LONG else 12.0


@pytest.fixture(scope="module")
def meddler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedServers, MessageMeddler]]:
    """Servers, and the way to their broker."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as servers:
        port = urlsplit(servers.redis_url).port
        assert port
        with MessageMeddler(port, random.Random()) as made:
            yield servers, made


@pytest.fixture(scope="module")
def module_site(
    meddler: tuple[EmbeddedServers, MessageMeddler], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A stack and a client that send and get all messages through the meddler, and where nobody stands by without one."""
    servers, between = meddler
    env = {"RECONCILER_BROKER_URL": f"redis://127.0.0.1:{between.port}/0"}
    folder = tmp_path_factory.mktemp("messages")
    with running_site(folder, servers=servers, env=env, client_env=env, steps_concurrency=1) as running:
        with closing(build_app(Settings.from_env({**running.stack.env(), **env}))) as app:
            attempts = [name for name in app.control.inspect(timeout=5).active_queues() if "attempts" in name]
            assert app.control.add_consumer("aside", reply=True, timeout=20, destination=attempts)
        yield running


@pytest.fixture
def site(
    module_site: Site, meddler: tuple[EmbeddedServers, MessageMeddler], rng: random.Random
) -> Iterator[Site]:
    """The stack, with the randomness of this test; afterwards messages travel as they should."""
    meddler[1].use(rng)
    yield module_site
    meddler[1].behave()


@pytest.fixture
def between(meddler: tuple[EmbeddedServers, MessageMeddler]) -> MessageMeddler:
    """What stands between."""
    return meddler[1]


@pytest.mark.parametrize(("copies", "shuffle"), [(2, 0.0), (10, 0.5)])
def test_repeated_and_shuffled_messages_start_nothing_twice(
    site: Site, between: MessageMeddler, tmp_path: Path, copies: int, shuffle: float
) -> None:
    """Each message arrives several times, half of them out of order: each launch runs once, and each action ends once."""
    before = between.seen, between.added
    between.copies, between.shuffle = (copies, copies), shuffle
    for number in range(ROUNDS):
        run = site.map(range(ACTIONS), 0.01, tmp_path / f"tally-{number}")
        assert run.result(timeout=300) == list(range(ACTIONS))
        site.check(run, ACTIONS + 1)
    sent, added = between.seen - before[0], between.added - before[1]
    between.behave()
    found = [traces(tmp_path / f"tally-{number}") for number in range(ROUNDS)]
    extra = sum(len(each) - len(set(each)) for each in found)
    print(
        f"each message {copies} times, {ROUNDS} x {ACTIONS} actions: {sent} sent, {added} added, launches run twice {extra}"
    )
    assert added >= 0.9 * sent * (copies - 1), "too few messages were repeated"
    assert extra == 0
    assert sent < 3 * ACTIONS + 200, "repeated messages make further messages"


def test_a_third_of_all_messages_may_get_lost(site: Site, between: MessageMeddler, tmp_path: Path) -> None:
    """30 % of the wake-ups and launches never arrive: every action succeeds, once."""
    usual = latencies(site, tmp_path / "usual")
    before = between.seen, between.dropped
    between.drop = 0.3
    end = threading.Timer(DROPPING, between.behave)
    end.start()
    harmed = latencies(site, tmp_path / "harmed")
    end.cancel()
    between.behave()
    sent, dropped = between.seen - before[0], between.dropped - before[1]
    added = [percentile(harmed, share) - percentile(usual, share) for share in (0.5, 0.99)]
    print(
        f"{dropped} of {sent} messages dropped, {LONE} actions: lost 0, "
        f"added latency p50 {added[0]:.1f} s, p99 {added[1]:.1f} s"
    )
    assert dropped > LONE / 5


def test_beat_may_be_down_while_messages_get_lost(
    site: Site, between: MessageMeddler, tmp_path: Path
) -> None:
    """Beat is killed and a third of the wake-ups dropped: work never stands still for long, and nothing is lost."""
    site.stack.processes["beat"].kill()
    before = between.dropped
    between.only, between.drop = b"steps", 0.3
    end = threading.Timer(WITHOUT_BEAT, between.behave)
    end.start()
    runs = [site.map(range(LONE // 4), 0.3, tmp_path / f"tally-{number}") for number in range(4)]
    stall = longest_stall(site, [run.id for run in runs])
    end.cancel()
    between.behave()
    site.stack.restart("beat")
    for run in runs:
        site.check(run, LONE // 4 + 1)
    print(f"no beat, {between.dropped - before} wake-ups dropped: lost 0, longest stall {stall:.1f} s")
    assert between.dropped > before
    assert stall < RECOVERY


def test_two_beats_and_their_deaths_do_no_harm(site: Site, rng: random.Random, tmp_path: Path) -> None:
    """Two beats at once, each killed and started at random moments: every launch runs once."""
    process = site.stack.processes["beat"]
    other = ManagedProcess(
        "beat-2", commands.beat(tmp_path / "schedule"), log=tmp_path / "log", env=site.stack.env()
    )
    other.start()
    try:
        tally = tmp_path / "tally"
        run = site.map(range(LONE), 0.2, tally)
        for goal in sorted(rng.sample(range(1, LONE - 5), 3)):
            until(partial(has_ended, site, run.id, goal), 60, what=f"the end of {goal} actions")
            victim = rng.choice([process, other])
            victim.kill()
            victim.start()
        assert run.result(timeout=60) == list(range(LONE))
    finally:
        other.stop()
    site.check(run, LONE + 1)
    extra = len(traces(tally)) - len(set(traces(tally)))
    print(f"two beats, 3 kills of them: lost 0, launches run twice {extra}")
    assert extra == 0


def latencies(site: Site, tally: Path) -> list[float]:
    """Return the seconds from acceptance to the end of actions in separate runs, all of which succeed and run once."""
    runs = [harm_tasks.work.delay(index, 0.01, str(tally)) for index in range(LONE)]
    assert [run.result(timeout=200) for run in runs] == list(range(LONE))
    took = []
    for run in runs:
        assert check_run(site.client, run.id) == {ActionPhase.SUCCEEDED: 1}
        events = site.client.events(run.action)
        took.append((events[-1].reported_time - events[0].reported_time) / 1000)
    check_due_index(site.client)
    assert len(set(traces(tally))) == len(traces(tally)), "a launch ran twice"
    return took


def has_ended(site: Site, run: RunId, wanted: int) -> bool:
    """Whether so many actions of a run have."""
    return site.client.counts(run).ended >= wanted


def longest_stall(site: Site, runs: list[RunId]) -> float:
    """Return the longest time in which nothing ended, until all have."""
    last = time.monotonic()
    ended, longest, tick = 0, 0.0, threading.Event()
    while True:
        counts = [site.client.counts(run) for run in runs]
        now = time.monotonic()
        longest = max(longest, now - last)
        if (done := sum(count.ended for count in counts)) > ended:
            ended, last = done, now
        if ended == sum(count.total for count in counts):
            return longest
        assert longest < 120, "nothing has ended for two minutes"
        tick.wait(0.05)
