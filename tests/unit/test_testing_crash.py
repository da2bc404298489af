"""The crash mode of the testing kit: what dies, what survives, and that it finds what it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from reconciler.api.phase import ActionPhase
from reconciler.api.transition import Transition, running, success
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry
from reconciler.stores import memory
from reconciler.stores.catalog import CacheKey
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.testing import (
    Crash,
    Lab,
    ScriptedPlugin,
    VirtualClock,
    check_settled,
    crash_at,
    every_crash,
)
from reconciler.testing.crash import WRITES, Crashed, Crashes, WritePoint, never

KEY = CacheKey(project="default", domain="development", key="k")


class Forgetful(Plugin):
    """Counts in the object what belongs into the record: it ends after three calls by one worker."""

    id = "forgetful"

    def __init__(self) -> None:
        self.calls = 0

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Run twice, then succeed."""
        del ctx
        self.calls += 1
        return Transition(running(self.calls) if self.calls < 3 else success())


def lab_of(plugin: type[Plugin], crash: Crash) -> Lab:
    """Return a lab with one plugin, loaded anew by each worker."""
    return Lab([PluginEntry(id=plugin.id, task_types=(plugin.id,), load=plugin)], crash=crash)


def commits(lab: Lab) -> list[WritePoint]:
    """Return the commits among the writes."""
    return [write for write in lab.writes if write.verb == "store.commit"]


def test_a_look_at_a_queue_is_no_write() -> None:
    """How many there are depends on how fast the machine is; a change of its rules is one."""
    crashes = Crashes(never)
    store = crashes.door("store", Lab().store)
    store.set_queue("q")
    assert crashes.writes == []
    store.set_queue("q", pause=True)
    assert [write.verb for write in crashes.writes] == ["store.set_queue"]


def test_a_fresh_worker_remembers_nothing() -> None:
    """A plugin that keeps its progress in memory starts over with the worker that comes after a crash."""

    def story(crash: Crash) -> Lab:
        lab = lab_of(Forgetful, crash)
        lab.submit("forgetful")
        lab.settle()
        return lab

    undisturbed, *disturbed = every_crash(story)
    assert undisturbed.journal.words.count("handle") == 3
    assert max(lab.journal.words.count("handle") for lab in disturbed) > 4
    for lab in disturbed:
        check_settled(lab)


def test_before_and_after_differ() -> None:
    """A write stands when the worker dies after it, and was never made when it dies before."""
    plain = Lab([ScriptedPlugin("demo", running(0))], crash=never)
    plain.reconcile(plain.submit("demo"))
    (write,) = commits(plain)
    told: dict[str, list[str]] = {}
    for moment in ("before", "after"):
        lab = Lab([ScriptedPlugin("demo", running(0))], crash=crash_at(write.number, moment))
        action = lab.submit("demo")
        began = lab.clock()
        lab.reconcile(action)
        assert lab.clock() - began == 10_000  # the lease of the dead claim
        assert lab.get(action).phase is ActionPhase.RUNNING
        told[moment] = [entry.what for entry in lab.journal if entry.what in {"handle", "event"}]
    assert told == {"before": ["handle", "handle", "event"], "after": ["handle", "event", "handle"]}


def test_a_dead_worker_writes_nothing_more() -> None:
    """What a dead worker left running finds every door shut, also for reading."""
    lab = Lab(crash=crash_at(1, "after"))
    dead = lab.engine
    lab.submit("core-sleep")
    assert len(lab.deaths) == 1
    assert lab.engine is not dead
    with pytest.raises(Crashed, match="has died before"):
        dead.store.due(0)


