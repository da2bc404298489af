"""Both ways to tell the end of an attempt leave the same: in one call with its step, and before a step of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from line_support import HOUR
from support import ATTEMPT_LEASE, due_time, get, plain

from reconciler.api.action import ActionSpec, AttemptOutcome, Deletion, TaskAction
from reconciler.api.asked import AskedRetry
from reconciler.api.start_over import StartOver
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import OutputRef
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client
from reconciler.controller.conclude import Ended, conclude
from reconciler.core.deadlines import RUNNING_TIMED_OUT
from reconciler.settings import Settings
from reconciler.stores.base import Finished, Store
from reconciler.stores.concluding import Ending
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine

pytestmark = pytest.mark.rule("R6", "R74")
VAGUE = frozenset({"ran", "reported_time", "reportedTime"})
"""Counted in ms, or there only when a ms has passed."""
TOLD = frozenset({b"e", b"pg"})
"""Fields that are no JSON and hold times: the record tells what they say."""


def outcomes(now: int) -> list[AttemptOutcome]:
    """List the ways in which an attempt may end."""
    made, later = OutputRef(uri="s3://b/o", sha256="00", size=3), now + HOUR
    return [
        AttemptOutcome(ended="returned", outputs=made, began=now, log_uri="s3://b/l", unasked=("c",)),
        AttemptOutcome(
            ended="raised", code="ValueError", message='n\x00\u2028"\\}' + "x" * 3000, traceback="t"
        ),
        AttemptOutcome(ended="raised", code="ValueError", message="no", retryable=False),
        AttemptOutcome(ended="raised", code=RUNNING_TIMED_OUT, message="long"),
        AttemptOutcome(ended="raised", code="E", message="again", asked=AskedRetry(state="s")),
        AttemptOutcome(ended="raised", code="E", message="later", asked=AskedRetry(HOUR, "s")),
        AttemptOutcome(ended="died", code="Crashed", message="signal 11"),
        AttemptOutcome(ended="stopped", code="ReadFailed", message="S3 is away"),
        AttemptOutcome(ended="suspended", until=now - HOUR),
        AttemptOutcome(ended="suspended", until=later),
        AttemptOutcome(ended="suspended", waits=("p/d/none/a0",), waits_for=1, until=later),
        AttemptOutcome(ended="suspended", start_over=StartOver(number=1, at=now, inputs=b'{"a":1}')),
        AttemptOutcome(ended="suspended", start_over=StartOver(number=1, at=now, inputs=b"{}", begins=later)),
    ]


class House(NamedTuple):
    """An installation on the store under test."""

    store: Store
    client: Client
    engine: Engine

    def step(self, action: TaskAction) -> None:
        """Take a step of one action alone."""
        shard = self.store.shard_of(action.id.run_id)
        self.engine.stepper.step(shard, [action.id], drain=False)

    def draw(self, retries: int) -> TaskAction:
        """Return a new action as a worker drew it."""
        policies = TaskMetadata(retries=RetryStrategy(retries=retries))
        template = TaskTemplate(type="function", custom={"function": "demo.f"}, metadata=policies)
        spec = ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")
        action = get(self.store, self.client.get(self.client.submit(spec).action))
        self.step(action)
        shard, line = self.store.shard_of(action.id.run_id), self.store.turn(action.id).line
        (record,) = self.store.draw(shard, line, owner="w1", limit=1, lease=ATTEMPT_LEASE * 60).actions
        assert record.id == action.id
        return record

    def tell_in_one_call(self, record: TaskAction, finished: Finished) -> Ending:
        """Tell the end with its step, and take a step where that was refused."""
        shard, ended = self.store.shard_of(record.id.run_id), Ended(record, finished, self.store.now())
        (ending,) = conclude(self.engine.stepper, shard, "w1", [ended], lambda call: call())
        if ending is not Ending.WRITTEN:
            self.step(record)
        return ending

    def tell_and_step(self, record: TaskAction, finished: Finished) -> None:
        """Tell the end, and take a step."""
        assert self.store.finish_attempts(self.store.shard_of(record.id.run_id), "w1", [finished]) == (True,)
        self.step(record)

    def left(self, record: TaskAction) -> str:
        """Write down all that is kept of an action and of its run."""
        store, run = self.store, record.id.run_id
        found = {
            "record": get(store, record),
            "events": store.events(record.id),
            "counts": store.counts(run),
            "due": due_time(store, record) or 0,
            "line": store.turn(record.id).line,
        }
        if isinstance(store, RedisStore):
            fields = store.client.hgetall(store.keys.action(record.id))
            found["fields"] = {
                name.decode(): read(value) for name, value in fields.items() if name not in TOLD
            }
        text = json.dumps(exact(plain(found, store.now())), sort_keys=True, default=repr)
        text = re.sub("memory/../", "", text)  # the folder of a run begins with a digest of its name
        return text.replace(record.metadata.incarnation, "?").replace(run.run, "?")


def read(value: bytes) -> Any:
    """Read a field of a record."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def exact(value: Any) -> Any:
    """Leave out what differs between two actions that are alike."""
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items() if name not in VAGUE}
    return [exact(one) for one in value] if isinstance(value, list) else value


@pytest.fixture
def house(store: Store) -> Iterator[House]:
    """An installation whose steps and reports this test makes."""
    settings, blobs, messenger = Settings(shards=store.shards), MemoryBlobs(), RecordingMessenger()
    engine = Engine(settings, store=store, blobs=blobs, messenger=messenger)
    yield House(store, Client(store, blobs, messenger, settings), engine)
    engine.stepper.close()


def child(house: House, record: TaskAction) -> None:
    """Start an action below it."""
    spec = ActionSpec(
        task_type="echo",
        task_template=record.spec.task_template,
        inputs=b"{}",
        run_name=record.id.run,
        action_name="c",
        parent_action_name=record.id.action,
    )
    house.client.submit(spec)


MEANWHILE: dict[str, Callable[[House, TaskAction], object]] = {
    "nothing": lambda _, record: record,
    "abort": lambda house, record: house.store.request_abort(record.id, Deletion(actor="ada")),
    "stop": lambda house, record: house.store.stop_attempt(record.id, "enough"),
    "priority": lambda house, record: house.store.prioritize([record.id], 9),
    "wake": lambda house, record: house.store.wake([record.id]),
    "wake later": lambda house, record: house.store.wake([record.id], house.store.now() + HOUR // 2),
    "beat": lambda house, record: house.store.heartbeat(
        record.id, "1", owner="w1", lease=HOUR, progress=b'{"state":"half"}'
    ),
    "step": lambda house, record: house.step(record),
    "child": child,
}
"""What may happen between draw and report."""
UNSEEN = {"nothing", "priority", "wake later", "beat"}
"""What changes no decision."""


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_both_ways_leave_the_same(house: House, meanwhile: str) -> None:
    """Of two alike, however they end and with attempts left or none: records and their fields, events, counts, times."""
    written = 0
    for retries in (0, 1):
        for outcome in outcomes(house.store.now()):
            records = house.draw(retries), house.draw(retries)
            for record in records:
                MEANWHILE[meanwhile](house, record)
            one, other = (
                Finished(record.id, record.attempt.launch, outcome, record.metadata.incarnation)
                for record in records
            )
            written += house.tell_in_one_call(records[0], one) is Ending.WRITTEN
            house.tell_and_step(records[1], other)
            left = [house.left(record) for record in records]
            assert left[0].split(", ") == left[1].split(", "), outcome.ended
    assert (written > 0) is (meanwhile in UNSEEN or meanwhile == "wake")
