"""What the cache does before a task runs (spec 8.1, 8.2)."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from cache_lab import FAR, OUTPUTS, CacheLab, returning

from reconciler.api.action import ActionId, ActionSpec, Result
from reconciler.api.errors import BlobUnavailable, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import CacheStatus, OutputRef, queued, retryable_failure, running
from reconciler.stores.catalog import CacheSource
from reconciler.testing import Lab, ScriptedPlugin

DOWN = StoreUnavailable("the catalog does not answer")


def filled(lab: CacheLab, x: object = 1) -> ActionId:
    """Run one call to its end, so that its key is filled."""
    action = lab.call(x)
    lab.settle()
    lab.journal.clear()
    lab.plugin.handled.clear()
    return action


# -- configuration (8.1) -----------------------------------------------------------------------------------------------
@pytest.mark.spec("8.1")
@pytest.mark.parametrize("policy", [None, TaskMetadata()], ids=["no metadata", "not discoverable"])
def test_a_task_that_is_not_discoverable_asks_no_cache(policy: TaskMetadata | None) -> None:
    """Without `discoverable` caching is off: no lookup, no put, and the status says DISABLED."""
    lab = CacheLab()
    action = lab.submit("cached", metadata=policy)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert not [word for word in lab.journal.words if word.startswith("cache.")]
    assert lab.get(action).status.cache_status is CacheStatus.DISABLED


@pytest.mark.spec("8.2")
def test_without_a_catalog_the_plugin_simply_runs() -> None:
    """A discoverable task runs uncached where no catalog is configured."""
    lab = Lab([ScriptedPlugin("cached", returning())])
    action = lab.submit("cached", metadata=TaskMetadata(discoverable=True, cache_serializable=True))
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.DISABLED)


@pytest.mark.spec("8.1")
@pytest.mark.parametrize(
    ("template", "text"),
    [
        (b"\x00", "reading task template for cache handling: it is missing or unreadable"),
        (
            encode_template(
                TaskTemplate(type="cached", metadata=TaskMetadata(discoverable=True), interface=Interface())
            ),
            "discoverable task is missing identifier",
        ),
    ],
    ids=["unreadable", "no identifier"],
)
def test_cache_settings_that_no_retry_can_mend_end_the_action(template: bytes, text: str) -> None:
    """A template without what a key needs ends the action at once, by the user's fault, saying what is missing."""
    lab = CacheLab()
    action = lab.run(ActionSpec(task_type="cached", task_template=template, inputs=b"{}")).action
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind, error.message) == ("InvalidSpec", "USER", text)
    assert not lab.plugin.handled


@pytest.mark.spec("9.1")
def test_without_an_interface_all_inputs_count() -> None:
    """A task that declares no interface is never served the outputs of other inputs."""
    lab = CacheLab()
    for x in (1, 2, 1):
        lab.call(x, interface=None)
        lab.settle()
    assert len(lab.plugin.handled) == 2


@pytest.mark.spec("8.1")
def test_unreadable_inputs_are_tried_again() -> None:
    """Inputs that cannot be read now may be read later: the action is not ended at once."""
    lab = CacheLab()
    far = lab.call_by_reference()
    lab.blobs.delete_prefix(FAR)
    assert lab.reconcile(far) == Result(10_000)
    assert lab.get(far).status.system_failures == 1


# -- lookup (8.2, steps 3 and 4) ---------------------------------------------------------------------------------------
@pytest.mark.spec("8.2")
def test_a_hit_succeeds_without_running_the_plugin() -> None:
    """A filled key ends the action with the entry's outputs; the plugin is not called."""
    lab = CacheLab()
    filled(lab)
    action = lab.call()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.client.result(action) == 1
    assert not lab.plugin.handled


@pytest.mark.spec("8.2")
def test_the_outputs_of_a_hit_are_the_actions_own() -> None:
    """A hit writes the outputs below the action's own prefix, so they outlive the run that made them."""
    lab = CacheLab()
    first = filled(lab)
    action = lab.call()
    lab.settle()
    ref = lab.get(action).status.outputs
    old = lab.get(first).status.outputs
    assert ref is not None
    assert old is not None
    assert ref.uri != old.uri
    assert lab.blobs.get(ref.uri, sha256=ref.sha256) == OUTPUTS


