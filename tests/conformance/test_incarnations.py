"""A name used again is another action: what is left of the earlier one is refused everywhere."""

from __future__ import annotations

import msgspec
from support import (
    ATTEMPT_LEASE,
    LINE,
    RUN,
    STEP_LEASE,
    PassTime,
    claimed,
    committed,
    created,
    finish,
    get,
    make_action,
    phase_write,
    release_write,
    reported,
    shard_of,
)

from reconciler.api.action import AttemptOutcome, Deletion, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.layout import run_folder
from reconciler.stores.base import AbortOutcome, CommitOutcome, CreateOutcome, StartRefused, Store
from reconciler.stores.beats import Beat
from reconciler.stores.garbage import Life

OLD, NEW = "aaaaaaaaaa", "bbbbbbbbbb"
RETURNED = AttemptOutcome(ended="returned")


def of(incarnation: str, name: str = "a0", **how: str) -> TaskAction:
    """Return a submission in an incarnation of its run, with the default output base."""
    action = make_action(name, **how)  # type: ignore[arg-type]  # only texts are passed
    base = f"s3://bucket/{run_folder(RUN, incarnation)}"
    spec = msgspec.structs.replace(action.spec, run_output_base=base)
    return TaskAction(
        action.id, spec, metadata=msgspec.structs.replace(action.metadata, incarnation=incarnation)
    )


def launched(store: Store, incarnation: str) -> TaskAction:
    """Create an action and launch its first attempt."""
    action = of(incarnation)
    created(store, action)
    committed(store, phase_write(claimed(store, action), ActionPhase.RUNNING, launch=("1", LINE)))
    return action


def forgotten(store: Store, pass_time: PassTime, action: TaskAction) -> None:
    """End an action, and forget it."""
    finish(store, action)
    pass_time(5)
    assert store.collect(shard_of(store, action), before=store.now(), limit=9).deleted


def test_the_first_action_decides(store: Store) -> None:
    """All actions of a run have the incarnation of its first one; whoever says another is told, and stores nothing."""
    created(store, of(OLD))
    assert get(store, of(OLD)).metadata.incarnation == OLD
    for action in (of(NEW), of(NEW, "b"), of("", "b"), of(NEW, "c", parent="a0")):
        for answer in (store.would_create([action])[0], store.create([action]).outcomes[0]):
            assert (answer.outcome, answer.incarnation) == (CreateOutcome.OTHER_INCARNATION, OLD)
    assert store.get(of(NEW, "b").id) is None
    assert store.create([of(OLD)]).outcomes[0].outcome is CreateOutcome.EXISTS


def test_a_forgotten_incarnation_does_not_begin_again(store: Store, pass_time: PassTime) -> None:
    """Who was told of one that has been forgotten since is told in which one the run may begin; others may name any."""
    created(store, of(OLD))
    for answer in (store.would_create([of(NEW)], begins=NEW), store.create([of(NEW)], begins=NEW).outcomes):
        assert answer[0].incarnation == OLD
    forgotten(store, pass_time, of(OLD))
    known = [of(OLD), of(OLD, "b", parent="a0")]
    for answers in (store.would_create(known, begins=NEW), store.create(known, begins=NEW).outcomes):
        assert [(one.outcome, one.incarnation) for one in answers] == [
            (CreateOutcome.OTHER_INCARNATION, NEW)
        ] * 2
    assert store.counts(RUN) is None
    anew = [of(NEW), of(NEW, "b", parent="a0"), of(OLD, "c")]
    expected = [CreateOutcome.CREATED, CreateOutcome.CREATED, CreateOutcome.OTHER_INCARNATION]
    for answers in (store.would_create(anew, begins=NEW), store.create(anew, begins=NEW).outcomes):
        assert [one.outcome for one in answers] == expected


def test_the_base_follows_the_incarnation(store: Store, pass_time: PassTime) -> None:
    """Equal tasks of different runs share their stored part in memory, and each reads its own base."""
    for incarnation in (OLD, NEW):
        action = of(incarnation)
        created(store, action)
        assert get(store, action).spec == action.spec
        assert incarnation in claimed(store, action).spec.run_output_base
        committed(store, release_write(claimed_again(store, action, pass_time)))
        forgotten(store, pass_time, action)


def claimed_again(store: Store, action: TaskAction, pass_time: PassTime) -> TaskAction:
    """Return the record, once the claim before has run out."""
    pass_time(STEP_LEASE + 100)
    return claimed(store, action)


def test_a_run_of_a_release_before_stays_one(store: Store) -> None:
    """What a release before began has no incarnation, and its later actions have none either."""
    created(store, make_action())
    (answer,) = store.create([of(NEW, "b")]).outcomes
    assert (answer.outcome, answer.incarnation) == (CreateOutcome.OTHER_INCARNATION, "")
    created(store, make_action("b"))


