"""What a commit leaves of a record, told once more in the plainest words, and over random stories."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace

import pytest
from support import (
    ATTEMPT_LEASE,
    claimed,
    committed,
    created,
    due_time,
    event,
    get,
    make_action,
    started,
    status_in,
)

from reconciler.api.action import FINALIZER, AttemptOutcome, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.stores.base import Finished, Store, Write

pytestmark = pytest.mark.rule("R6")
LINE = "q/5-/p/f"
SEED = int(os.environ.get("CONFORMANCE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
STORIES = 50
STEPS = 12
ENDS = (ActionPhase.SUCCEEDED, ActionPhase.FAILED)


@dataclass
class Launch:
    """What a record says of its launch, and of the attempt a worker makes of it."""

    name: str = ""
    owner: str = ""
    ended: str = ""
    stop: str = ""
    hand_backs: int = 0
    handed_back: str = ""


@dataclass
class Record:
    """What a record shall hold, in plain words; nothing of it is computed by the stores."""

    status: ActionStatus
    phase: ActionPhase = ActionPhase.QUEUED
    version: int = 1
    events: int = 1
    finalizers: tuple[str, ...] = ()
    completed_at: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    launch: Launch = field(default_factory=Launch)

    def written(self, write: Write, phase: ActionPhase) -> Record:
        """Return this record after a write that moves it to a phase."""
        owes = FINALIZER in self.finalizers
        new = replace(
            self, finalizers=self.finalizers if owes else (*self.finalizers, FINALIZER)
        )  # by the claim
        meta = write.action.metadata
        if write.status:
            new = replace(new, status=write.action.status, phase=phase)
        if write.metadata:
            new = replace(new, finalizers=meta.finalizers, labels=tuple(sorted(meta.extra_labels.items())))
            new.completed_at = meta.completed_at or self.completed_at
        new.events += len(write.events)
        new.version += bool(write.status or write.metadata or write.events or write.launch)
        if write.launch is not None:
            again = write.launch[0] == self.launch.name
            new.launch = replace(self.launch, handed_back="", stop="") if again else Launch(write.launch[0])
        elif write.status and max(self.status.attempts, 1) != max(write.action.status.attempts, 1):
            new.launch = Launch()  # it was given up: the next attempt is launched later
        if new.phase.is_terminal() and FINALIZER not in new.finalizers:
            new.launch = Launch()  # nobody may report any more
        return new


def read(record: TaskAction) -> Record:
    """What a store holds, in the same words."""
    meta, attempt = record.metadata, record.attempt
    return Record(
        record.status,
        record.phase,
        record.version,
        record.events,
        meta.finalizers,
        meta.completed_at,
        tuple(sorted(meta.extra_labels.items())),
        Launch(
            attempt.launch,
            attempt.owner,
            attempt.outcome.ended if attempt.outcome else "",
            attempt.stop,
            attempt.hand_backs,
            attempt.handed_back.why if attempt.handed_back else "",
        ),
    )


class Story:
    """One action, stepped at random; the record that is expected goes along."""

    def __init__(self, store: Store, name: str, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.action = make_action(name)
        self.launches = 0
        created(store, self.action)
        self.expected = Record(ActionStatus())

    def step(self) -> None:
        """Claim, change something or nothing, commit."""
        rng, original = self.rng, claimed(self.store, self.action)
        changed = original.copy()
        write = Write(action=changed, original=original, due=rng.choice((0, original.now + 60_000)))
        phase = self.expected.phase
        if rng.random() < 0.6:
            if not phase.is_terminal():
                phase = rng.choice((ActionPhase.RUNNING, ActionPhase.RUNNING, ActionPhase.RUNNING, *ENDS))
                changed.status = status_in(phase, original.now)
            changed.set_status(state_at=rng.randrange(1, 1_000))
            write.status = True
            write.events = [event(original, phase)] if rng.random() < 0.7 else []
        if rng.random() < 0.4:
            write.metadata = True
            changed.set_metadata(
                finalizers=rng.choice(((), (FINALIZER,), ("other",), ("other", FINALIZER))),
                completed_at=rng.choice((0, original.now)),
                extra_labels=rng.choice(({}, {"team": "a"}, {"team": "b", "x": "y"})),
            )
        if not phase.is_terminal() and rng.random() < 0.5:
            likely = 0.9 if self.expected.launch.handed_back else 0.5
            again = bool(self.expected.launch.name) and rng.random() < likely
            self.launches += not again
            write.launch = (self.expected.launch.name if again else str(self.launches), LINE)
            if (
                again
                and not self.expected.launch.owner
                and not self.expected.launch.stop
                and rng.random() < 0.5
            ):
                self.work("start")  # a worker may have begun since the claim
        committed(self.store, write)
        self.expected = self.expected.written(write, phase)
        if not self.expected.launch.owner:
            assert due_time(self.store, self.action) == (write.due or None)

    def work(self, what: str) -> None:
        """Let a worker start the launch, end it or hand it back; let somebody ask it to stop."""
        launch = self.expected.launch
        can_start = bool(launch.name) and not (
            launch.owner or launch.stop or self.expected.phase.is_terminal()
        )
        runs = bool(launch.owner) and not launch.ended and not self.expected.phase.is_terminal()
        if what == "start" and can_start:
            started(self.store, self.action, launch=launch.name)
            launch = replace(launch, owner="w1", handed_back="")
        elif what == "finish" and runs:
            outcome = AttemptOutcome(ended="returned")
            finished = Finished(self.action.id, launch.name, outcome)
            shard = self.store.shard_of(self.action.id.run_id)
            assert self.store.finish_attempts(shard, "w1", [finished]) == (True,)
            launch = replace(launch, ended="returned")
        elif what == "decline" and runs:
            assert self.store.decline_attempt(
                self.action.id, launch.name, owner="w1", why="no", delay=ATTEMPT_LEASE
            )
            launch = replace(launch, owner="", hand_backs=launch.hand_backs + 1, handed_back="no")
        elif what == "stop" and launch.name:
            self.store.stop_attempt(self.action.id, "enough")
            launch = replace(launch, stop="enough")
        self.expected = replace(self.expected, launch=launch)

    def over(self) -> bool:
        """Whether the action has ended and owes nothing: nobody can claim it."""
        return self.expected.phase.is_terminal() and FINALIZER not in self.expected.finalizers


@pytest.mark.parametrize("number", range(STORIES))
def test_a_record_is_what_the_writes_say(store: Store, number: int) -> None:
    """After each write the stored record is that of a model which knows no fields, also when workers come between."""
    seed = SEED + number
    print(f"CONFORMANCE_SEED={seed}")
    story = Story(store, f"a{number}", random.Random(seed))
    for _ in range(STEPS):
        story.step()
        assert read(get(store, story.action)) == story.expected, f"CONFORMANCE_SEED={seed}"
        if story.over():
            return
        story.work(story.rng.choice(("start", "start", "finish", "decline", "stop", "nothing")))
        assert read(get(store, story.action)) == story.expected, f"CONFORMANCE_SEED={seed}"