@pytest.mark.spec("8.2")
def test_a_hit_says_so_with_its_source() -> None:
    """The event of a hit carries CACHE_HIT, the reason and which launch made the outputs (W-25)."""
    lab = CacheLab()
    first = filled(lab)
    action = lab.call()
    lab.settle()
    event = lab.events(action)[-1]
    assert event.cache_status is CacheStatus.HIT
    assert [entry.message for entry in event.cluster_events] == ["cache hit"]
    assert event.cache_metadata is not None
    assert (event.cache_metadata["run"], event.cache_metadata["attempt"]) == (first.run, 1)


@pytest.mark.spec("8.2")
def test_a_hit_of_outputs_kept_in_s3_alone_is_read_from_there() -> None:
    """An entry without an inline copy is served from its object."""
    lab = CacheLab()
    filled(lab)
    ref = lab.entry.outputs
    lab.shelf.point_to(OutputRef(uri=ref.uri, sha256=ref.sha256, size=ref.size))
    action = lab.call()
    lab.settle()
    assert lab.client.result(action) == 1
    assert not lab.plugin.handled


@pytest.mark.spec("8.2")
def test_other_inputs_miss() -> None:
    """Another input is another key: the plugin runs."""
    lab = CacheLab()
    filled(lab, 1)
    lab.settle()
    lab.call(2)
    lab.settle()
    assert len(lab.plugin.handled) == 1


@pytest.mark.spec("8.2")
def test_a_failing_write_of_a_hit_is_tried_again() -> None:
    """A hit whose outputs cannot be written is a counted error, and a hit again once they can."""
    lab = CacheLab()
    filled(lab)
    action = lab.call()
    put = lab.blobs.put

    def refuse(uri: str, data: bytes, *, overwrite: bool = True) -> str:
        raise BlobUnavailable(f"{uri}: {len(data)} {overwrite}")

    lab.blobs.put = refuse  # type: ignore[method-assign]  # an outage
    lab.reconcile(action)
    assert lab.get(action).status.system_failures == 1
    assert "persisting cached outputs:" in lab.audit()[-1].message
    lab.blobs.put = put  # type: ignore[method-assign]  # it is over
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert not lab.plugin.handled


@pytest.mark.spec("W-18")
def test_a_failing_lookup_runs_the_plugin_and_shows() -> None:
    """When the catalog cannot be asked the task runs all the same, and says LOOKUP_FAILURE until its end."""
    lab = CacheLab(queued(0, 0, "sent"), running(0), retryable_failure("E", "boom"))
    lab.shelf.broken["get"] = DOWN
    action = lab.call()
    lab.reconcile(action)
    del lab.shelf.broken["get"]
    lab.settle()
    assert [event.cache_status for event in lab.events(action)] == [
        CacheStatus.DISABLED,
        CacheStatus.LOOKUP_FAILURE,
        CacheStatus.LOOKUP_FAILURE,
        CacheStatus.DISABLED,
    ]


@pytest.mark.spec("W-18")
def test_a_failing_lookup_still_asks_for_the_reservation() -> None:
    """Serialized tasks do not run side by side just because the catalog cannot be read."""
    lab = CacheLab(running(0))
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.shelf.broken["get"] = DOWN
    lab.reconcile(second)
    assert lab.get(second).phase is ActionPhase.WAITING_FOR_RESOURCES


@pytest.mark.spec("W-20")
def test_outputs_out_of_reach_are_a_failed_lookup() -> None:
    """An entry whose outputs cannot be read for now does not fail the action: it runs."""
    lab = CacheLab(running(0))
    lab.shelf.blobs = None
    lab.call(serializable=True)
    lab.step()
    lab.shelf.fill(OutputRef(uri="s3://memory/elsewhere"))
    lab.blobs.get = _unreachable  # type: ignore[method-assign]  # an outage
    action = lab.call()
    lab.reconcile(action)
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.RUNNING, CacheStatus.LOOKUP_FAILURE)


def _unreachable(uri: str, *, sha256: str = "", limit: int = 0) -> bytes:
    raise BlobUnavailable(f"{uri} {sha256} {limit}")