def test_a_program_is_started_again_until_it_is_through() -> None:
    """A submission that dies half way is repeated and stores one action; a plain client never dies."""

    def story(crash: Crash) -> Lab:
        lab = Lab([ScriptedPlugin("demo", success())], crash=crash)
        lab.submit("demo", inputs={"x": "y" * 100_000})  # too large for the record: an object first
        return lab

    undisturbed, *disturbed = every_crash(story)
    assert [write.verb for write in undisturbed.writes] == ["blobs.put", "store.create", "messenger.wake"]
    assert len(disturbed) == 8
    for lab in disturbed:
        assert lab.deaths
        assert len(lab.client.runs()) == 1
        lab.client.abort(lab.submitted[0], "by a client that does not die")


def test_each_crash_happens_once_for_each_write() -> None:
    """There is one lab undisturbed, two for each write, and two in which every write is deadly once."""

    def story(crash: Crash) -> Lab:
        lab = Lab([ScriptedPlugin("demo", running(0), success())], crash=crash)
        lab.submit("demo")
        lab.settle()
        return lab

    undisturbed, *once, before, after = every_crash(story)
    assert [lab.deaths[0].moment for lab in once] == ["before", "after"] * len(undisturbed.writes)
    assert [lab.deaths[0].number for lab in once[::2]] == [write.number for write in undisturbed.writes]
    assert {write.verb for write in before.deaths} == {write.verb for write in undisturbed.writes}
    assert len(after.deaths) == len({(write.verb, write.about) for write in after.deaths}) >= 5


def test_the_same_seed_gives_the_same_writes() -> None:
    """A lab in crash mode writes the same things in the same order, handles in threads or not."""

    def story(crash: Crash) -> list[WritePoint]:
        lab = Lab([ScriptedPlugin("demo", running(0), success())], crash=crash)
        lab.submit("demo")
        lab.submit("demo")
        lab.settle()
        return lab.writes

    assert story(never) == story(never)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda lab, action: lab.quotas.renew("gpu", "left", action), "were not given back"),
        (
            lambda lab, action: lab.catalog.get_or_extend_reservation(KEY, f"flyte/{action}", 0),
            "still reserved",
        ),
        (lambda lab, action: lab.store.shard(action).due.update({str(action): 1}), "still due"),
        (lambda lab, action: lab.store.shard(action).events.pop(), "not exactly one terminal event"),
    ],
    ids=["quota", "reservation", "due", "event"],
)
def test_what_is_left_is_seen(spoil: Any, text: str) -> None:
    """Each thing an action may leave behind makes the check fail, with words that say what it is."""
    lab = Lab([ScriptedPlugin("demo", success())], catalog=MemoryCatalog(clock=VirtualClock()))
    action = lab.submit("demo")
    lab.settle()
    assert check_settled(lab) == {ActionPhase.SUCCEEDED: 1}
    spoil(lab, action)
    with pytest.raises(AssertionError, match=text):
        check_settled(lab)


def test_an_action_that_goes_on_has_not_settled() -> None:
    """An action that has not ended makes the check fail."""
    lab = Lab([ScriptedPlugin("demo", running(0))])
    lab.reconcile(lab.submit("demo"))
    with pytest.raises(AssertionError, match="never ended: running"):
        check_settled(lab)


def test_every_verb_that_writes_is_a_place_to_die() -> None:
    """What the twin of the store reports as written, a worker can die at."""
    source = "".join(path.read_text() for path in Path(memory.__file__).parent.glob("*.py"))
    assert set(re.findall(r'self\.wrote\(\s*"(\w+)"', source)) == WRITES["store"]


def test_a_failed_check_says_where_the_worker_died() -> None:
    """The crash that spoils a story is named beside what it spoiled."""
    lab = Lab([ScriptedPlugin("demo", success())], crash=crash_at(1, "after"))
    action = lab.submit("demo")
    lab.settle()
    check_settled(lab)
    lab.store.shard(action).events.pop()
    with pytest.raises(AssertionError) as caught:
        check_settled(lab)
    where = "after write 1, store.create default/development/lab-1/a0 new 0-0"
    assert caught.value.__notes__ == [f"<Lab, worker died {where}>"]
