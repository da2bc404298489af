"""Remote plugins (R72): each row of the state machine."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from remote_support import RESYNC, Query, Service, due_in, lab_of, poll, put_state, state_of, submit

from reconciler.api.action import Result
from reconciler.api.errors import BadTaskSpecification, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import (
    ExecutionError,
    PhaseInfo,
    TaskInfo,
    failure,
    initializing,
    not_ready,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
)
from reconciler.core.events import prefix_of
from reconciler.plugins.remote import TaskRefused
from reconciler.plugins.remote_state import RemotePhase, RemoteState
from reconciler.stores.error_file import encode

pytestmark = pytest.mark.rule("R72")


def test_the_first_round_creates_and_looks_at_once() -> None:
    """Without a quota the first round creates: Queued, version 2, "launched"; the first look follows at once."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    assert lab.reconcile(action) == Result(0)
    status = lab.get(action).status
    assert (status.plugin_phase, status.plugin_phase_version) == ("PhaseQueued", 2)
    assert lab.events(action)[-1].cluster_events[0].message == "launched"
    assert (status.plugin_state_version, state_of(lab, action).phase) == (1, RemotePhase.RESOURCES_CREATED)
    assert msgspec.json.decode(state_of(lab, action).meta, type=Query) == Query(1)
    assert service.calls == ["create 1"]


def test_a_resource_is_looked_at_in_every_interval() -> None:
    """Each look asks the service once and asks for the next one; nothing new makes no event."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    for _ in range(4):
        poll(lab, action)
        assert due_in(lab, action) == RESYNC
    assert service.calls == ["create 1", "get 1", "get 1", "get 1", "get 1"]
    assert [str(event.phase) for event in lab.events(action)] == ["queued", "queued", "running"]


def test_the_service_may_say_when_to_look() -> None:
    """A `requeue_at` of the status replaces the interval."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    service.says = running(0, requeue_at=lab.clock() + 1234)
    poll(lab, action)
    assert due_in(lab, action) == 1234


def test_phases_are_handed_on_as_the_service_says_them() -> None:
    """What `status` answers is what users see, and the end is remembered."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    for says, phase in (
        (initializing(lab.clock(), 0, "warming up", TaskInfo()), ActionPhase.INITIALIZING),
        (queued(lab.clock(), 1, "in line"), ActionPhase.QUEUED),
        (running(0), ActionPhase.RUNNING),
        (success(), ActionPhase.SUCCEEDED),
    ):
        service.says = says
        poll(lab, action)
        assert lab.get(action).phase is phase
    assert state_of(lab, action).phase is RemotePhase.SUCCEEDED


@pytest.mark.parametrize(
    ("says", "phase"),
    [
        (success(), ActionPhase.SUCCEEDED),
        (failure("Bad", "wrong SQL"), ActionPhase.FAILED),
        (retryable_failure("Lost", "no rows"), ActionPhase.FAILED),
    ],
    ids=["success", "failure", "retryable"],
)
def test_an_end_that_create_tells_is_taken_at_once(says: PhaseInfo, phase: ActionPhase) -> None:
    """A resource that has ended when it is created ends the action in the same round, and is neither asked nor deleted."""
    service = Service(says)
    lab = lab_of(service, at_once=True)
    action = submit(lab)
    lab.reconcile(action)
    assert lab.get(action).phase is phase
    lab.settle()
    assert service.calls == ["create 1"]


def test_a_resource_that_create_tells_of_and_goes_on_is_launched() -> None:
    """A resource that has not ended when it is created is Queued as launched, and looked at."""
    service = Service(running(0))
    lab = lab_of(service, at_once=True)
    action = submit(lab)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.QUEUED
    poll(lab, action)
    assert lab.get(action).phase is ActionPhase.RUNNING


def test_what_is_not_ready_is_created_again() -> None:
    """NotReady leads back to the start: after the interval `create` is called again, with the same key."""
    service = Service(not_ready(0, 0, "forgot it"))
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    poll(lab, action)
    assert state_of(lab, action).phase is RemotePhase.NOT_STARTED
    poll(lab, action)
    assert service.calls == ["create 1", "get 1", "create 1"]


@pytest.mark.rule("R72")
@pytest.mark.parametrize("phase", [RemotePhase.SUCCEEDED, RemotePhase.USER_FAILURE])
def test_a_stored_end_is_asked_for_again(phase: RemotePhase) -> None:
    """An action that goes on although an end is stored asks the service, which says how it ended."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    put_state(lab, action, RemoteState(phase, state_of(lab, action).meta))
    service.says = success()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert service.calls == ["create 1", "get 1"]