@pytest.mark.spec("W-20")
@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_unreadable_entry_is_a_miss_and_is_replaced(damage: str) -> None:
    """An entry whose outputs are gone or changed neither fails the action nor stays: the new outputs take its place."""
    lab = CacheLab()
    filled(lab)
    lab.shelf.blobs = None  # nobody looks whether the object exists
    ref = lab.entry.outputs
    lab.shelf.point_to(OutputRef(uri=ref.uri, sha256=ref.sha256, size=ref.size))
    lab.blobs.delete_prefix(ref.uri.rpartition("/")[0])
    if damage == "changed":
        lab.blobs.put(ref.uri, b"rot")
    action = lab.call()
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.POPULATED)
    assert lab.entry.outputs == record.status.outputs


@pytest.mark.spec("W-20")
def test_an_entry_over_its_age_is_replaced() -> None:
    """An entry the catalog calls too old is a miss, and the outputs of the new run take its place."""
    lab = CacheLab(max_age=1000)
    filled(lab)
    lab.clock.advance(1001)
    action = lab.call()
    lab.settle()
    assert lab.entry.source.run == action.run
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.spec("8.2")
def test_a_round_repeated_after_a_lost_commit_hits_again() -> None:
    """Outputs of a hit that were written before a commit got lost do not stand in the way of the next round."""
    lab = CacheLab()
    filled(lab)
    action = lab.call()
    claim = lab.store.claim(lab.store.shard_of(action.run_id), owner="dies", limit=0, named=[action])
    lab.reconciler.round(claim.actions[0])
    lab.shelf.point_to(OutputRef(uri="s3://memory/x", inline=b'{"o0":2}'))
    lab.shelf.blobs = None
    lab.clock.advance(lab.settings.step_lease)
    lab.settle()
    assert lab.client.result(action) == 1


@pytest.mark.spec("W-21")
@pytest.mark.parametrize("answer", [queued(0, 0, "sent"), running(0)], ids=["queued", "running"])
def test_a_launched_task_is_never_short_circuited(answer: object) -> None:
    """A key that is filled after the launch ends nothing: what was launched is observed to its end."""
    lab = CacheLab(answer)
    action = lab.call()
    lab.reconcile(action)
    other = CacheLab()
    filled(other)
    lab.shelf.entries = other.shelf.entries
    lab.shelf.blobs = None
    lab.journal.clear()
    lab.reconcile(action)
    assert lab.journal.words.count("handle") == 1
    assert not lab.get(action).is_terminal


@pytest.mark.spec("W-25")
def test_the_inputs_of_a_launched_task_are_not_read_again() -> None:
    """While a task runs its inputs in S3 are not read again to compute the key; large inputs are read once."""
    lab = CacheLab(running(0), running(1), running(2), returning())
    action = lab.call_by_reference(serializable=True)
    reads: list[str] = []
    get = lab.blobs.get

    def counted(uri: str, *, sha256: str = "", limit: int = 0) -> bytes:
        reads.append(uri)
        return get(uri, sha256=sha256, limit=limit)

    lab.blobs.get = counted  # type: ignore[method-assign]  # counts
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert len([uri for uri in reads if uri.endswith("inputs.pb")]) == 1


