from __future__ import annotations

import msgspec
import pytest
from support import (
    PENDING_TTL,
    RUN,
    PassTime,
    claim,
    claimed,
    created,
    due_time,
    finish,
    get,
    make_action,
    shard_of,
)

from reconciler.api.action import Deletion, RunId
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import Created, CreateOutcome, Store

pytestmark = pytest.mark.rule("R75")


def outcomes(report_outcomes: tuple[Created, ...]) -> list[CreateOutcome]:
    """Return the bare outcomes."""
    return [one.outcome for one in report_outcomes]


def test_a_new_action_is_stored_as_asked(store: Store) -> None:
    """What was submitted can be read back, with its time of acceptance and version 1."""
    action = make_action(env={"A": "1"})
    action.set_metadata(extra_labels={"team": "x"}, annotations={"note": "y"})
    before = store.now()
    created(store, action)
    record = get(store, action)
    assert record.spec == action.spec
    assert record.metadata.extra_labels == {"team": "x"}
    assert record.metadata.annotations == {"note": "y"}
    assert record.metadata.traceparent == ""
    assert record.metadata.name == "r1-a0"
    assert before <= record.metadata.creation_timestamp <= store.now()
    assert (record.version, record.events, record.phase, record.token) == (1, 1, ActionPhase.QUEUED, 0)
    assert record.metadata.finalizers == ()


class Text(str):
    """A text as libraries derive them: safe HTML, a scalar of NumPy."""

    __slots__ = ()


def test_a_text_of_another_class_is_that_text(store: Store) -> None:
    """In names, labels and variables; what is read back is plain."""
    run = RunId(RUN.project, RUN.domain, Text("r1"))
    action = make_action(Text("a0"), run=run, env={Text("A"): Text("1")})
    action.set_metadata(extra_labels={Text("team"): Text("x")})
    created(store, action)
    record = get(store, action)
    assert record.spec.env_vars == {"A": "1"}
    assert record.metadata.extra_labels == {"team": "x"}


@pytest.mark.rule("R93")
def test_the_trace_of_a_submission_is_kept(store: Store) -> None:
    """It is no part of the spec: the same submission from another trace is the same action, and the first one stands."""
    first, again = make_action(), make_action()
    contexts = [f"00-{digit * 32}-{digit * 16}-01" for digit in "ab"]
    first.set_metadata(traceparent=contexts[0])
    again.set_metadata(traceparent=contexts[1])
    created(store, first)
    assert outcomes(store.create([again]).outcomes) == [CreateOutcome.EXISTS]
    assert get(store, first).metadata.traceparent == contexts[0]
    assert claimed(store, first).metadata.traceparent == contexts[0]


def test_a_new_action_is_due_at_once(store: Store) -> None:
    """Acceptance alone makes a step look at the action."""
    action = make_action()
    created(store, action)
    assert due_time(store, action) == get(store, action).metadata.creation_timestamp


def test_the_first_event_is_written_with_the_record(store: Store) -> None:
    """An accepted action has one QUEUED event, which names its parent and its time."""
    root, child = make_action(), make_action("c", parent="a0")
    created(store, root, child)
    [first] = store.events(root.id)
    assert (first.sequence, first.phase, first.parent, first.final) == (1, ActionPhase.QUEUED, None, False)
    accepted = get(store, root).metadata.creation_timestamp
    assert (first.updated_time, first.reported_time) == (accepted, accepted)
    assert store.events(child.id)[0].parent == "a0"


@pytest.mark.rule("R75")
def test_the_same_submission_again_changes_nothing(store: Store) -> None:
    """Same identity and same spec is answered with the action of the first submission."""
    action = make_action()
    created(store, action)
    store.claim(shard_of(store, action), owner="s", limit=1, first=True)
    report = store.create([make_action()])
    assert report.outcomes == (Created(CreateOutcome.EXISTS),)
    assert report.wake == ()
    assert len(store.events(action.id)) == 1
    assert get(store, action).version == 1


def test_the_same_submission_again_is_known_after_the_end(store: Store) -> None:
    """An ended action is not started anew by the same submission."""
    action = make_action()
    created(store, action)
    finish(store, action)
    assert outcomes(store.create([make_action()]).outcomes) == [CreateOutcome.EXISTS]
    assert get(store, action).phase is ActionPhase.SUCCEEDED


def test_a_conflict_names_what_differs(store: Store) -> None:
    """Another spec under the same identity is refused with the names of the fields that differ."""
    created(store, make_action())
    other = make_action(template=b"other", inputs=b"[]", env={"A": "1"})
    assert store.create([other]).outcomes == (
        Created(CreateOutcome.CONFLICT, ("envVars", "inputs", "taskTemplate")),
    )
    assert get(store, other).spec == make_action().spec


def test_a_conflict_of_parents_is_named(store: Store) -> None:
    """The same action below another parent is a conflict."""
    created(store, make_action(), make_action("c", parent="a0"))
    report = store.create([make_action("c")])
    assert report.outcomes == (Created(CreateOutcome.CONFLICT, ("parentActionName",)),)


def test_a_child_of_nobody_is_refused(store: Store) -> None:
    """A child whose parent is not stored is not accepted, and leaves nothing behind."""
    report = store.create([make_action("c", parent="nobody")])
    assert report.outcomes == (Created(CreateOutcome.PARENT_MISSING),)
    assert report.wake == ()
    assert store.get(make_action("c").id) is None
    assert store.counts(RUN) is None
    assert store.list_runs() == []


def test_a_child_of_an_ended_parent_is_refused(store: Store) -> None:
    """Nobody would wait for the child of an action that has ended."""
    parent = make_action()
    created(store, parent)
    finish(store, parent)
    report = store.create([make_action("c", parent="a0")])
    assert outcomes(report.outcomes) == [CreateOutcome.PARENT_ENDED]


