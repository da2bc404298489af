"""What an event says (R56), field by field."""

from __future__ import annotations

import msgspec
import pytest
from control_support import TYPE, lab_of

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction
from reconciler.api.errors import InvalidInput
from reconciler.api.event import ActionEvent, ClusterEvent, ErrorInfo
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status import ActionStatus
from reconciler.api.status_conditions import PhaseTransition, Reason
from reconciler.api.template import RetryStrategy, TaskMetadata
from reconciler.api.transition import (
    CacheStatus,
    ErrorKind,
    ExecutionError,
    ExternalResource,
    LogLink,
    PhaseInfo,
    ReasonInfo,
    TaskInfo,
    failed,
    failure,
    initializing,
    not_ready,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
    system_retryable_failure,
    waiting_for_cache,
    waiting_for_resources,
)
from reconciler.core.events import build_event, check_event, observed_cache_status
from reconciler.stores.events import encode_event
from reconciler.testing import Lab, ScriptedPlugin

ID = ActionId("proj", "dev", "run1", "a0")
NOW = 1_700_000_000_000
PREFIX = "s3://b/vy/base/a0"


def record(base: str = "s3://b/base", **status: object) -> TaskAction:
    """Return a record with this status."""
    spec = ActionSpec(run_name="run1", action_name="a0", run_output_base=base)
    return TaskAction(
        ID,
        spec,
        ActionStatus(**status),  # type: ignore[arg-type]  # fields of the status
        Metadata(namespace="flyte", name="run1-a0"),
        events=4,
    )


def event(info: PhaseInfo, action: TaskAction | None = None, cluster: str = "") -> ActionEvent:
    """Return the event of a phase."""
    return build_event(action or record(), info, NOW, cluster)


# -- 19.1 --------------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R56")
def test_an_event_says_whose_it_is() -> None:
    """An event carries project, domain, run and action (R9)."""
    assert event(running(0)).id == ID


@pytest.mark.rule("R60")
def test_an_event_continues_the_sequence() -> None:
    """Events of an action are numbered without gaps: the number is the key by which doubles are dropped."""
    assert event(running(0)).sequence == 5


@pytest.mark.rule("R56")
@pytest.mark.parametrize(("attempts", "shown"), [(0, 1), (1, 1), (3, 3)])
def test_an_event_says_which_attempt(attempts: int, shown: int) -> None:
    """The attempt is that of the new status, and at least 1."""
    assert event(running(0), record(attempts=attempts)).attempt == shown


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("info", "phase"),
    [
        (PhaseInfo(phase=PluginPhase.UNDEFINED), ActionPhase.UNSPECIFIED),
        (not_ready(0, 0, ""), ActionPhase.QUEUED),
        (queued(0, 0, ""), ActionPhase.QUEUED),
        (waiting_for_resources(0, 0, ""), ActionPhase.WAITING_FOR_RESOURCES),
        (waiting_for_cache(0), ActionPhase.WAITING_FOR_RESOURCES),
        (initializing(0, 0, ""), ActionPhase.INITIALIZING),
        (running(0), ActionPhase.RUNNING),
        (success(), ActionPhase.SUCCEEDED),
        (failure("E", "m"), ActionPhase.FAILED),
        (retryable_failure("E", "m"), ActionPhase.FAILED),
        (failure("DeadlineExceeded", "m"), ActionPhase.FAILED),
        (failed(PluginPhase.PERMANENT_FAILURE, None, failed_as=Reason.TIMED_OUT), ActionPhase.TIMED_OUT),
        (PhaseInfo(phase=PluginPhase.ABORTED), ActionPhase.ABORTED),
    ],
    ids=lambda value: str(value) if isinstance(value, ActionPhase) else value.phase.name.lower(),
)
def test_an_event_says_the_phase(info: PhaseInfo, phase: ActionPhase) -> None:
    """Each phase of a plugin has its phase in events; limits of time have their own."""
    assert event(info).phase is phase


@pytest.mark.rule("R56")
def test_an_event_says_the_version() -> None:
    """The version is that of the phase."""
    assert event(running(7)).version == 7


@pytest.mark.rule("R32")
@pytest.mark.parametrize(
    ("info", "final"),
    [(running(0), False), (success(), True), (failure("E", "m"), True), (retryable_failure("E", "m"), False)],
    ids=["running", "success", "failure", "retryable"],
)
def test_an_event_says_whether_it_is_the_last(info: PhaseInfo, final: bool) -> None:  # noqa: FBT001  # a parameter
    """Only the end of the action is final; that of an attempt is not."""
    assert event(info).final is final