# -- reservation (8.2, steps 6 to 8) -----------------------------------------------------------------------------------
@pytest.mark.spec("8.2")
def test_the_owner_of_the_reservation_runs() -> None:
    """The first of two equal serialized tasks runs and holds the reservation under its namespace and identity."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    (held,) = lab.shelf.reservations.values()
    assert held.owner == f"flyte/{action}"
    assert lab.get(action).status.cache_token == held.token > 0


@pytest.mark.spec("8.2")
def test_a_task_that_is_not_serializable_asks_for_no_reservation() -> None:
    """Two equal tasks that are not serializable may run side by side."""
    lab = CacheLab(running(0))
    for action in (lab.call(), lab.call()):
        lab.reconcile(action)
    assert lab.asked("reserve") == 0
    assert len(lab.plugin.handled) == 2


@pytest.mark.spec("8.2")
def test_a_foreign_reservation_makes_it_wait() -> None:
    """The second of two equal serialized tasks waits, names whom it waits for, and says MISS."""
    lab = CacheLab(running(0))
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    record, event = lab.get(second), lab.events(second)[-1]
    reason = f'waiting for cache to be populated by reservation owner "flyte/{first}"'
    assert (record.phase, record.status.plugin_phase) == (
        ActionPhase.WAITING_FOR_RESOURCES,
        "PhaseWaitingForCache",
    )
    assert record.status.conditions[0].message == reason
    assert [entry.message for entry in event.cluster_events] == [reason, "waiting for serialized cache owner"]
    assert event.cache_status is CacheStatus.MISS
    assert len(lab.plugin.handled) == 1


@pytest.mark.spec("8.2")
def test_waiting_keeps_the_phase_version() -> None:
    """Waiting for the cache carries on the phase version the record has."""
    lab = CacheLab(queued(0, 7, "sent"))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    claim = lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action])
    record = claim.actions[0]
    record.set_status(launched=False)
    lab.shelf.steal()
    transition, short = lab.reconciler.evaluate_cache_before_execution(
        record, lab.reconciler.context(record, lab.plugin)
    )
    assert short
    assert transition.info.version == 7


@pytest.mark.spec("8.2")
def test_a_waiter_looks_again_after_the_requeue_duration() -> None:
    """Whoever waits for the cache is looked at again, and takes the hit once the owner has put its outputs."""
    lab = CacheLab(running(0), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    assert lab.reconcile(second) == Result(10_000)
    lab.settle()
    assert lab.client.result(second) == 1
    assert lab.get(second).status.cache_status is CacheStatus.HIT
    assert [ctx.action.id for ctx in lab.plugin.handled] == [first, first]


@pytest.mark.spec("8.2")
def test_the_next_waiter_runs_when_the_owner_failed() -> None:
    """An owner that fails leaves the reservation to the next one in line, which then runs."""
    lab = CacheLab(running(0), retryable_failure("E", "boom"), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.settle()
    assert lab.get(first).phase is ActionPhase.FAILED
    assert lab.get(second).phase is ActionPhase.SUCCEEDED


@pytest.mark.spec("8.2")
def test_a_reservation_that_cannot_be_asked_for_is_a_counted_error() -> None:
    """Without an answer about the reservation nothing runs; the error is counted and shown."""
    lab = CacheLab()
    lab.shelf.broken["reserve"] = DOWN
    action = lab.call(serializable=True)
    lab.reconcile(action)
    record = lab.get(action)
    assert record.status.system_failures == 1
    assert record.status.conditions[0].message.startswith("acquiring cache reservation:")
    assert not lab.plugin.handled


@pytest.mark.spec("W-48")
def test_a_fresh_reservation_looks_up_once_more() -> None:
    """A put between the first lookup and the acquisition is found: the task does not run a second time."""
    lab = CacheLab()
    source = CacheSource(run="meanwhile")
    ask = lab.shelf.get_or_extend_reservation

    def after_a_put(*args: object) -> object:
        held = ask(*args)  # type: ignore[arg-type]  # handed through
        lab.shelf.fill(OutputRef(uri="s3://memory/x", inline=b'{"o0":5}'), source)
        return held

    lab.shelf.get_or_extend_reservation = after_a_put  # type: ignore[method-assign,assignment]  # the race
    lab.shelf.blobs = None
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.client.result(action) == 5
    assert not lab.plugin.handled


@pytest.mark.spec("W-48")
def test_a_hit_after_a_fresh_acquisition_releases_it() -> None:
    """The reservation that turned out not to be needed is given back at once (W-22)."""
    lab = CacheLab()
    test = lab.shelf
    ask = test.get_or_extend_reservation

    def after_a_put(*args: object) -> object:
        held = ask(*args)  # type: ignore[arg-type]  # handed through
        test.fill(OutputRef(uri="s3://memory/x", inline=OUTPUTS))
        return held

    test.get_or_extend_reservation = after_a_put  # type: ignore[method-assign,assignment]  # the race
    test.blobs = None
    action = lab.call(serializable=True)
    lab.settle()
    assert not test.reservations
    assert lab.get(action).status.cache_token == 0


@pytest.mark.spec("W-48")
def test_an_extended_reservation_does_not_look_up_again() -> None:
    """Only a fresh acquisition asks twice; a running owner extends without a lookup."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    assert lab.asked("get") == 2
    lab.reconcile(action)
    assert lab.asked("get") == 2
    assert lab.asked("reserve") == 2


