"""Remote plugins when looks fail, and when somebody wants them to end (R72)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from remote_support import (
    RESYNC,
    TASK_TYPE,
    Service,
    Warehouse,
    due_in,
    lab_of,
    poll,
    put_state,
    state_of,
    submit,
)

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import BlobUnavailable
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.template import TaskMetadata, TaskTemplate, Timeouts, encode_template
from reconciler.api.transition import PhaseInfo, aborted, running, success, waiting_for_cache
from reconciler.core.counted import counted
from reconciler.plugins.base import StillStopping
from reconciler.plugins.remote_state import RemoteConfig, RemotePhase
from reconciler.testing import Crash, Lab, check_settled, every_crash

pytestmark = pytest.mark.rule("R72")


def launched(service: Service, **options: object) -> tuple[Lab, ActionId]:
    """Return a query that was created."""
    lab = lab_of(service, **options)  # type: ignore[arg-type]  # options of the plugin
    action = submit(lab)
    lab.reconcile(action)
    return lab, action


@pytest.mark.rule("R72")
@pytest.mark.parametrize("error", [TimeoutError("no answer"), BlobUnavailable("down"), KeyError("state")])
def test_failed_looks_are_counted_in_the_record(error: Exception) -> None:
    """A failed look leaves the phase as it is, says so, and is tried again after the interval."""
    service = Service()
    lab, action = launched(service)
    poll(lab, action)
    service.errors["get"] = [error, error]
    poll(lab, action)
    poll(lab, action)
    record = lab.get(action)
    assert record.phase is ActionPhase.RUNNING
    assert state_of(lab, action).sync_failures == 2
    assert due_in(lab, action) == RESYNC
    told = lab.events(action)[-1].cluster_events[0].message
    assert (
        told
        == f"the service could not be asked, 2 of 5 times that are borne: {type(error).__name__}: {error}"
    )
    assert record.status.total_system_failures == 0


@pytest.mark.rule("R72")
def test_a_first_look_that_fails_stays_queued() -> None:
    """A resource nobody has seen yet is still Queued as launched."""
    service = Service()
    lab, action = launched(service)
    service.errors["get"] = [TimeoutError("no answer")]
    poll(lab, action)
    status = lab.get(action).status
    assert (status.plugin_phase, status.plugin_phase_version) == ("PhaseQueued", 2)


@pytest.mark.rule("R72")
def test_a_look_that_succeeds_forgets_the_failed_ones() -> None:
    """Failures are counted in a row: a service that answers now and then is borne for ever."""
    service = Service()
    lab, action = launched(service)
    for _ in range(4):
        service.errors["get"] = [TimeoutError("no answer")] * 5
        for _ in range(6):
            poll(lab, action)
        assert state_of(lab, action).sync_failures == 0
    record = lab.get(action)
    assert (record.phase, record.status.total_system_failures) == (ActionPhase.RUNNING, 0)


@pytest.mark.rule("R72")
@pytest.mark.parametrize("seen", [False, True], ids=["never seen", "seen before"])
@pytest.mark.parametrize("limit", [0, 2])
def test_one_failed_look_too_many_is_a_system_failure(*, seen: bool, limit: int) -> None:
    """More failures than are borne spend the system budget, no retry: the resource is deleted and created anew."""
    service = Service()
    lab, action = launched(service, config=RemoteConfig(max_sync_failures=limit))
    if seen:
        poll(lab, action)
    service.errors["get"] = [TimeoutError("no answer")] * (limit + 1)
    service.calls.clear()
    for _ in range(limit + 1):
        poll(lab, action)
    assert service.calls == [*["get 1"] * (limit + 1), "delete 1 Aborted"]
    status = lab.get(action).status
    assert (status.attempts, status.system_failures, status.launches) == (1, 1, 1)
    audit = lab.audit()[-1].message
    assert audit.endswith(
        f"[ResourceSyncFailed] the service could not be asked {counted(limit + 1, 'time')} in a row: TimeoutError: no answer"
    )
    service.says = success()
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R72")
def test_work_whose_deletion_fails_as_well_is_not_lost() -> None:
    """A service that answers nothing at all cannot be told to delete either: when it is back, the work goes on."""
    service = Service()
    lab, action = launched(service, config=RemoteConfig(max_sync_failures=0))
    service.errors["get"] = [TimeoutError("no answer")] * 3
    service.errors["delete"] = [TimeoutError("no answer")] * 3
    for _ in range(3):
        poll(lab, action)
    service.says = success()
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.launches) == (ActionPhase.SUCCEEDED, 0)
    assert service.calls[-1] == "get 1"


@pytest.mark.rule("R72")
def test_a_service_that_stays_silent_ends_the_action_by_the_platforms_fault() -> None:
    """When the launches of the system budget all get lost, the error is SYSTEM."""
    service = Service()
    lab, action = launched(service)
    service.errors["get"] = [TimeoutError("no answer")] * 1000
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("MaxSystemFailuresExceeded", "SYSTEM")
    assert service.numbers == {}


@pytest.mark.rule("R72")
@pytest.mark.parametrize(
    "says",
    [PhaseInfo(phase=PluginPhase.UNDEFINED), aborted(0, 0, "cancelled"), waiting_for_cache(0)],
    ids=["undefined", "aborted", "waiting for cache"],
)
def test_a_phase_no_resource_can_be_in_is_a_system_failure(says: PhaseInfo) -> None:
    """Such an answer spends the system budget and changes nothing; at last the action fails, and the work is deleted."""
    service = Service(says)
    lab, action = launched(service)
    poll(lab, action)
    assert state_of(lab, action).phase is RemotePhase.RESOURCES_CREATED
    assert lab.get(action).status.system_failures == 1
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.kind == "SYSTEM"
    assert service.calls[-1] == "delete 1 the action has ended"


# -- ending (R72) ----------------------------------------------------------------------------------------------


@pytest.mark.rule("R72")
def test_an_abort_deletes_with_its_reason() -> None:
    """An abort deletes the resource once, for the reason that was given, and ends the action."""
    service = Service()
    lab, action = launched(service)
    poll(lab, action)
    lab.client.abort(action, "wrong table")
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert service.calls[-1] == "delete 1 wrong table"
    assert [call for call in service.calls if call.startswith("delete")] == ["delete 1 wrong table"]


@pytest.mark.rule("R72")
def test_an_abort_before_anything_was_created_may_delete_nothing() -> None:
    """After a create whose answer got lost `delete` is called without a meta: the key is enough to find the work."""
    service = Service()
    service.errors["create"] = [TimeoutError("no answer")]
    lab, action = launched(service)
    assert len(service.numbers) == 1
    lab.client.abort(action)
    lab.settle()
    assert service.numbers == {}
    assert service.calls == ["create 1", "delete None User requested abort"]


@pytest.mark.rule("R72")
def test_an_untouched_action_calls_nothing() -> None:
    """An action no step has ever looked at ends without a call of the service."""
    service = Service()
    lab = lab_of(service)
    action = submit(lab)
    lab.client.abort(action)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert service.calls == []


@pytest.mark.rule("R72")
@pytest.mark.parametrize("state", [b"[]", b'{"phase":"Nowhere"}', b'{"phase":"ResourcesCreated","meta":7}'])
def test_an_abort_needs_no_readable_state(state: bytes) -> None:
    """An abort with a state that cannot be decoded deletes by the key and ends the action."""
    service = Service()
    lab, action = launched(service)
    put_state(lab, action, state)
    lab.client.abort(action, "enough")
    lab.settle()
    record = lab.get(action)
    assert (record.phase, record.status.cleanup_error) == (ActionPhase.ABORTED, "")
    assert service.calls == ["create 1", "delete None enough"]


@pytest.mark.rule("R72")
def test_a_deletion_that_takes_time_is_waited_for() -> None:
    """`StillStopping` of `delete` holds the end up until the service says that the work is over."""
    service = Service()
    lab, action = launched(service)
    service.errors["delete"] = [StillStopping(lab.clock() + 700), StillStopping(lab.clock() + 1400)]
    lab.client.abort(action)
    lab.reconcile(action)
    assert (lab.get(action).phase, due_in(lab, action)) == (ActionPhase.QUEUED, 700)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert len([call for call in service.calls if call.startswith("delete")]) == 3


@pytest.mark.rule("R72")
def test_a_limit_of_time_deletes_the_work() -> None:
    """A running limit ends the action in TIMED_OUT, and nothing of it is left at the service."""
    service = Service()
    lab = lab_of(service)
    limits = TaskMetadata(timeouts=Timeouts(running=timedelta(minutes=10)))
    template = encode_template(TaskTemplate(type=TASK_TYPE, metadata=limits))
    action = lab.run(ActionSpec(task_type=TASK_TYPE, task_template=template, inputs=b"{}")).action
    lab.settle()
    assert lab.get(action).phase is ActionPhase.TIMED_OUT
    assert service.numbers == {}


@pytest.mark.parametrize("quota", ["", "slots"])
@pytest.mark.parametrize("ends", ["succeeds", "is aborted"])
def test_no_crash_leaves_work_or_units_behind(quota: str, ends: str) -> None:
    """Whenever the worker dies, the action reaches the same end, once, and the service runs nothing for it any more."""
    services: list[Service] = []

    def story(crash: Crash) -> Lab:
        service = Service(success() if ends == "succeeds" else running(0))
        services.append(service)
        lab = Lab([Warehouse(service, quota=quota).entry], crash=crash)
        lab.quotas.register_quota("slots", 1)
        action = submit(lab)
        if ends == "is aborted":
            for _ in range(4):
                lab.step()
            lab.program(lambda client: client.abort(action, "enough"))
        lab.settle()
        return lab

    phase = ActionPhase.SUCCEEDED if ends == "succeeds" else ActionPhase.ABORTED
    for lab in every_crash(story):
        assert check_settled(lab) == {phase: 1}, lab
        numbers = services[-1].numbers
        assert list(numbers.values()) == ([1] if ends == "succeeds" else []), lab