@pytest.mark.parametrize("state", [b"[]", b'{"phase":"Nowhere"}', b'{"phase":"ResourcesCreated","meta":7}'])
def test_a_state_that_cannot_be_read_ends_the_action(state: bytes) -> None:
    """`CorruptedPluginState` ends the action for good; what may be left at the service is deleted without its meta."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab, retries=5)
    lab.reconcile(action)
    put_state(lab, action, state)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "CorruptedPluginState"
    assert service.calls == ["create 1", "delete None the action has ended"]


@pytest.mark.rule("R72")
def test_a_create_that_fails_is_the_platforms_fault() -> None:
    """Whatever `create` raises spends the system budget, no user retry, and it is called again with the same key."""
    service = Service(success())
    service.errors["create"] = [TimeoutError("no answer"), ConnectionError("refused"), KeyError("id")]
    lab = lab_of(service)
    action = submit(lab, retries=0)
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert (record.status.attempts, record.status.total_system_failures) == (1, 3)
    assert service.calls[:4] == ["create 1"] * 4


@pytest.mark.rule("R72")
def test_a_create_that_never_succeeds_leaves_nothing_behind() -> None:
    """When the system budget is used up the action fails by the platform's fault, and what may have been made is deleted."""
    service = Service()
    service.errors["create"] = [TimeoutError("no answer")] * 4
    lab = lab_of(service)
    action = submit(lab)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("MaxSystemFailuresExceeded", "SYSTEM")
    assert service.calls == [*["create 1"] * 4, "delete None the action has ended"]
    assert service.numbers == {}


def test_a_service_that_does_not_answer_ends_no_action() -> None:
    """`Unavailable` is tried again without being counted, however long the outage is."""
    service = Service(success())
    service.errors["create"] = [StoreUnavailable("down")] * 50
    lab = lab_of(service)
    action = submit(lab)
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.total_system_failures) == (ActionPhase.SUCCEEDED, 0)


@pytest.mark.rule("R72")
def test_a_refused_task_spends_a_user_retry() -> None:
    """`TaskRefused` is the user's: FAILED as `TaskFailedWithError`, then the next attempt under another key."""
    service = Service(success())
    service.errors["create"] = [TaskRefused("table is locked")]
    lab = lab_of(service)
    action = submit(lab, retries=1)
    lab.settle()
    failed = next(event for event in lab.events(action) if event.phase is ActionPhase.FAILED)
    assert failed.error_info is not None
    assert (failed.error_info.code, failed.error_info.message) == ("TaskFailedWithError", "table is locked")
    assert failed.error_info.kind == "KIND_USER"
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert service.calls == ["create 1", "delete None Aborted", "create 1", "get 1"]


@pytest.mark.rule("R72")
def test_a_bad_task_is_not_tried_again() -> None:
    """`BadTaskSpecification` of `create` ends the action at once, whatever its retries."""
    service = Service()
    service.errors["create"] = [BadTaskSpecification("no such table")]
    lab = lab_of(service)
    action = submit(lab, retries=9)
    lab.reconcile(action)
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("BadTaskSpecification", "USER")


def test_a_retry_deletes_the_old_resource_first() -> None:
    """A retryable failure of the work deletes it, then the next attempt is created under a key of its own."""
    service = Service(retryable_failure("Flaky", "lost a node"))
    lab = lab_of(service)
    action = submit(lab, retries=1, backoff=timedelta(seconds=1))
    lab.reconcile(action)
    poll(lab, action)
    assert service.calls == ["create 1", "get 1", "delete 1 Aborted"]
    service.says = success()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert lab.get(action).status.attempts == 2


def test_a_permanent_failure_is_kept_as_it_is() -> None:
    """A permanent failure by the platform's fault ends the action with the service's error."""
    service = Service(system_failure("Quota", "the account is closed"))
    lab = lab_of(service)
    action = submit(lab, retries=3)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind, error.message) == ("Quota", "SYSTEM", "the account is closed")


def test_outputs_the_work_wrote_are_the_result() -> None:
    """A success without outputs takes the file that the work stored itself."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    lab.blobs.put(f"{prefix_of(lab.get(action))}/outputs.pb", b'{"o0":7}')
    service.says = success()
    lab.settle()
    assert lab.client.result(action) == 7


@pytest.mark.parametrize(("recoverable", "attempts"), [(True, 2), (False, 1)])
def test_an_error_the_work_wrote_wins(*, recoverable: bool, attempts: int) -> None:
    """A success with an error file is a failure: retryable if the file says so."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab, retries=1)
    lab.reconcile(action)
    error = encode(ExecutionError("NoRows", "nothing found"), recoverable=recoverable, limit=0)
    lab.blobs.put(f"{prefix_of(lab.get(action))}/error.pb", error)
    service.says = success()
    lab.settle()
    record = lab.get(action)
    assert record.status.attempts == attempts
    assert record.phase is (ActionPhase.SUCCEEDED if recoverable else ActionPhase.FAILED)
    assert record.status.error_state is not None
    assert record.status.error_state.code == "NoRows"


def test_outputs_that_status_stored_are_taken_as_they_are() -> None:
    """Outputs in the success are the result, whatever files there are."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.reconcile(action)
    prefix = prefix_of(lab.get(action))
    lab.blobs.put(f"{prefix}/error.pb", b"an old error")
    ctx = lab.reconciler.context(lab.get(action), lab.reconciler.plugin_registry.resolve("warehouse"))
    service.says = success(TaskInfo(outputs=ctx.files.write_outputs(b'{"o0":"rows"}', 100)))
    lab.settle()
    assert lab.client.result(action) == "rows"
