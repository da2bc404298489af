"""What the cache does before a task runs (R43, R44): whether it is asked, what it finds, by which key."""

from __future__ import annotations

import msgspec
import pytest
from cache_lab import DOWN, FAR, OUTPUTS, CacheLab, filled, returning

from reconciler.api.action import ActionSpec, Result
from reconciler.api.errors import BlobUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import CacheStatus, OutputRef, queued, retryable_failure, running
from reconciler.testing import Lab, ScriptedPlugin


# -- configuration (8.1) -----------------------------------------------------------------------------------------------
@pytest.mark.rule("R43")
@pytest.mark.parametrize("policy", [None, TaskMetadata()], ids=["no metadata", "not discoverable"])
def test_a_task_that_is_not_discoverable_asks_no_cache(policy: TaskMetadata | None) -> None:
    """Without `discoverable` caching is off: no lookup, no put, and the status says DISABLED."""
    lab = CacheLab()
    action = lab.submit("cached", metadata=policy)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert not [word for word in lab.journal.words if word.startswith("cache.")]
    assert lab.get(action).status.cache_status is CacheStatus.DISABLED


@pytest.mark.rule("R44")
def test_without_a_catalog_the_plugin_simply_runs() -> None:
    """A discoverable task runs uncached where no catalog is configured."""
    lab = Lab([ScriptedPlugin("cached", returning())])
    action = lab.submit("cached", metadata=TaskMetadata(discoverable=True, cache_serializable=True))
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cache_status) == (ActionPhase.SUCCEEDED, CacheStatus.DISABLED)


@pytest.mark.rule("R43")
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


@pytest.mark.rule("R49")
def test_without_an_interface_all_inputs_count() -> None:
    """A task that declares no interface is never served the outputs of other inputs."""
    lab = CacheLab()
    for x in (1, 2, 1):
        lab.call(x, interface=None)
        lab.settle()
    assert len(lab.plugin.handled) == 2


@pytest.mark.rule("R43")
def test_unreadable_inputs_are_tried_again() -> None:
    """Inputs that cannot be read now may be read later: the action is not ended at once."""
    lab = CacheLab()
    far = lab.call_by_reference()
    lab.blobs.delete_prefix(FAR)
    assert lab.reconcile(far) == Result(10_000)
    assert lab.get(far).status.system_failures == 1


# -- lookup (8.2, steps 3 and 4) ---------------------------------------------------------------------------------------
@pytest.mark.rule("R44")
def test_a_hit_succeeds_without_running_the_plugin() -> None:
    """A filled key ends the action with the entry's outputs; the plugin is not called."""
    lab = CacheLab()
    filled(lab)
    action = lab.call()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.client.result(action) == 1
    assert not lab.plugin.handled


@pytest.mark.rule("R44")
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


@pytest.mark.rule("R44")
def test_a_hit_says_so_with_its_source() -> None:
    """The event of a hit carries CACHE_HIT, the reason and which launch made the outputs (R49)."""
    lab = CacheLab()
    first = filled(lab)
    action = lab.call()
    lab.settle()
    event = lab.events(action)[-1]
    assert event.cache_status is CacheStatus.HIT
    assert [entry.message for entry in event.cluster_events] == ["cache hit"]
    assert event.cache_metadata is not None
    assert (event.cache_metadata["run"], event.cache_metadata["attempt"]) == (first.run, 1)


@pytest.mark.rule("R44")
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


@pytest.mark.rule("R44")
def test_other_inputs_miss() -> None:
    """Another input is another key: the plugin runs."""
    lab = CacheLab()
    filled(lab, 1)
    lab.settle()
    lab.call(2)
    lab.settle()
    assert len(lab.plugin.handled) == 1


@pytest.mark.rule("R44")
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


@pytest.mark.rule("R44")
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


@pytest.mark.rule("R44")
def test_a_failing_lookup_still_asks_for_the_reservation() -> None:
    """Serialized tasks do not run side by side just because the catalog cannot be read."""
    lab = CacheLab(running(0))
    first, second = lab.call(serializable=True), lab.call(serializable=True)
    lab.reconcile(first)
    lab.shelf.broken["get"] = DOWN
    lab.reconcile(second)
    assert lab.get(second).phase is ActionPhase.WAITING_FOR_RESOURCES


@pytest.mark.rule("R46")
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


@pytest.mark.rule("R46")
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


@pytest.mark.rule("R46")
def test_an_entry_over_its_age_is_replaced() -> None:
    """An entry the catalog calls too old is a miss, and the outputs of the new run take its place."""
    lab = CacheLab(max_age=1000)
    filled(lab)
    lab.clock.advance(1001)
    action = lab.call()
    lab.settle()
    assert lab.entry.source.run == action.run
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R44")
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


@pytest.mark.rule("R21")
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


@pytest.mark.rule("R49")
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


# -- keys (9.1) ---------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R49")
def test_inputs_that_are_not_declared_are_not_read() -> None:
    """A task whose interface declares no inputs has one key, whatever lies at its input URI."""
    lab = CacheLab()
    for x in (1, 2):
        lab.call(x, interface=Interface(outputs={"o0": "int"}))
        lab.settle()
    assert len(lab.plugin.handled) == 1


@pytest.mark.rule("R49")
def test_a_key_computed_at_submission_needs_no_inputs() -> None:
    """A call submitted through the client brings the hash of its inputs along: rounds never read them."""
    lab = CacheLab()
    action = lab.call("y" * 5000, serializable=True)
    lab.blobs.delete_prefix(lab.get(action).spec.input_uri)
    lab.settle()
    assert lab.get(action).status.cache_status is CacheStatus.POPULATED


@pytest.mark.rule("R49")
def test_a_call_by_reference_shares_the_key_of_one_by_value() -> None:
    """Where the inputs lie, and who hashed them, makes no difference."""
    lab = CacheLab()
    filled(lab, 1)
    lab.call_by_reference()
    lab.settle()
    assert not lab.plugin.handled


@pytest.mark.rule("R49")
def test_a_hash_computed_at_submission_changes_no_key() -> None:
    """A record without the hash of its inputs has the key it would have with it."""
    lab = CacheLab()
    record = lab.get(lab.call())
    brought = lab.reconciler.cache_config(record)
    record.spec = msgspec.structs.replace(record.spec, inputs_hash="")
    assert lab.reconciler.cache_config(record) == brought
