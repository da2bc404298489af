"""`function` (R74): puts an attempt into a line and follows its lease."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, Deletion, Result, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.template import (
    RetryStrategy,
    TaskMetadata,
    TaskTemplate,
    Timeouts,
    encode_template,
)
from reconciler.api.transition import LogLink, OutputRef
from reconciler.core.line import RELAUNCH, Line, read_line
from reconciler.stores.base import Finished, StartRefused
from reconciler.stores.lines import GivenBack
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R74")
LEASE = 6000


def call(
    lab: Lab,
    *,
    queue: str = "",
    custom: dict[str, Any] | None = None,
    timeouts: Timeouts | None = None,
    retries: int = 0,
) -> ActionId:
    """Submit one call of a function."""
    policy = TaskMetadata(retries=RetryStrategy(retries=retries), timeouts=timeouts or Timeouts())
    settings = {"function": "demo.f", "queue": queue} if custom is None else custom
    template = TaskTemplate(type="function", metadata=policy, custom=settings)
    spec = ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")
    return lab.run(spec).action


def launched(lab: Lab, **options: Any) -> ActionId:
    """Return a call whose launch was sent."""
    action = call(lab, **options)
    lab.step(action)
    return action


def start(lab: Lab, action: ActionId, launch: str = "1", owner: str = "w1") -> TaskAction | StartRefused:
    """Let a worker take a launch."""
    return lab.store.start_attempt(action, launch, owner=owner, lease=LEASE)


def running(lab: Lab, **options: Any) -> ActionId:
    """Return a call that a worker runs, as the record says too."""
    action = launched(lab, **options)
    assert isinstance(start(lab, action), TaskAction)
    lab.reconcile(action)
    return action


def reported(lab: Lab, action: ActionId, report: AttemptOutcome, launch: str = "1") -> bool:
    """Whether a report of worker w1 is taken."""
    shard = lab.store.shard_of(action.run_id)
    return lab.store.finish_attempts(shard, "w1", [Finished(action, launch, report)]) == (True,)


def finish(lab: Lab, action: ActionId, ended: str, launch: str = "1", **outcome: Any) -> None:
    """Report how the launch ended, and step until nothing is due at once."""
    report = AttemptOutcome(ended=ended, **outcome)
    assert reported(lab, action, report, launch)
    lab.step(action)


def look(lab: Lab, action: ActionId) -> Result:
    """Move to the time of the next look, and look."""
    lab.clock.move_to(dict(lab.store.due(lab.store.shard_of(action.run_id)))[action])
    return lab.reconcile(action)


def messages(lab: Lab) -> list[str]:
    """Return the launches put into lines so far."""
    return [entry.detail for entry in lab.journal.of("launch")]


def lines(lab: Lab) -> list[Line]:
    """Return the lines that have launches."""
    return [read_line(head.line) for head in lab.store.look(0).lines]


# -- launching ---------------------------------------------------------------------------------------------------------
def test_the_first_look_puts_a_launch_into_a_line() -> None:
    """Attempt 1 stands in a line of the installation's queue, which gets a ticket; the action waits there."""
    lab = Lab()
    action = launched(lab)
    record = lab.get(action)
    assert lines(lab) == [Line("attempts", 5, alone=False, fair=action.project, function="demo.f")]
    assert (messages(lab), lab.messenger.tickets) == (["1"], ["attempts"])
    assert record.phase is ActionPhase.QUEUED
    assert record.status.conditions[0].message == 'waiting for a worker of queue "attempts"'


def test_a_task_may_name_its_queue() -> None:
    """The queue of the template wins over that of the installation."""
    lab = Lab()
    launched(lab, queue="gpu")
    assert [line.queue for line in lines(lab)] == lab.messenger.tickets == ["gpu"]


@pytest.mark.parametrize("custom", [{}, {"function": 1}], ids=["missing", "no text"])
def test_a_template_without_a_function_ends_the_action(custom: dict[str, Any]) -> None:
    """Without the name of a function nothing can be launched, now or later."""
    lab = Lab()
    action = call(lab, custom=custom)
    lab.settle()
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("BadTaskSpecification", "USER")
    assert "custom.function" in error.message
    assert not lab.messenger.tickets
    assert not lines(lab)


