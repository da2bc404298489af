"""What happens before what, and why (R6)."""

from __future__ import annotations

import msgspec
import pytest
from control_support import CACHED, FULL, TYPE, SmallCatalog, fail_commits, lab_of, outputs, retries, stored

from reconciler.api.action import FINALIZER, Signal
from reconciler.api.approval import ConditionSpec
from reconciler.api.errors import StoreUnavailable
from reconciler.api.template import Interface
from reconciler.api.transition import retryable_failure, running, success, system_retryable_failure


@pytest.mark.rule("R24")
def test_a_launch_whose_round_was_lost_is_cleaned_up() -> None:
    """The plugin was called and the step died before its write: an abort still stops and finalizes it."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    shard = lab.store.shard_of(action.run_id)
    (claimed,) = lab.store.claim(shard, owner="died", limit=0, named=[action]).actions
    lab.reconciler.round(claimed)
    lab.client.abort(action)
    lab.settle()
    assert lab.journal.words[:3] == ["handle", "abort", "finalize"]


@pytest.mark.rule("R44")
def test_a_hit_needs_no_reservation() -> None:
    """The lookup comes first; when it hits, the reservation is not asked for and the plugin not called."""
    lab = lab_of(outputs, catalog=SmallCatalog())
    lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.settle()
    lab.journal.clear()
    lab.reconcile(lab.submit(TYPE, metadata=CACHED, interface=Interface()))
    assert lab.journal.words == ["cache.get", "event", "status", "label"]


@pytest.mark.rule("R44")
def test_the_plugin_runs_only_under_the_reservation() -> None:
    """A serializable task reserves before handle is called, and waits while another owner holds the key."""
    catalog = SmallCatalog(owner="somebody")
    lab = lab_of(running(0), catalog=catalog)
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    assert "handle" not in lab.journal.words
    catalog.owner = ""
    lab.reconcile(action)
    words = lab.journal.words
    assert words.index("handle") > max(n for n, word in enumerate(words) if word == "cache.reserve")


@pytest.mark.rule("R44")
def test_a_hit_has_outputs_of_its_own() -> None:
    """When "succeeded" is stored after a hit, the outputs lie under this action's own path."""
    lab = lab_of(outputs, catalog=SmallCatalog())
    lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.settle()
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    ref = lab.get(action).status.outputs
    assert ref is not None
    assert action.run in ref.uri
    assert lab.blobs.get(ref.uri) == b'{"o":1}'


@pytest.mark.rule("R45")
def test_the_key_is_filled_before_it_is_released() -> None:
    """Whoever gets the reservation after the release must find the entry."""
    lab = lab_of(outputs, catalog=SmallCatalog())
    lab.reconcile(lab.submit(TYPE, metadata=CACHED, interface=Interface()))
    words = lab.journal.words
    assert words.index("handle") < words.index("cache.put") < words.index("cache.release")


@pytest.mark.rule("R6")
def test_the_event_of_a_success_carries_the_cache_status() -> None:
    """Put and release happen before the event is built."""
    lab = lab_of(outputs, catalog=SmallCatalog())
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    assert lab.journal.words.index("cache.release") < lab.journal.words.index("event")
    assert lab.events(action)[-1].cache_status.name == "POPULATED"


@pytest.mark.rule("R6")
def test_event_status_and_labels_stand_or_fall_together() -> None:
    """A lost write leaves neither event nor status nor labels; repeating the round leaves each exactly once."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    commit = lab.store.commit
    fail_commits(lab)
    with pytest.raises(StoreUnavailable):
        lab.reconcile(action)
    assert (len(lab.events(action)), lab.get(action).is_terminal) == (1, False)
    lab.store.commit = commit  # type: ignore[method-assign]  # the server is back
    lab.clock.advance(lab.settings.step_lease)
    lab.reconcile(action)
    assert [e.final for e in lab.events(action)] == [False, True]
    assert lab.get(action).metadata.completed_at == lab.clock()


@pytest.mark.rule("R31")
def test_the_old_attempt_is_aborted_under_its_own_name() -> None:
    """Abort sees names and paths of the attempt that failed, not of the next one."""
    lab = lab_of(retryable_failure("E", "x"))
    action = lab.submit(TYPE, metadata=retries(1))
    seen: list[tuple[str, str]] = []
    abort = lab.plugin.abort  # type: ignore[attr-defined]  # see lab_of
    lab.plugin.abort = lambda ctx: (seen.append((ctx.generated_name, ctx.launch)), abort(ctx))  # type: ignore[attr-defined]  # watched
    lab.reconcile(action)
    [(name, launch)] = seen
    assert (name.rpartition("-")[0], launch) == (f"{action.run}-a0-0", "1")
    assert lab.get(action).status.attempts == 2


@pytest.mark.rule("R29")
def test_a_system_failure_is_recorded_after_the_reset() -> None:
    """The plugin is stopped and its state emptied before the failure is counted, in the same write."""
    lab = lab_of(system_retryable_failure("Gone", "x"))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.journal.words == ["handle", "abort", "finalize", "status"]
    status = lab.get(action).status
    assert (status.launches, status.system_failures, status.launched) == (1, 1, False)


@pytest.mark.rule("R38")
def test_an_abort_cleans_up_before_it_is_told() -> None:
    """Abort, finalize, release; only then, in one write, the ABORTED event and the removal of the finalizer."""
    lab = lab_of(running(0), catalog=SmallCatalog())
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.reconcile(action)
    lab.journal.clear()
    lab.client.abort(action)
    lab.reconcile(action)
    words = ["abort", "finalize", "cache.release", "event", "status", "label", "finalizer"]
    assert lab.journal.words == words
    assert lab.get(action).metadata.finalizers == ()


@pytest.mark.rule("R38")
def test_nothing_is_told_while_clean_up_fails() -> None:
    """As long as abort fails, no event, no release and no removal of the finalizer."""
    lab = lab_of(running(0), on_abort=[OSError("busy")])
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.journal.clear()
    lab.client.abort(action)
    lab.reconcile(action)
    assert lab.journal.words == ["abort!", "status"]
    assert lab.get(action).metadata.finalizers == (FINALIZER,)


@pytest.mark.rule("R54")
def test_a_signal_does_not_write_conditions() -> None:
    """Storing an answer leaves the status alone; the next round of the reconciler turns it into conditions."""
    lab = lab_of(running(0))
    spec = msgspec.json.encode(ConditionSpec(name="ok?"))
    changes = {"action_type": "condition", "condition_spec": spec, "task_type": ""}
    action = stored(lab, msgspec.structs.replace(FULL, **changes))
    lab.reconcile(action)
    before = lab.get(action).status
    lab.store.signal(action, Signal(value=True, by="ann"))
    assert lab.get(action).status == before
    lab.reconcile(action)
    assert lab.get(action).is_terminal
