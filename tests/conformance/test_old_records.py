"""What a release before stored, byte for byte: it is read, runs, is submitted again and is collected."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from support import PassTime

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.status import ActionStatus
from reconciler.api.template import Identifier, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import PhaseInfo, TaskInfo, success
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client
from reconciler.plugins.context import TaskExecutionContext
from reconciler.settings import Settings
from reconciler.stores import records
from reconciler.stores.base import StartRefused, Store
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.record import Launch, Record, spec_of
from reconciler.stores.memory.store import MemoryStore
from reconciler.stores.shared_parts import decode_shared
from reconciler.sweeps.collect import collect
from reconciler.testing import ScriptedPlugin
from reconciler.wiring import Engine

ACTION = ActionId("default", "development", "nightly", "a0")
DIGEST = b"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
INPUTS = "s3://memory/default/development/nightly/a0/inputs/" + DIGEST.decode()
DEFAULT = b"BynjpajIsSCM1p-m"
SHARED = (
    b'{"runOutputBase":"s3://memory/\\u0001","taskType":"task","shortName":"task","taskTemplate":"eyJpZCI6eyJwcm9qZWN0Ijoi'
    b'ZGVmYXVsdCIsImRvbWFpbiI6ImRldmVsb3BtZW50IiwibmFtZSI6InRhc2sifSwidHlwZSI6InRhc2siLCJtZXRhZGF0YSI6e319"}'
)
FIELDS = {
    b"s": b'{"inputUri":"' + INPUTS.encode() + b'","inputsDigest":"' + DIGEST + b'"}',
    b"h": DEFAULT,
    b"c": b"1790000000000",
    b"v": b"1",
    b"p": b"1",
    b"e": b"1 1790000000000-0",
}

PRIORITIZED = b'{"what":"priority 2","actor":"bob","door":"cli","at":1790000000000}'
"""The note of such a release of who gave a priority: the last one alone."""


def plant(store: Store) -> None:
    """Store the record as a release before did."""
    path, run, shard = str(ACTION), ACTION.run_id, store.shard_of(ACTION.run_id)
    if isinstance(store, MemoryStore):
        state = store._shards[shard]
        state.records[path] = Record(
            ACTION,
            spec_of(TaskAction(ACTION, records.decode(ACTION, FIELDS, decode_shared(SHARED)).spec)),
            Metadata(namespace="flyte", name="nightly-a0", creation_timestamp=1790000000000),
            ActionStatus(),
            events=1,
        )
        state.due[path], state.runs[run] = 1, 1
        state.tree[run], state.counters[run] = {"/a0"}, {"1": 1}
        state.incarnations[run] = ""
        return
    client, base = store.client, store.keys.base(shard)
    client.hset(f"{base}a:{path}", mapping=FIELDS)  # type: ignore[arg-type]  # bytes are fine
    client.zadd(store.keys.due(shard), {path: 1})
    client.zadd(f"{base}tree:{run}", {"/a0": 0})
    client.hset(f"{base}run:{run}", "1", "1")
    client.hset(f"{base}shared:{run}", DEFAULT.decode(), SHARED.decode())
    client.zadd(f"{base}runs", {str(run): 1})


def answer(ctx: TaskExecutionContext) -> PhaseInfo:
    """Hand the inputs on as outputs."""
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(ctx.read_inputs())))


class Upgraded:
    """An installation of this release on what the one before left."""

    def __init__(self, store: Store) -> None:
        self.store, self.blobs, messenger = store, MemoryBlobs(), RecordingMessenger()
        self.settings = Settings(
            collect_objects=True, retention=timedelta(0), inline_limit=1, archive=timedelta(0)
        )
        self.blobs.put(f"{INPUTS}/inputs.pb", b"foo")
        plant(store)
        plugin = ScriptedPlugin("task", answer)
        self.engine = Engine(
            self.settings, store=store, blobs=self.blobs, messenger=messenger, plugins=[plugin.entry]
        )
        self.client = Client(store, self.blobs, messenger, self.settings)

    def step(self) -> None:
        """Run one step of the shard."""
        self.engine.stepper.step(self.store.shard_of(ACTION.run_id))


def spec(name: str = "a0", **changes: str) -> ActionSpec:
    """Return the submission that made the record, or another one of its run."""
    identity = Identifier(project="default", domain="development", name="task")
    template = TaskTemplate(id=identity, type="task", metadata=TaskMetadata())
    made = ActionSpec(
        run_name="nightly",
        action_name=name,
        task_type="task",
        short_name="task",
        task_template=encode_template(template),
        inputs=b"foo",
    )
    return msgspec.structs.replace(made, **changes)


def test_it_runs_where_it_began_and_is_collected(store: Store, pass_time: PassTime) -> None:
    """Inputs are read where they lie, outputs go where that release looks for them, and both go with the record."""
    new = Upgraded(store)
    assert new.client.get(ACTION).spec.run_output_base == "s3://memory/default/development/nightly"
    new.step()
    record = new.client.get(ACTION)
    assert record.phase is ActionPhase.SUCCEEDED
    assert record.metadata.incarnation == ""
    assert record.status.outputs is not None
    assert record.status.outputs.uri == "s3://memory/k5/default/development/nightly/a0/1/outputs.pb"
    assert new.blobs.get(record.status.outputs.uri) == b"foo"
    pass_time(5)
    assert collect(store, new.settings, new.blobs) == 1
    assert new.blobs._objects == {}
    new.client.submit(spec())
    assert new.client.get(ACTION).metadata.incarnation, "the name begins anew, in the layout of this release"


def test_the_same_submission_finds_it(store: Store) -> None:
    """Submitted again by this release it is the same action; what comes to its run later has the layout of the run."""
    new = Upgraded(store)
    assert new.client.submit(spec()).action == ACTION
    assert new.client.get(ACTION).version == 1
    child = new.client.submit(spec("c1", parent_action_name="a0")).action
    record = new.client.get(child)
    assert record.metadata.incarnation == ""
    assert record.spec.input_uri == INPUTS.replace("/a0/", "/c1/")
    assert new.blobs.get(f"{record.spec.input_uri}/inputs.pb") == b"foo"
    before = len(new.blobs._objects)
    with pytest.raises(Exception, match="these fields differ"):
        new.client.submit(spec(group="other"))
    assert len(new.blobs._objects) == before


def test_its_launches_are_those_of_no_incarnation(store: Store) -> None:
    """A message of this release, which names an incarnation, is for another run; one of the release before starts it."""
    plant(store)
    fields = {"n": "1", "nq": "q", "nt": "1", "f": "flyte.org/plugin-finalizer"}
    if isinstance(store, MemoryStore):
        store.shard(ACTION).records[str(ACTION)].launch = Launch("1", 1)
    else:
        store.client.hset(store.keys.action(ACTION), mapping=fields)  # type: ignore[arg-type]  # texts are fine
    assert (
        store.start_attempt(ACTION, "1", owner="w", lease=9, incarnation="aaaaaaaaaa")
        is StartRefused.SUPERSEDED
    )
    started = store.start_attempt(ACTION, "1", owner="w", lease=9)
    assert not isinstance(started, StartRefused)


def test_who_prioritized_it_before_stays_told(store: Store) -> None:
    """That release noted only who gave a priority last: it is the first of the notes that this one adds."""
    if isinstance(store, MemoryStore):
        pytest.skip("a twin holds nothing of a release before")
    new = Upgraded(store)
    store.client.hset(
        f"{store.keys.base(store.shard_of(ACTION.run_id))}a:{ACTION}", mapping={"pr": "2", "pb": PRIORITIZED}
    )
    assert [one.actor for one in new.client.get(ACTION).metadata.priorities] == ["bob"]
    new.client.actor = "ada"
    new.client.prioritize(ACTION, 9)
    given = [(one.what, one.actor, one.door) for one in new.client.get(ACTION).metadata.priorities]
    assert given == [("priority 2", "bob", "cli"), ("priority 9", "ada", "client")]
