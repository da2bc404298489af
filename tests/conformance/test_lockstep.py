"""The two stores in step: the twin, which knows nothing of Redis' fields, tells what Redis must answer and keep."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from support import LINE, MAX_COUNTDOWN, RUN, STEP_LEASE, claim, event, make_action, plain, status_in

from reconciler.api.action import (
    FINALIZER,
    AttemptOutcome,
    Deletion,
    Metadata,
    Signal,
    TaskAction,
    record_name,
)
from reconciler.api.audit import Who
from reconciler.api.phase import ActionPhase
from reconciler.api.tokens import FencingToken
from reconciler.core.children import WINDOW
from reconciler.core.line import Line
from reconciler.stores.base import Finished, Store, Write
from reconciler.stores.concluding import Concluded
from reconciler.stores.memory import MemoryStore

SEED = int(os.environ.get("CONFORMANCE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
STORIES = 12
STEPS = 40
LEASE = 1_200_000
"""Of an attempt, ms: as far as that."""
PHASES = (
    ActionPhase.RUNNING,
    ActionPhase.RUNNING,
    ActionPhase.RUNNING,
    ActionPhase.SUCCEEDED,
    ActionPhase.FAILED,
)
Verb = Callable[[Store], Any]

pytestmark = [
    pytest.mark.rule("R6"),
    pytest.mark.parametrize("kind", [pytest.param("valkey", marks=pytest.mark.servers)]),
]


def submissions(rng: random.Random) -> list[TaskAction]:
    """Make a group, members of it and a condition, each with what a submission may say."""
    made = [
        make_action("a0", env={"A": "1"}),
        *(make_action(f"m{n}", parent="a0") for n in range(3)),
        make_action("c", condition=True),
    ]
    made[0].spec = msgspec.structs.replace(made[0].spec, task_type=WINDOW)
    for action in made:
        action.metadata = Metadata(
            namespace=rng.choice(("flyte", "other")),
            name=record_name(action.id, action.spec),
            extra_labels=rng.choice(({}, {"team": "a"})),
            annotations=rng.choice(({}, {"note": "a"})),
            priority=rng.choice((5, 5, 9)),
            fair_key=rng.choice(("", "etl")),
            not_before=rng.choice((0, 0, -600_000)),
            expires_at=rng.choice((0, -6_000_000)),
            submitted=rng.choice((None, Who("ada", "cli"))),
            incarnation="abcdefghij",
        )
    return made


def kept(store: Store, actions: Iterable[TaskAction]) -> Any:
    """Read all that a store tells of a run."""
    shard, ids = store.shard_of(RUN), [action.id for action in actions]
    found = {
        "records": store.get_many(ids),
        "events": [store.events(one) for one in ids],
        "counts": store.counts(RUN),
        "due": sorted(store.due(shard)),
        "turns": [store.turn(one) for one in ids],
        "ends": store.ends(ids),
        "ended": store.ended_children(ids[0]),
        "waiting": store.launches_waiting(),
    }
    return plain(found, store.now())


class Story:
    """One run, treated alike in both stores.

    Attributes:
        twin: whose records decide what can be done next.
        decided, next: the phase that the end of a launch leads to, and the launch that follows.
    """

    def __init__(self, store: Store, seed: int) -> None:
        self.rng = random.Random(seed)
        self.store = store
        self.twin = MemoryStore(
            clock=store.now,
            shards=store.shards,
            step_lease=timedelta(milliseconds=STEP_LEASE),
            max_countdown=timedelta(milliseconds=MAX_COUNTDOWN),
        )
        self.actions = submissions(self.rng)
        self.launches = 0
        self.decided, self.next = ActionPhase.RUNNING, ""

    def alike(self, verb: Verb) -> None:
        """Ask both stores; they must answer and keep the same."""
        mine, its = (plain(verb(one), one.now()) for one in (self.twin, self.store))
        assert its == mine
        assert kept(self.store, self.actions) == kept(self.twin, self.actions)

    def step(self) -> None:
        """Change something of an action that can be claimed, as one round does."""
        rng, action = self.rng, self.rng.choice(self.actions)
        record = self.twin.get(action.id)
        assert record is not None
        phase = record.phase if record.phase.is_terminal() else rng.choice(PHASES)
        attempts, relaunches = rng.choice((1, 1, 1, 2)), rng.choice((0, 0, 1))
        writes_status, tells = rng.random() < 0.6, rng.random() < 0.8
        labels, finalizers = (
            rng.choice(({}, {"team": "b"})),
            rng.choice(((), (FINALIZER,), ("other", FINALIZER))),
        )
        writes_metadata, due, refill_at = rng.random() < 0.3, rng.choice((0, 600_000)), rng.choice((0, 0, 2))
        again = bool(record.attempt.launch) and rng.random() < 0.4
        self.launches += not again
        name = record.attempt.launch if again else str(self.launches)
        level = rng.choice((LINE, Line("q", 10, alone=True, fair="p", function="f").name))
        launch = (name, level) if not phase.is_terminal() and rng.random() < 0.5 else None

        def round_of(store: Store) -> Any:
            found = [one for one in claim(store, action).actions if one.id == action.id]
            if not found:
                return None
            original = found[0]
            changed = original.copy()
            write = Write(action=changed, original=original, launch=launch, refill_at=refill_at)
            write.due = original.now + due if due else 0
            if writes_status:
                changed.status = status_in(phase, original.now)
                changed.set_status(attempts=attempts, launches=relaunches)
                write.status = True
                write.events = [event(original, phase)] if tells else []
            if writes_metadata:
                changed.set_metadata(finalizers=finalizers, extra_labels=labels, annotations=labels)
                write.metadata = True
            return original, store.commit(store.shard_of(RUN), [write]).outcomes

        self.alike(round_of)

    def work(self) -> None:
        """Do what a worker does with a launch."""
        rng, shard = self.rng, self.twin.shard_of(RUN)
        records = [
            record for record in self.twin.get_many([one.id for one in self.actions]) if record is not None
        ]
        action = rng.choice([one for one in records if one.attempt.launch] or records)
        launch, mine = action.attempt.launch, action.attempt.owner or "w1"
        owner = rng.choice((mine, mine, mine, "w2"))
        done = Finished(
            action.id, launch, AttemptOutcome(ended="returned"), rng.choice(("", "abcdefghij", "x"))
        )
        self.launches += 1
        self.decided, self.next = rng.choice(PHASES), str(self.launches)
        verbs: list[Verb] = [
            lambda store: store.start_attempt(action.id, launch, owner=owner, lease=LEASE),
            lambda store: store.draw(shard, LINE, owner=owner, limit=3, lease=LEASE).actions,
            lambda store: store.heartbeat(action.id, launch, owner=owner, lease=LEASE),
            lambda store: store.finish_attempts(shard, owner, [done]),
            lambda store: self.conclude(store, action, owner, done),
            lambda store: self.conclude(store, action, owner, done),
            lambda store: store.decline_attempt(action.id, launch, owner=owner, why="no", delay=600_000),
            lambda store: store.stop_attempt(action.id, "enough"),
        ]
        self.alike(rng.choice(verbs))

    def conclude(self, store: Store, seen: TaskAction, owner: str, done: Finished) -> Any:
        """Report the end of a launch with a decision about the record as it is."""
        record = store.get(seen.id)
        assert record is not None
        original = record.copy()
        original.token, original.now = FencingToken(record.token + 1), store.now()
        if FINALIZER not in record.metadata.finalizers:  # as a claim gives it
            original.set_metadata(finalizers=(*record.metadata.finalizers, FINALIZER))
        original.attempt = msgspec.structs.replace(record.attempt, outcome=done.outcome, lease_until=0)
        changed = original.copy()
        changed.status = status_in(self.decided, original.now)
        write = Write(action=changed, original=original, status=True, events=[event(original, self.decided)])
        if self.decided.is_terminal():
            write.metadata = True
            changed.set_metadata(finalizers=())
        else:
            write.due, write.launch = original.now + 600_000, (self.next, LINE)
        report = store.conclude(store.shard_of(RUN), owner, [Concluded(done, write)])
        assert report.commit is not None
        return report.endings, report.commit.outcomes

    def ask(self) -> None:
        """Ask for something as people do, or wake an action."""
        rng, action = self.rng, self.rng.choice(self.actions)
        later, priority, value = rng.choice((0, 600_000)), rng.randrange(10), rng.choice((True, 1, 1.0, "1"))
        verbs: list[Verb] = [
            lambda store: store.request_abort(action.id, Deletion(actor="ada"), quiet=True).outcome,
            lambda store: store.signal(action.id, Signal(value, "ada")),
            lambda store: store.prioritize([action.id], priority, by=Who("ada", "cli"))[0],
            lambda store: len(store.wake([action.id], store.now() + later if later else 0)) >= 0,
        ]
        self.alike(rng.choice((verbs[0], *verbs[1:] * 3)))


@pytest.mark.parametrize("number", range(STORIES))
def test_both_stores_answer_and_keep_the_same(store: Store, number: int) -> None:
    """After each verb of a random story, whatever the twin tells of records, events, counters and times, Redis tells too."""
    seed = SEED + number
    print(f"CONFORMANCE_SEED={seed}")
    story = Story(store, seed)
    story.alike(lambda one: one.create(story.actions).outcomes)
    for _ in range(STEPS):
        story.rng.choice((story.step, story.step, story.work, story.work, story.ask))()