def test_a_launch_in_line_is_not_sent_again() -> None:
    """However often somebody looks it stands in its line; nobody has to look before long, and no event is made."""
    lab = Lab()
    action = launched(lab)
    for _ in range(5):
        lab.clock.advance(timedelta(hours=1))
        assert lab.reconcile(action) == Result(3_600_000)
    assert messages(lab) == ["1"]
    assert len(lab.events(action)) == 2
    assert lab.get(action).status.conditions[0].message == 'waiting for a worker of queue "attempts"'


def test_a_launch_in_no_line_is_put_there_again() -> None:
    """Somebody deleted a line: the next look puts the launch back, and says how often it was sent."""
    lab = Lab(shards=1)
    action = launched(lab)
    lab.store._shards[0].lines.clear()
    look(lab, action)
    assert len(lines(lab)) == 1
    record = lab.get(action)
    assert record.status.conditions[0].message == 'waiting for a worker of queue "attempts", sent 2 times'
    assert (record.status.plugin_phase_version, record.attempt.launch) == (1, "1")


def test_a_relaunch_stands_ahead_of_all() -> None:
    """The launch that follows a lost one is drawn before what has stood for longer, and alone."""
    lab = Lab(shards=1)
    for _ in range(3):
        launched(lab)
    action = running(lab)
    lab.settle(timedelta(seconds=7))
    assert messages(lab)[-1] == "1-1"
    pick = lab.store.pick("attempts")
    line = read_line(pick.line)
    assert (line.level, line.alone) == (RELAUNCH, True)
    [record] = lab.store.draw(pick.shard, pick.line, owner="w2", limit=9, lease=LEASE).actions
    assert (record.id, record.attempt.launch) == (action, "1-1")


@pytest.mark.parametrize("custom", [{"resource": "gpu", "units": 1}, {}], ids=["units", "neither"])
def test_what_holds_units_is_drawn_alone(custom: dict[str, Any]) -> None:
    """A batch would hold them for longer than the call takes."""
    lab = Lab(quotas=("gpu=2",))
    launched(lab, custom={"function": "demo.f", **custom})
    assert [line.alone for line in lines(lab)] == [bool(custom)]