def test_asking_stores_nothing(store: Store) -> None:
    """What would become of a submission is told as `create` tells it, children of what is submitted with them included."""
    tree = [of(OLD), of(OLD, "b", parent="a0"), of(OLD, "c", parent="nobody")]
    expected = [CreateOutcome.CREATED, CreateOutcome.CREATED, CreateOutcome.PARENT_MISSING]
    assert [one.outcome for one in store.would_create(tree)] == expected
    assert store.get(tree[0].id) is None
    assert store.counts(RUN) is None
    assert [one.outcome for one in store.create(tree).outcomes] == expected
    assert store.would_create(tree)[0].outcome is CreateOutcome.EXISTS
    other = make_action(template=b"other")
    changed = TaskAction(
        other.id, msgspec.structs.replace(of(OLD).spec, task_template=b"other"), metadata=of(OLD).metadata
    )
    (answer,) = store.would_create([changed])
    assert (answer.outcome, answer.fields) == (CreateOutcome.CONFLICT, ("taskTemplate",))


def test_an_old_launch_message_starts_nothing(store: Store, pass_time: PassTime) -> None:
    """Launch 1 of a forgotten run is not launch 1 of the run that has its name; a message that says nothing may start it."""
    forgotten(store, pass_time, launched(store, OLD))
    new = launched(store, NEW)

    def start(incarnation: str) -> TaskAction | StartRefused:
        return store.start_attempt(new.id, "1", owner="w", lease=ATTEMPT_LEASE, incarnation=incarnation)

    assert start(OLD) is StartRefused.SUPERSEDED
    found = start("")
    assert isinstance(found, TaskAction)
    assert found.metadata.incarnation == NEW


def test_a_late_worker_is_superseded(store: Store, pass_time: PassTime) -> None:
    """Even with the same name, launch and worker: it renews nothing, reports nothing, stops and aborts nobody."""
    for incarnation in (OLD, NEW):
        action = launched(store, incarnation)
        store.start_attempt(action.id, "1", owner="w", lease=ATTEMPT_LEASE, incarnation=incarnation)
        if incarnation == OLD:
            forgotten(store, pass_time, action)

    def beat(incarnation: str) -> Beat:
        return store.heartbeat(action.id, "1", owner="w", lease=ATTEMPT_LEASE, incarnation=incarnation)

    assert beat(OLD) == Beat(alive=False, stop="superseded")
    assert not reported(store, action, RETURNED, owner="w", incarnation=OLD)
    store.stop_attempt(action.id, "late", incarnation=OLD)
    request = Deletion(reason="late")
    assert store.request_abort(action.id, request, incarnation=OLD).outcome is AbortOutcome.MISSING
    assert get(store, action).metadata.deletion is None
    assert beat(NEW) == Beat(alive=True)
    store.stop_attempt(action.id, "in time", incarnation=NEW)
    assert beat(NEW) == Beat(alive=True, stop="in time")
    assert reported(store, action, RETURNED, owner="w", incarnation=NEW)
    assert store.request_abort(action.id, request, incarnation=NEW).outcome is AbortOutcome.REQUESTED


def test_a_late_step_writes_nothing(store: Store, pass_time: PassTime) -> None:
    """Tokens and versions begin anew with each run of a name; the commit of an earlier one finds its action gone."""
    created(store, of(OLD))
    stale = claimed(store, of(OLD))
    pass_time(STEP_LEASE + 100)
    forgotten(store, pass_time, of(OLD))
    created(store, of(NEW))
    fresh = claimed(store, of(NEW))
    assert (fresh.token, fresh.version) == (stale.token, stale.version)
    report = store.commit(shard_of(store, stale), [phase_write(stale, ActionPhase.SUCCEEDED)])
    assert report.outcomes == (CommitOutcome.GONE,)
    committed(store, phase_write(fresh, ActionPhase.SUCCEEDED))


def test_notes_of_two_incarnations_are_two(store: Store, pass_time: PassTime) -> None:
    """The note of a run does not stand for a later one of its name, and neither replaces the other."""
    lives = [Life(of(OLD).id, OLD), Life(of(NEW).id, NEW)]
    shard = created(store, of(OLD))
    store.note_garbage(shard, {lives[0]: ("s3://bucket/old",)})
    forgotten(store, pass_time, of(OLD))
    created(store, of(NEW))
    finish(store, of(NEW))
    pass_time(5)
    assert store.collect(shard, before=store.now(), limit=9, noted=True).deleted == ()
    store.note_garbage(shard, {lives[1]: ("s3://bucket/new",)})
    assert store.garbage(shard) == {lives[0]: ("s3://bucket/old",), lives[1]: ("s3://bucket/new",)}
    assert len(store.collect(shard, before=store.now(), limit=9, noted=True).deleted) == 1
    store.drop_garbage(shard, lives[:1])
    assert set(store.garbage(shard)) == {lives[1]}