@pytest.mark.spec("W-21")
def test_a_reservation_lost_while_running_is_no_reason_to_stop() -> None:
    """An owner whose reservation went to somebody else goes on running and gives up its token."""
    lab = CacheLab(running(0))
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.steal()
    lab.reconcile(action)
    record = lab.get(action)
    assert (record.phase, record.status.cache_token) == (ActionPhase.RUNNING, 0)
    assert len(lab.plugin.handled) == 2


@pytest.mark.spec("W-22")
def test_outputs_made_without_the_reservation_are_not_published() -> None:
    """A run that lost its reservation succeeds, but does not fill the key the new owner is to fill."""
    lab = CacheLab(running(0), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.shelf.steal()
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.PUT_FAILURE)
    assert not lab.shelf.entries


@pytest.mark.spec("W-21")
def test_a_reservation_regained_under_another_token_is_not_enough() -> None:
    """A reservation that lapsed while the task ran and was taken anew does not vouch for what ran in between."""
    lab = CacheLab(running(0), returning())
    action = lab.call(serializable=True)
    lab.reconcile(action)
    lab.clock.advance(31_000)
    lab.reconcile(action)
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.PUT_FAILURE)
    assert not lab.shelf.reservations


@pytest.mark.spec("W-22")
def test_a_plugin_that_sleeps_long_keeps_its_reservation() -> None:
    """A plugin that asks to be looked at in an hour is looked at before the reservation ends, and never loses it."""
    lab = CacheLab()
    start = lab.clock()
    lab.plugin.answers = [running(0, requeue_at=start + 3_600_000)] * 300 + [returning()]
    action = lab.call(serializable=True)
    assert lab.reconcile(action) == Result(15_000)
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.POPULATED)


@pytest.mark.spec("W-22")
def test_a_long_requeue_duration_does_not_break_serialization() -> None:
    """A requeue duration above the lease of a reservation does not let the reservation lapse."""
    lab = CacheLab(*[running(0)] * 5, returning(), requeue_duration=timedelta(seconds=120))
    action = lab.call(serializable=True)
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.spec("8.2")
def test_an_exact_time_before_the_half_of_the_lease_stays() -> None:
    """A plugin that asks for an earlier look gets exactly that."""
    lab = CacheLab()
    lab.plugin.answers = [running(0, requeue_at=lab.clock() + 700)]
    assert lab.reconcile(lab.call(serializable=True)) == Result(700)


@pytest.mark.spec("9.1")
def test_inputs_that_are_not_declared_are_not_read() -> None:
    """A task whose interface declares no inputs has one key, whatever lies at its input URI."""
    lab = CacheLab()
    for x in (1, 2):
        lab.call(x, interface=Interface(outputs={"o0": "int"}))
        lab.settle()
    assert len(lab.plugin.handled) == 1


@pytest.mark.spec("W-25")
def test_a_key_computed_at_submission_needs_no_inputs() -> None:
    """A call submitted through the client brings the hash of its inputs along: rounds never read them."""
    lab = CacheLab()
    action = lab.call("y" * 5000, serializable=True)
    lab.blobs.delete_prefix(lab.get(action).spec.input_uri)
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.spec("9.1")
def test_a_call_by_reference_shares_the_key_of_one_by_value() -> None:
    """Where the inputs lie, and who hashed them, makes no difference."""
    lab = CacheLab()
    filled(lab, 1)
    lab.call_by_reference()
    lab.settle()
    assert not lab.plugin.handled


@pytest.mark.spec("8.2")
def test_a_waiter_is_woken_by_the_put() -> None:
    """Whoever waits for a key takes the hit when it is filled, without waiting for its own next look."""
    lab = CacheLab(running(0), returning())
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.reconcile(second)
    lab.reconcile(second)
    now = lab.clock()
    lab.reconcile(first)
    lab.step(second)
    assert lab.get(second).phase is ActionPhase.SUCCEEDED
    assert lab.clock() == now


@pytest.mark.spec("9.1")
def test_a_hash_computed_at_submission_changes_no_key() -> None:
    """A record without the hash of its inputs has the key it would have with it."""
    lab = CacheLab()
    record = lab.get(lab.call())
    brought = lab.reconciler.cache_config(record)
    record.spec = msgspec.structs.replace(record.spec, inputs_hash="")
    assert lab.reconciler.cache_config(record) == brought