def test_a_taken_launch_is_never_sent_again() -> None:
    """A launch a worker holds needs no message, however long it runs."""
    lab = Lab()
    action = running(lab)
    for _ in range(20):
        lab.clock.advance(LEASE // 2)
        lab.store.heartbeat(action, "1", owner="w1", lease=LEASE)
        lab.reconcile(action)
    assert messages(lab) == ["1"]


# -- running -----------------------------------------------------------------------------------------------------------
def test_a_live_lease_is_running() -> None:
    """A launch under a live lease is RUNNING since the worker took it, and names the worker."""
    lab = Lab()
    action = launched(lab)
    lab.clock.advance(1500)
    start(lab, action)
    lab.reconcile(action)
    record, event = lab.get(action), lab.events(action)[-1]
    assert (record.phase, record.status.running_at) == (ActionPhase.RUNNING, lab.clock())
    assert event.log_context == {"worker": "w1"}


def test_only_one_worker_gets_a_launch() -> None:
    """The second delivery of a launch is refused."""
    lab = Lab()
    action = running(lab)
    assert start(lab, action, owner="w2") is StartRefused.TAKEN


def test_a_worker_that_falls_silent_is_noticed() -> None:
    """When the lease has run out the attempt is launched anew at once, under another launch and without costing a retry."""
    lab = Lab()
    action = running(lab)
    at = lab.clock()
    lab.settle(timedelta(seconds=7))
    record = lab.get(action)
    assert messages(lab) == ["1", "1-1"]
    assert (record.status.attempts, record.status.launches, record.status.system_failures) == (1, 1, 1)
    assert lab.clock() - at <= LEASE + 250
    assert start(lab, action) is StartRefused.SUPERSEDED


def test_a_lost_worker_is_told_to_operators() -> None:
    """The audit names the worker and for how long it was silent."""
    lab = Lab()
    running(lab)
    lab.settle(timedelta(seconds=7))
    assert "[WorkerLost] worker w1 vanished: its lease ran out 0.2 s ago" in lab.audit()[-1].message or (
        "0.3 s ago" in lab.audit()[-1].message
    )


def told_of(lab: Lab, action: ActionId) -> list[str]:
    """What the events of an action say beside their phases."""
    return [reason.message for event in lab.events(action) for reason in event.cluster_events]


def test_event_and_history_say_why_an_action_is_queued_again() -> None:
    """Which worker was lost, and which launch follows which; the condition says it not, for it may change with each look."""
    lab = Lab()
    action = running(lab)
    lab.settle(timedelta(seconds=7))
    why = "launched again as 1-1, because launch 1 failed: [WorkerLost] worker w1 vanished: its lease ran out"
    assert any(text.startswith(why) for text in told_of(lab, action))
    history = lab.get(action).status.phase_history
    assert [entry.phase for entry in history] == ["Queued", "Executing", "Queued"]
    assert history[-1].message.startswith(f'waiting for a worker of queue "attempts"; {why}')
    assert "WorkerLost" not in lab.get(action).status.conditions[0].message


def test_a_worker_lost_before_it_was_seen_running_is_told_too() -> None:
    """The history has no second Queued in a row (R13), so its last entry says why the launch is a new one."""
    lab = Lab()
    action = launched(lab)
    for launch, after in (("1", "1-1"), ("1-1", "1-2")):
        while lab.get(action).attempt.launch != launch:
            look(lab, action)
        start(lab, action, launch)
        lab.clock.advance(LEASE)
        lab.reconcile(action)
        while lab.get(action).attempt.launch != after:
            look(lab, action)
        [entry] = lab.get(action).status.phase_history
        assert entry.message.count("launched again") == 1
        assert f"launched again as {after}, because launch {launch} failed: [WorkerLost]" in entry.message


@pytest.mark.parametrize("aborted", [False, True])
def test_whoever_listens_is_told_of_each_lost_launch_once(*, aborted: bool) -> None:
    """One whose worker will not report: the action goes on or ends without it. One that reported is not lost."""
    lab = Lab()
    lost: list[tuple[ActionId, int]] = []
    lab.engine.stepper.on_lost = lambda before, _: lost.append((before.id, before.status.launches))
    reported, action = running(lab), running(lab)
    finish(lab, reported, "returned", outputs=OutputRef(uri="mem://bucket/x"))
    if aborted:
        lab.store.request_abort(action, Deletion(reason="enough"))
    lab.settle(timedelta(seconds=8))
    assert lost == [(action, 0)]


def test_a_retry_is_not_told_as_a_launch_anew() -> None:
    """An attempt after an error of the function has its own event of that error; nothing of the platform failed."""
    lab = Lab()
    action = running(lab, retries=1)
    finish(lab, action, "raised", code="ValueError", message="no")
    assert not any("launched again" in text for text in told_of(lab, action))


def test_losing_workers_again_and_again_waits_longer_and_ends() -> None:
    """Each further loss waits for the back-off, and the budget of the platform ends it at last."""
    lab = Lab()
    action = launched(lab)
    for launch in ("1", "1-1", "1-2", "1-3"):
        while lab.get(action).attempt.launch != launch:
            look(lab, action)
        start(lab, action, launch)
        lab.clock.advance(LEASE)
        lab.reconcile(action)
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("MaxSystemFailuresExceeded", "SYSTEM")


def test_a_long_run_forgives_earlier_losses() -> None:
    """A function that ran for a minute before its worker was lost begins with a fresh budget (R27)."""
    lab = Lab()
    action = launched(lab)
    for number in range(5):
        launch = "1" if not number else f"1-{number}"
        while lab.get(action).attempt.launch != launch:
            look(lab, action)
        start(lab, action, launch)
        lab.reconcile(action)
        for _ in range(30):
            lab.clock.advance(LEASE // 2)
            lab.store.heartbeat(action, launch, owner="w1", lease=LEASE)
        lab.clock.advance(LEASE + 300)
        lab.reconcile(action)
        assert lab.get(action).status.system_failures == 1
    assert lab.get(action).status.total_system_failures == 5


def test_a_worker_that_comes_back_too_late_is_refused() -> None:
    """The report of a launch that was replaced is not accepted: at most one result counts."""
    lab = Lab()
    action = running(lab)
    lab.settle(timedelta(seconds=7))
    late = AttemptOutcome(ended="returned", outputs=OutputRef(uri="s3://memory/late"))
    assert not reported(lab, action, late)
    assert not lab.store.heartbeat(action, "1", owner="w1", lease=LEASE).alive


# -- outcomes ----------------------------------------------------------------------------------------------------------
def test_a_return_is_success() -> None:
    """A function that returned succeeds with its outputs and a link to its log."""
    lab = Lab()
    action = running(lab)
    ref = OutputRef(uri="s3://memory/o", inline=b'{"o0":3}')
    finish(lab, action, "returned", outputs=ref, log_uri="s3://memory/log", log_sha256="ab12")
    assert lab.client.result(action) == 3
    assert lab.events(action)[-1].log_info == (LogLink("log", "s3://memory/log", "ab12"),)


def test_an_outcome_without_a_log_links_none() -> None:
    """Without a log there is no link."""
    lab = Lab()
    action = running(lab)
    finish(lab, action, "returned")
    assert lab.events(action)[-1].log_info == ()


@pytest.mark.parametrize("ended", ["raised", "died"])
def test_an_error_of_the_function_costs_a_retry(ended: str) -> None:
    """A function that raised or killed its process is tried again as the next attempt."""
    lab = Lab()
    action = running(lab, retries=1)
    finish(lab, action, ended, code="ValueError", message="boom")
    record = lab.get(action)
    assert (record.status.attempts, record.status.system_failures) == (2, 0)
    assert messages(lab) == ["1", "2"]


@pytest.mark.parametrize("ended", ["raised", "died"])
def test_the_last_error_is_the_actions(ended: str) -> None:
    """Without retries left the action fails with code and message of the function."""
    lab = Lab()
    action = running(lab)
    finish(lab, action, ended, code="ValueError", message="boom")
    error = lab.get(action).status.error_state
    assert error is not None
    assert (error.code, error.kind, error.message) == ("ValueError", "USER", "boom")


@pytest.mark.parametrize("ended", ["raised", "died"])
def test_what_no_retry_can_help_fails_at_once(ended: str) -> None:
    """An error marked as final costs no further attempt."""
    lab = Lab()
    action = running(lab, retries=5)
    finish(lab, action, ended, code="Nope", message="never", retryable=False)
    record = lab.get(action)
    assert (record.phase, record.status.attempts) == (ActionPhase.FAILED, 1)
    assert messages(lab) == ["1"]


@pytest.mark.parametrize(
    ("ended", "code"),
    [("stopped", ""), ("stopped", "Stopped"), ("raised", "Interrupted"), ("unknown", "UnknownFunction")],
)
def test_a_stop_by_the_platform_costs_no_retry(ended: str, code: str) -> None:
    """A function that was stopped, or whose worker shut down, is launched anew within its attempt."""
    lab = Lab()
    action = running(lab)
    finish(lab, action, ended, code=code, message="worker shuts down")
    record = lab.get(action)
    assert (record.status.attempts, record.status.launches, record.status.system_failures) == (1, 1, 1)
    assert f"[{code or 'Interrupted'}] worker shuts down" in lab.audit()[-1].message


# -- aborting ----------------------------------------------------------------------------------------------------------
def test_an_abort_before_the_launch_ends_at_once() -> None:
    """An action whose plugin was never called has nothing to stop."""
    lab = Lab()
    action = call(lab)
    lab.client.abort(action)
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert not lab.messenger.tickets
    assert not lines(lab)


def test_an_abort_fences_off_a_launch_nobody_took() -> None:
    """A launch that stands in line leaves it, and is refused to whoever asks for it."""
    lab = Lab()
    action = launched(lab)
    lab.client.abort(action)
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert start(lab, action) is StartRefused.ENDED
    assert not lines(lab)


def test_an_abort_waits_for_the_worker() -> None:
    """A running function is asked to stop and the action ends only when it has."""
    lab = Lab()
    action = running(lab)
    lab.client.abort(action, "enough")
    assert lab.reconcile(action) == Result(500)
    assert lab.get(action).phase is ActionPhase.RUNNING
    assert lab.store.heartbeat(action, "1", owner="w1", lease=LEASE).stop == "enough"
    finish(lab, action, "stopped", code="Stopped")
    assert lab.get(action).phase is ActionPhase.ABORTED


def test_a_worker_is_asked_to_stop_once() -> None:
    """Further looks wait without asking again."""
    lab = Lab()
    action = running(lab)
    lab.client.abort(action)
    asked: list[object] = []
    lab.store.on_write = lambda verb, detail: asked.append(detail) if verb == "stop_attempt" else None
    lab.reconcile(action)
    lab.reconcile(action)
    assert len(asked) == 1


@pytest.mark.rule("R80")
@pytest.mark.parametrize("verb", ["declined", "given back"])
def test_what_returns_before_it_was_told_to_stop_is_drawn_again(verb: str) -> None:
    """A worker that stood still holds a launch beyond its limit, and returns it unbegun: another one gets it."""
    lab = Lab()
    action = launched(lab, timeouts=Timeouts(running=timedelta(seconds=2)))
    start(lab, action)
    shard, line = lab.store.shard_of(action.run_id), "attempts/5-/default/demo.f"
    lab.clock.advance(3000)
    lab.reconcile(action)
    assert lab.get(action).attempt.stop
    if verb == "declined":
        assert lab.store.decline_attempt(action, "1", owner="w1", why="busy", delay=1000)
    else:
        assert lab.store.give_back(shard, line, owner="w1", launches=[GivenBack(action, "1", "")])
    lab.clock.advance(500)
    lab.step(action)
    drawn = lab.store.draw(shard, line, owner="w2", limit=1, lease=LEASE).actions
    assert [one.attempt.stop for one in drawn] == [""]
    assert lab.get(action).status.attempts == 1


def test_waiting_for_the_worker_is_no_failed_try() -> None:
    """However long a worker takes to stop, the clean-up is not given up while its lease lives."""
    lab = Lab()
    action = running(lab)
    lab.client.abort(action)
    for _ in range(30):
        lab.clock.advance(500)
        lab.store.heartbeat(action, "1", owner="w1", lease=LEASE)
        lab.reconcile(action)
    record = lab.get(action)
    assert (record.is_terminal, record.status.cleanup_tries) == (False, 0)


def test_an_abort_does_not_wait_for_a_dead_worker() -> None:
    """When the lease has run out nobody is waited for."""
    lab = Lab()
    action = running(lab)
    lab.client.abort(action)
    lab.settle(timedelta(seconds=7))
    assert lab.get(action).phase is ActionPhase.ABORTED


def test_an_abort_between_two_launches_ends_at_once() -> None:
    """While the next launch has not been sent there is nothing to stop."""
    lab = Lab()
    action = running(lab)
    lab.clock.advance(LEASE)
    lab.reconcile(action)
    assert lab.get(action).status.launches == 1
    lab.client.abort(action)
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.ABORTED
    assert messages(lab) == ["1"]


def test_a_passed_limit_stops_the_worker() -> None:
    """A limit of time asks the running function to stop, waits for it, and ends the action in TIMED_OUT."""
    lab = Lab()
    action = running(lab, timeouts=Timeouts(overall=timedelta(seconds=4)))
    lab.clock.advance(4000)
    assert lab.reconcile(action) == Result(500)
    stop = lab.store.heartbeat(action, "1", owner="w1", lease=LEASE).stop
    assert stop == "[DeadlineExceeded] the action has taken longer than 4 s"
    finish(lab, action, "stopped", code="Stopped")
    assert lab.get(action).phase is ActionPhase.TIMED_OUT


def test_a_running_limit_the_worker_noticed_first_ends_timed_out() -> None:
    """A worker that stops its function at the running limit says so; a code alone is no limit of time."""
    lab = Lab()
    action = running(lab)
    finish(lab, action, "raised", code="RunningTimedOut", retryable=False)
    assert lab.get(action).phase is ActionPhase.TIMED_OUT
    other = running(lab)
    finish(lab, other, "raised", code="DeadlineExceeded", retryable=False)
    assert lab.get(other).phase is ActionPhase.FAILED
