"""One round of work that passes all crash points, and what must be true after it, whoever was killed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import chaos_tasks
import msgspec

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.errors import InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Identifier, Interface, TaskMetadata, TaskTemplate, encode_template
from reconciler.archive.archive import Archive
from reconciler.archive.index import list_index, read_rows
from reconciler.client import Client, Run
from reconciler.core.layout import read_part
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore
from reconciler.testing.invariants import check_due_index, check_events, check_run
from reconciler.wiring import Engine

GPU = "gpu"
EXPECTED = {
    "work": 12,
    "flaky": 2,
    "once": 1,
    "alone": 2,
    "big": 1,
    "victim": 1,
    "child0": 1,
    "child1": 1,
    "late": 1,
}
"""Executions of each function in a round in which nobody dies."""
_ENDED_WITH = {ActionPhase.FAILED: 1, ActionPhase.ABORTED: 1, ActionPhase.RECOVERED: 1}
"""At most so many actions of a round do not succeed: the one nobody can run, the victim, and the one that is taken over."""
_PATIENCE = 60.0
"""Seconds until a run that another one is made of has to end."""
_LONG = 6.0
"""Seconds the victim would run: long enough to be aborted meanwhile, also on a crowded machine."""
_RENEWED = 1.1
"""Seconds a unit is held: longer than until the first heartbeat, whose step renews it."""


def submit(client: Client, name: str, tally: str) -> None:
    """Submit, signal, abort, look. Done again by the next process when this one dies: all of it is idempotent."""
    env, key = chaos_tasks.env, f"{name}-{{}}".format
    env.client = client
    victim = chaos_tasks.mark.submit(("victim", _LONG, tally), idempotency_key=key("victim"))
    group = chaos_tasks.mark.map(
        ["work"] * EXPECTED["work"], seconds=0.02, tally=tally, idempotency_key=key("group")
    )
    chaos_tasks.flaky.submit(("flaky", tally), idempotency_key=key("flaky"))
    with suppress(InvalidSpec):  # no worker has published it yet
        client.task(chaos_tasks.flaky.name).submit(("flaky", tally), idempotency_key=key("flaky"))
    chaos_tasks.family.submit((tally,), idempotency_key=key("family"))
    chaos_tasks.mark.submit(("big", 0.0, tally, "x" * 3000), idempotency_key=key("big"))
    for number in range(2):
        chaos_tasks.alone.submit(("alone", _RENEWED, tally), idempotency_key=key(f"alone{number}"))
        chaos_tasks.shared.submit((name, "once", 0.3, tally), idempotency_key=key(f"once{number}"))
    client.submit(_plain("echo"), idempotency_key=key("echo"))
    client.submit(_plain("nobody-knows-it"), idempotency_key=key("unknown"))
    question = client.condition("shall it be", idempotency_key=key("question"))
    client.signal(question.action, value=True)
    _make_again(client, key)
    _tend_queues(client, group)
    _await_running(client, victim)
    client.abort(victim.action)
    _tell_nobody(client, key("late"), tally)
    _look(client, group)


def _make_again(client: Client, key: Callable[[str], str]) -> None:
    """Make a run of two, and one made of it in which one of them is taken over."""
    pair = client.submit_many([_plain("echo"), _plain("echo")], idempotency_key=key("pair"))
    pair.wait(_PATIENCE)
    pair.fork(again=["m0"], idempotency_key=key("fork"))
    client.made_into(RunLife(pair.id, pair.incarnation))


def _plain(task_type: str) -> ActionSpec:
    """Return a cached task without outputs: the cache looks for them in S3."""
    template = TaskTemplate(
        id=Identifier(project="default", domain="development", name=task_type),
        type=task_type,
        metadata=TaskMetadata(discoverable=True, discovery_version="1"),
        interface=Interface(),
    )
    return ActionSpec(
        task_type=task_type, task_template=encode_template(template), cache_key="1", inputs=b"{}"
    )


def _await_running(client: Client, run: Run[str]) -> None:
    woken = threading.Event()
    with client.store.subscribe(run.id, woken.set):
        while run.phase is ActionPhase.QUEUED:
            woken.wait(0.1)
            woken.clear()


def _tend_queues(client: Client, group: Run[list[str]]) -> None:
    """What people do with queues; lines that nobody is told of are found by the sweep."""
    store = client.store
    store.prioritize([action.id for action in client.actions(group.id)], 7)
    store.move("elsewhere", client.settings.attempts_queue)
    store.set_queue(client.settings.attempts_queue, pause=False)
    store.launches_waiting()


def _tell_nobody(client: Client, key: str, tally: str) -> None:
    """Leave a launch in a line when all tickets are used up, as a process does that dies before it sends one."""
    queue = client.settings.attempts_queue
    client.store.set_queue(queue, pause=True)
    late = chaos_tasks.mark.submit(("late", 0.0, tally), idempotency_key=key)
    pause = threading.Event()
    while late.phase is ActionPhase.QUEUED and not client.store.turn(late.action).line:
        pause.wait(0.05)
    client.store.set_queue(queue, pause=False)


def _look(client: Client, group: Run[list[str]]) -> None:
    """Read everything that a page or a command shows."""
    client.store.installation()
    client.runs()
    client.counts(group.id)
    client.store.turn(group.action)
    client.store.rulings(client.settings.attempts_queue)
    client.events(group.action)
    members = [action.id for action in client.actions(group.id)]
    client.store.get_many(members)
    client.store.ends(members)
    for shard in range(client.store.shards):
        client.store.due(shard)
        client.store.channel(shard)
        client.store.audit(shard)


def is_over(client: Client) -> bool:
    """Whether all actions of all runs have ended, and none is owed anything."""
    runs = client.runs(limit=100)
    return all(run.counts.ended == run.counts.total for run in runs) and not any(
        client.store.due(shard) for shard in range(client.store.shards)
    )


def check(client: Client, tally: Path) -> tuple[int, int]:
    """Check all runs of a round; returns how many executions were more than needed, and how many outputs lie in packs."""
    others: list[TaskAction] = []
    packed = 0
    runs = client.runs(limit=100)
    assert len(runs) == 15, f"{len(runs)} runs instead of those submitted"
    for run in runs:
        check_run(client, run.id)
        for action in client.actions(run.id):
            if action.phase is not ActionPhase.SUCCEEDED:
                others.append(action)
            elif action.status.outputs is not None:
                far = msgspec.structs.replace(action.status.outputs, inline=None)
                client.blobs.get(far.uri, sha256=far.sha256)
                packed += read_part(far.uri) is not None
    check_due_index(client)
    said = [f"{action.id} {action.phase} {action.status.error_state}" for action in others]
    phases = Counter(action.phase for action in others)
    assert all(count <= _ENDED_WITH.get(phase, 0) for phase, count in phases.items()), said
    executions = Counter(tally.read_text().split())
    missing = [n for n, least in EXPECTED.items() if executions[n] < least and n != "victim"]
    assert not missing, f"succeeded without an execution: {missing}"
    return sum((executions - Counter(EXPECTED)).values()), packed


def check_archived(blobs: BlobStore, roots: list[TaskAction]) -> None:
    """Check that the runs of these roots lie in the archive, whole and each once, with gapless events."""
    found, _ = list_index(blobs, "default", "0000", "9999")
    rows = read_rows(blobs, found).rows.values()
    assert sorted(row.id for row in rows) == sorted(root.id.run_id for root in roots)
    for root in roots:
        run = Archive(blobs).read_run(root.id.run_id, root.metadata.incarnation)
        assert run is not None
        assert (run.damage, run.missing) == ("", 0), root.id
        assert run.actions[root.id.action].status == root.status
        for name, action in run.actions.items():
            check_events(run.events(name), action.phase)


def is_free(engine: Engine, client: Client) -> bool:
    """Whether nobody holds a unit of the quota or a reservation of a cache key any more."""
    manager, catalog = engine.reconciler.resource_manager, engine.reconciler.catalog
    assert catalog is not None
    probe = ActionId("default", "development", "probe", "a0")
    free = manager.allocate(GPU, "probe", probe).look_at == 0
    manager.release(GPU, "probe")
    for run in client.runs(limit=100):
        record = client.get(run.id.action("a0"))
        config = engine.reconciler.cache_config(record) if record.spec.task_template else None
        if config is not None and config.serializable:
            held = catalog.get_or_extend_reservation(config.key, "probe", 100)
            catalog.release_reservation(config.key, "probe")
            free = free and held.owner == "probe"
    return free