@pytest.mark.rule("R56")
def test_the_updated_time_is_that_of_the_last_history_entry() -> None:
    """An event happened when the last entry of the history was made."""
    history = (PhaseTransition("Queued", 5), PhaseTransition("Executing", 9))
    assert event(running(0), record(phase_history=history)).updated_time == 9


@pytest.mark.rule("R56")
def test_without_history_the_updated_time_is_now() -> None:
    """An event of a record without history happened when it was built."""
    assert event(running(0)).updated_time == NOW


@pytest.mark.rule("R56")
def test_the_reported_time_is_now() -> None:
    """An event says when it was built, whatever the history holds."""
    assert event(running(0), record(phase_history=(PhaseTransition("Queued", 5),))).reported_time == NOW


@pytest.mark.rule("R56")
@pytest.mark.parametrize(
    ("info", "error"),
    [
        (failure("E", "m"), ErrorInfo("m", "KIND_USER", "E")),
        (system_failure("E", "m"), ErrorInfo("m", "KIND_SYSTEM", "E")),
        (
            failed(PluginPhase.PERMANENT_FAILURE, ExecutionError("E", "m", ErrorKind.UNKNOWN)),
            ErrorInfo("m", "KIND_UNSPECIFIED", "E"),
        ),
        (failed(PluginPhase.PERMANENT_FAILURE, None), None),
        (running(0), None),
    ],
    ids=["user", "system", "unknown", "missing", "none"],
)
def test_an_event_carries_the_error_with_its_code(info: PhaseInfo, error: ErrorInfo | None) -> None:
    """An error is told with message, kind and code; without an error there is none."""
    assert event(info).error_info == error


@pytest.mark.rule("R15")
def test_a_long_error_is_cut() -> None:
    """A message of any length leaves the event small."""
    info = event(failure("E", "x" * 100_000)).error_info
    assert info is not None
    assert len(info.message) == 4096


@pytest.mark.rule("R56")
def test_an_event_names_the_installation() -> None:
    """The configured cluster name is copied into events."""
    lab = Lab([ScriptedPlugin("demo", success())], cluster="blue")
    action = lab.submit("demo")
    lab.settle()
    assert lab.events(action)[-1].cluster == "blue"


@pytest.mark.rule("R56")
@pytest.mark.parametrize(
    "info", [queued(0, 0, ""), running(0), success()], ids=["queued", "running", "success"]
)
def test_an_event_says_where_the_outputs_lie(info: PhaseInfo) -> None:
    """Outputs and report of the event's attempt are named in every phase."""
    outputs = event(info, record(attempts=2)).outputs
    assert outputs is not None
    assert outputs.output_uri == f"{PREFIX}/2/outputs.pb"
    assert outputs.report_uri == f"{PREFIX}/2/report.html"


@pytest.mark.rule("R29")
def test_a_relaunch_names_its_own_outputs() -> None:
    """After a relaunch the event names the folder of that launch."""
    outputs = event(running(0), record(attempts=2, launches=1)).outputs
    assert outputs is not None
    assert outputs.output_uri == f"{PREFIX}/2-1/outputs.pb"


@pytest.mark.rule("R56")
@pytest.mark.parametrize("base", ["", "no-uri", "s3://"])
def test_a_base_that_is_no_uri_names_no_outputs(base: str) -> None:
    """Where no path can be computed there are no outputs, and no error."""
    assert event(running(0), record(base=base)).outputs is None