@pytest.mark.rule("R40")
def test_a_child_of_an_aborting_parent_is_refused(store: Store) -> None:
    """A parent that is being aborted gets no new children, or the cascade would miss them."""
    parent = make_action()
    created(store, parent)
    store.request_abort(parent.id, Deletion(reason="no"))
    report = store.create([make_action("c", parent="a0")])
    assert outcomes(report.outcomes) == [CreateOutcome.PARENT_ENDED]


def test_a_known_child_of_an_ended_parent_is_known(store: Store) -> None:
    """Submitting again is answered by the record, whatever became of the parent."""
    created(store, make_action(), make_action("c", parent="a0"))
    finish(store, make_action())
    assert outcomes(store.create([make_action("c", parent="a0")]).outcomes) == [CreateOutcome.EXISTS]


def test_answers_come_in_the_order_asked(store: Store) -> None:
    """Each submission of a mixed list over many runs gets its own answer, at its own place."""
    runs = [RunId("p", "d", f"run{n}") for n in range(20)]
    created(store, *(make_action(run=run) for run in runs[::2]))
    asked = [make_action(run=run) for run in runs] + [make_action(run=runs[0], template=b"x")]
    expected = [CreateOutcome.EXISTS, CreateOutcome.CREATED] * 10 + [CreateOutcome.CONFLICT]
    assert outcomes(store.create(asked).outcomes) == expected
    assert all(one is not None for one in store.get_many([action.id for action in asked]))


def test_a_parent_may_come_in_the_same_list(store: Store) -> None:
    """A child is accepted when its parent stands before it, even after a sibling came too early."""
    report = store.create(
        [
            make_action("early", parent="a0"),
            make_action(),
            make_action("late", parent="a0"),
            make_action("grandchild", parent="late"),
        ]
    )
    assert outcomes(report.outcomes) == [
        CreateOutcome.PARENT_MISSING, CreateOutcome.CREATED, CreateOutcome.CREATED, CreateOutcome.CREATED,
    ]  # fmt: skip
    children = get(store, make_action()).children
    assert (children.total, children.open, children.failed) == (1, 1, 0)


def test_the_shared_part_survives_a_refused_first_item(store: Store) -> None:
    """A spec is whole even when the first action of the list that had its shared part was refused."""
    refused, accepted = make_action("c", parent="nobody"), make_action("ok")
    report = store.create([refused, accepted])
    assert outcomes(report.outcomes) == [CreateOutcome.PARENT_MISSING, CreateOutcome.CREATED]
    assert get(store, accepted).spec == accepted.spec


def test_a_run_may_have_several_shared_parts(store: Store) -> None:
    """Actions of one run keep their own templates."""
    first, second = make_action("x", template=b"one"), make_action("y", template=b"two")
    created(store, first, second)
    assert get(store, first).spec.task_template == b"one"
    assert get(store, second).spec.task_template == b"two"


def test_many_actions_in_one_call(store: Store) -> None:
    """A list longer than one script call is stored whole, in order, with one message for its shard."""
    root = make_action()
    actions = [root, *(make_action(f"c{n:04}", parent="a0") for n in range(1203))]
    report = store.create(actions)
    assert set(outcomes(report.outcomes)) == {CreateOutcome.CREATED}
    assert report.wake == (shard_of(store, root),)
    counts = store.counts(RUN)
    assert counts is not None
    assert counts.total == 1204
    assert get(store, root).children.open == 1203
    assert get(store, actions[-1]).spec == actions[-1].spec


def test_a_pending_message_is_not_sent_again(store: Store) -> None:
    """While a wake-up is on its way, further actions need no message; a step's first claim ends that."""
    shard = shard_of(store, make_action())
    assert store.create([make_action("one")]).wake == (shard,)
    assert store.create([make_action("two")]).wake == ()
    claim(store, make_action("one"))
    assert store.create([make_action("three")]).wake == ()
    claim(store, make_action("two"), first=True)
    assert store.create([make_action("four")]).wake == (shard,)


def test_who_takes_the_step_himself_asks_for_no_message(store: Store) -> None:
    """What is stored so is due, found when nobody takes its step, and holds back no message of others."""
    shard = shard_of(store, make_action())
    quiet = make_action("quiet")
    assert store.create([quiet], quiet=True).wake == ()
    assert due_time(store, quiet) is not None
    assert shard in [late.shard for late in store.look(-1).late]
    claim(store, quiet, first=True)
    assert store.create([make_action("other")]).wake == (shard,)


def test_a_lost_message_holds_back_others_for_a_short_time_only(store: Store, pass_time: PassTime) -> None:
    """The mark of a pending message dies by itself."""
    shard = created(store, make_action("one"))
    pass_time(PENDING_TTL + 1)
    assert store.create([make_action("two")]).wake == (shard,)


def test_each_shard_gets_its_message(store: Store) -> None:
    """Every shard with something new is named once."""
    actions = [make_action(run=RunId("p", "d", f"run{n}")) for n in range(40)]
    report = store.create(actions)
    assert sorted(report.wake) == sorted({shard_of(store, action) for action in actions})


def test_a_given_status_is_stored(store: Store) -> None:
    """A submission may carry a first status."""
    action = make_action()
    action.status = msgspec.structs.replace(action.status, attempts=3)
    created(store, action)
    assert get(store, action).status.attempts == 3


def test_an_empty_list_is_no_work(store: Store) -> None:
    """Nothing asked, nothing answered."""
    report = store.create([])
    assert (report.outcomes, report.wake) == ((), ())