@pytest.mark.rule("R31")
def test_the_event_of_a_retry_names_the_new_attempt() -> None:
    """The QUEUED event of the next attempt already carries its number and its outputs."""
    lab = Lab([ScriptedPlugin("demo", retryable_failure("E", "m"), running(0))])
    action = lab.submit("demo", metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    lab.reconcile(action)
    last = lab.events(action)[-1]
    assert last.outputs is not None
    assert (last.phase, last.attempt) == (ActionPhase.QUEUED, 2)
    assert last.outputs.output_uri.endswith("/a0/2/outputs.pb")


@pytest.mark.rule("R56")
def test_an_event_carries_logs() -> None:
    """Links to logs and their context come from the plugin's details."""
    logs = (LogLink("log", "s3://b/log"),)
    found = event(running(0, TaskInfo(logs=logs, log_context={"worker": "w1"})))
    assert (found.log_info, found.log_context) == (logs, {"worker": "w1"})


@pytest.mark.rule("R56")
def test_a_phase_without_details_has_neither_logs_nor_cache() -> None:
    """A bare phase makes an event without logs, reasons or cache status."""
    found = event(PhaseInfo(phase=PluginPhase.RUNNING))
    assert (found.log_info, found.log_context, found.cluster_events) == ((), None, ())
    assert (found.cache_status, found.cache_metadata) == (CacheStatus.DISABLED, None)


# -- cache status (8.5) ------------------------------------------------------------------------------------------------
@pytest.mark.rule("R47")
@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        ((), CacheStatus.DISABLED),
        ((CacheStatus.DISABLED,), CacheStatus.DISABLED),
        ((None, CacheStatus.DISABLED, CacheStatus.MISS, CacheStatus.HIT), CacheStatus.MISS),
        ((CacheStatus.EVICTED,), CacheStatus.EVICTED),
    ],
    ids=["none", "disabled", "first that speaks", "evicted"],
)
def test_the_first_status_that_says_something_is_shown(
    statuses: tuple[CacheStatus | None, ...], shown: CacheStatus
) -> None:
    """Of all external resources the first with a cache status counts; empty places are skipped."""
    resources = tuple(s if s is None else ExternalResource(cache_status=s) for s in statuses)
    info = TaskInfo(external_resources=resources)
    assert observed_cache_status(info) is shown
    assert event(running(0, info)).cache_status is shown


@pytest.mark.rule("R47")
def test_without_details_the_cache_is_disabled() -> None:
    """No details, no cache status."""
    assert observed_cache_status(None) is CacheStatus.DISABLED


@pytest.mark.rule("R49")
@pytest.mark.parametrize(
    ("resource", "shown"),
    [
        (ExternalResource(cache_status=CacheStatus.HIT, custom_info={"run": "r0"}), {"run": "r0"}),
        (ExternalResource(cache_status=CacheStatus.HIT), None),
        (ExternalResource(cache_status=CacheStatus.MISS, custom_info={"run": "r0"}), None),
        (None, None),
    ],
    ids=["hit", "unknown source", "miss", "empty place"],
)
def test_a_hit_says_who_made_the_outputs(
    resource: ExternalResource | None, shown: dict[str, object] | None
) -> None:
    """The source of a hit is told; nothing else is."""
    assert event(success(TaskInfo(external_resources=(resource,)))).cache_metadata == shown


# -- reasons (19.2) ----------------------------------------------------------------------------------------------------
@pytest.mark.rule("R57")
def test_without_reasons_there_are_no_cluster_events() -> None:
    """A phase that gives no reason adds none."""
    assert event(running(0)).cluster_events == ()


@pytest.mark.rule("R57")
def test_reasons_come_with_their_times_in_order() -> None:
    """The phase's own reason comes first, then the further ones, each at its own time."""
    info = TaskInfo(occurred_at=3, additional_reasons=(ReasonInfo("b", 1), ReasonInfo("c", 2)))
    assert event(queued(0, 0, "a", info)).cluster_events == (
        ClusterEvent("a", 3),
        ClusterEvent("b", 1),
        ClusterEvent("c", 2),
    )


@pytest.mark.rule("R57")
@pytest.mark.parametrize("info", [TaskInfo(), None], ids=["no time", "no details"])
def test_a_reason_without_a_time_has_the_events(info: TaskInfo | None) -> None:
    """A reason that does not say when happened when the event says."""
    phase = PhaseInfo(phase=PluginPhase.QUEUED, reason="a", info=info)
    action = record(phase_history=(PhaseTransition("Queued", 8),))
    assert event(phase, action).cluster_events == (ClusterEvent("a", 8),)


@pytest.mark.rule("R57")
def test_a_further_reason_without_a_time_has_the_events() -> None:
    """The same holds for further reasons."""
    info = TaskInfo(occurred_at=3, additional_reasons=(ReasonInfo("b"),))
    action = record(phase_history=(PhaseTransition("Executing", 8),))
    assert event(running(0, info), action).cluster_events == (ClusterEvent("b", 8),)


# -- emission and recording (19.3, 19.4) -------------------------------------------------------------------------------
@pytest.mark.rule("R59")
@pytest.mark.parametrize("part", ["project", "domain", "run", "action"])
def test_an_event_that_cannot_be_placed_is_refused(part: str) -> None:
    """An empty part of the identity is refused before anything is written (R56)."""
    found = event(running(0))
    broken = msgspec.structs.replace(found, id=msgspec.structs.replace(found.id, **{part: ""}))
    with pytest.raises(InvalidInput, match="project, domain, run and action"):
        check_event(broken)


@pytest.mark.rule("R59")
def test_an_event_without_an_attempt_is_refused() -> None:
    """An attempt of zero is refused (R56)."""
    with pytest.raises(InvalidInput, match="attempt above 0"):
        check_event(msgspec.structs.replace(event(running(0)), attempt=0))


@pytest.mark.rule("R58")
def test_system_errors_below_the_budget_are_no_events() -> None:
    """A counted system error changes the record without telling anybody."""
    lab = Lab([ScriptedPlugin("demo", ValueError("x"))])
    action = lab.submit("demo")
    lab.reconcile(action)
    assert lab.get(action).status.system_failures == 1
    assert len(lab.events(action)) == 1


@pytest.mark.rule("R6")
def test_an_unchanged_status_is_no_event() -> None:
    """A round that finds the same phase and version writes and tells nothing."""
    lab = Lab([ScriptedPlugin("demo", running(0))])
    action = lab.submit("demo")
    lab.reconcile(action)
    before = lab.get(action)
    lab.reconcile(action)
    after = lab.get(action)
    assert (after.version, after.events) == (before.version, before.events)


@pytest.mark.rule("R60")
def test_a_changed_reason_is_told_without_a_new_version() -> None:
    """A reason that changes inside one phase and version reaches whoever watches."""
    lab = Lab([ScriptedPlugin("demo", queued(0, 0, "one"), queued(0, 0, "two"))])
    action = lab.submit("demo")
    lab.reconcile(action)
    lab.reconcile(action)
    messages = [e.cluster_events[0].message for e in lab.events(action)[1:]]
    assert messages == ["one", "two"]


@pytest.mark.rule("R58")
def test_an_abort_event_has_the_time_of_the_abort() -> None:
    """The ABORTED event happened when the abort was asked for, not when it was carried out."""
    lab = Lab([ScriptedPlugin("demo", running(0))])
    action = lab.submit("demo")
    lab.reconcile(action)
    lab.client.abort(action)
    asked = lab.clock()
    lab.clock.advance(5000)
    lab.settle()
    last = lab.events(action)[-1]
    assert (last.phase, last.updated_time, last.reported_time) == (ActionPhase.ABORTED, asked, asked + 5000)


@pytest.mark.rule("R59")
def test_events_of_an_action_are_gapless() -> None:
    """Whatever happens to an action, its events are numbered 1, 2, 3 and so on, with exactly one final one."""
    lab = Lab([ScriptedPlugin("demo", queued(0, 0, "q"), initializing(0, 0, "i"), running(0), success())])
    action = lab.submit("demo")
    lab.settle()
    events = lab.events(action)
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    assert [e.final for e in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.rule("R60")
def test_a_launch_anew_is_not_as_old_as_the_one_before() -> None:
    """Relaunched while already queued, an action says so with the time of the relaunch."""
    lab = lab_of(
        queued(0, 0, "first"), system_retryable_failure("Gone", "lost"), queued(0, 0, "again"), success()
    )
    action = lab.submit(TYPE)
    began = lab.clock()
    lab.settle()
    times = [event.updated_time - began for event in lab.events(action) if event.phase is ActionPhase.QUEUED]
    assert times == [0, 0, 10_000]


@pytest.mark.rule("R15")
def test_details_of_an_event_are_bounded() -> None:
    """However much a plugin tells, an event carries the newest reasons and the first links and facts, none of them long."""
    details = TaskInfo(
        occurred_at=7,
        logs=tuple(LogLink(f"log {n}", "s3://b/x") for n in range(3000)),
        log_context={f"name {n}": "x" * 5000 for n in range(3000)},
        additional_reasons=tuple(ReasonInfo(f"reason {n}", 7) for n in range(3000)),
    )
    found = event(running(0, details))
    assert found.cluster_events[-1].message == "reason 2999"
    assert (len(found.cluster_events), len(found.log_info), len(found.log_context or {})) == (20, 20, 20)
    assert len(encode_event(found)) < 64 * 1024
