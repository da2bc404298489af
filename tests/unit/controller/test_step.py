"""A step is a batch of rounds (design 4): batches, budget, errors, messages, children."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.api.action import CONDITION, ActionId, ActionSpec
from reconciler.api.errors import BrokerUnavailable, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import PhaseInfo, TaskInfo, failure, queued, running, success
from reconciler.broker.messages import Launch
from reconciler.broker.recording import Wake
from reconciler.controller.step import StepReport
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.base import CommitReport, Write
from reconciler.stores.changes import PENDING_TTL
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.spec("design 4")
SECONDS = timedelta(seconds=1)
PATIENCE = 30.0
"""Longest wait of a test, in seconds of this process."""


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Tracebacks of the many errors raised here are costly to draw."""
    with capture_logs():
        yield


class Slow(ScriptedPlugin):
    """Handles in a thread, and not before it is allowed to."""

    properties = PluginProperties()

    def __init__(self, task_type: str = "slow", *answers: Any) -> None:
        super().__init__(task_type, *(answers or (success(),)), finalizes=False)
        self.entered, self.may_go = threading.Semaphore(0), threading.Event()

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Wait for leave."""
        self.entered.release()
        assert self.may_go.wait(PATIENCE)
        return super().handle(ctx)


class Mute:
    """A broker that is down."""

    def __init__(self) -> None:
        self.asked = 0

    def wake(self, shard: int, countdown: float = 0.0, armed: int = 0) -> None:
        """Fail."""
        self.asked += 1
        raise BrokerUnavailable(f"{shard} {countdown} {armed}")

    def launch(self, launches: Sequence[Launch]) -> None:
        """Fail."""
        self.asked += 1
        raise BrokerUnavailable(str(launches))


def one_shard(*plugins: ScriptedPlugin, **settings: Any) -> Lab:
    """A lab whose actions all share a shard."""
    return Lab(plugins, shards=1, **settings)


def step(lab: Lab, named: Sequence[ActionId] = (), *, drain: bool = True) -> StepReport:
    """One step of the only shard."""
    return lab.engine.stepper.step(0, named, drain=drain)


# -- batches -----------------------------------------------------------------------------------------------------------
def test_an_empty_shard_is_nothing_to_do() -> None:
    """A step without due actions claims nothing and sends nothing."""
    lab = one_shard()
    assert step(lab) == StepReport()
    assert not lab.messenger.wakes


def test_a_step_takes_all_that_is_due() -> None:
    """Whatever is due in the shard is reconciled by one step, named or not."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    actions = [lab.submit("demo") for _ in range(3)]
    report = step(lab)
    assert (report.committed, report.superseded, report.again) == (3, 0, False)
    assert all(lab.get(action).phase is ActionPhase.SUCCEEDED for action in actions)


def test_a_batch_is_one_claim_and_one_commit() -> None:
    """All actions of a batch are claimed in one call and committed in one call."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    for _ in range(5):
        lab.submit("demo")
    verbs: list[str] = []
    lab.store.on_write = lambda verb, _: verbs.append(verb)
    step(lab)
    assert verbs == ["claim", "commit"]


def test_a_batch_has_a_limit() -> None:
    """A step claims at most a batch at once and goes on with the next one."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False), step_batch=2)
    for _ in range(5):
        lab.submit("demo")
    sizes: list[int] = []
    claim = lab.store.claim

    def counted(*args: Any, **more: Any) -> Any:
        report = claim(*args, **more)
        sizes.append(len(report.actions))
        return report

    lab.store.claim = counted  # type: ignore[method-assign]  # counts
    assert step(lab).committed == 5
    assert sizes == [2, 2, 1]


@pytest.mark.spec("1")
@pytest.mark.parametrize(("limit", "claimed"), [(3, 3), (512, 4)])
def test_the_number_of_concurrent_reconciles_limits_the_batch(limit: int, claimed: int) -> None:
    """A step claims no more at once than reconciles may run side by side, and never more than its batch size."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False), step_batch=4)
    for _ in range(9):
        lab.submit("demo")
    limits: list[int] = []
    claim = lab.store.claim

    def seen(*args: Any, limit: int, **more: Any) -> Any:
        limits.append(limit)
        return claim(*args, limit=limit, **more)

    lab.store.claim = seen  # type: ignore[method-assign]  # looks
    lab.engine.stepper.limit(limit)
    assert step(lab).committed == 9
    assert set(limits) == {claimed}


def test_a_step_makes_room_when_its_budget_is_used_up() -> None:
    """With work left at the end of the budget the step sends itself a message and says so."""

    def takes_its_time(_: TaskExecutionContext) -> PhaseInfo:
        ends = time.monotonic() + 0.002
        while time.monotonic() < ends:
            pass
        return success()

    lab = one_shard(
        ScriptedPlugin("demo", takes_its_time), step_batch=1, step_budget=timedelta(milliseconds=1)
    )
    for _ in range(3):
        lab.submit("demo")
    lab.messenger.wakes.clear()
    report = step(lab)
    assert (report.committed, report.again) == (1, True)
    assert lab.messenger.wakes == [Wake(0)]


def test_a_step_goes_on_within_its_budget() -> None:
    """What becomes due by the step itself is done by the same step: a short action needs one message."""
    lab = one_shard(ScriptedPlugin("demo", queued(0, 0, "q"), running(0), success()))
    action = lab.submit("demo")
    step(lab)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_the_next_due_time_is_armed_once() -> None:
    """A step sends one countdown message for the earliest due time, and none while it is on its way."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    lab.submit("demo")
    lab.messenger.wakes.clear()
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]


def test_a_step_that_finds_nothing_arms_what_is_to_come() -> None:
    """When the armed message was lost, the next step that looks arms the due time again."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    lab.reconcile(action)
    lab.reconcile(action)
    lab.messenger.wakes.clear()
    lab.store._shards[0].armed = 0
    step(lab)
    assert lab.messenger.wakes == [Wake(0, 10.0)]


def test_without_draining_only_the_named_actions_are_done() -> None:
    """A worker that drives its own action on leaves the others of the shard alone."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    mine, other = lab.submit("demo"), lab.submit("demo")
    report = step(lab, [mine], drain=False)
    assert report.claimed == 1
    assert lab.get(mine).is_terminal
    assert not lab.get(other).is_terminal


def test_without_draining_others_that_are_due_get_a_message() -> None:
    """Whoever does not drain nudges: one message for the rest, unless one is on its way."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    first, second, _ = (lab.submit("demo") for _ in range(3))
    lab.messenger.wakes.clear()
    step(lab, [first], drain=False)
    assert lab.messenger.wakes == []  # the message of the submission is still on its way
    lab.clock.advance(4 * SECONDS)
    step(lab, [second], drain=False)
    assert lab.messenger.wakes == [Wake(0)]


def test_without_draining_nothing_due_needs_no_message() -> None:
    """A step of a lone action that has ended sends nothing."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    lab.messenger.wakes.clear()
    step(lab, [action], drain=False)
    assert not lab.messenger.wakes


def test_conditions_and_unknown_types_are_done_in_line() -> None:
    """What no plugin runs takes no thread."""
    lab = one_shard()
    condition = lab.run(ActionSpec(action_type=CONDITION, condition_spec=b"{}")).action
    unknown = lab.submit("nobody")
    step(lab)
    assert lab.get(condition).phase is ActionPhase.PAUSED
    assert lab.get(unknown).phase is ActionPhase.FAILED
    assert lab.engine.stepper._threads is None


# -- slow plugins ------------------------------------------------------------------------------------------------------
def test_a_slow_plugin_that_is_in_time_commits_with_its_step() -> None:
    """Handles in threads that end within the budget are part of the step."""
    slow = Slow()
    slow.may_go.set()
    lab = one_shard(slow)
    actions = [lab.submit("slow") for _ in range(3)]
    assert step(lab).committed == 3
    assert all(lab.get(action).is_terminal for action in actions)
    lab.engine.stepper.close()


def test_slow_handles_run_side_by_side() -> None:
    """Two slow handles of one batch are under way at the same time."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    lab.submit("slow")
    lab.submit("slow")
    step(lab)
    assert slow.entered.acquire(timeout=PATIENCE)
    assert slow.entered.acquire(timeout=PATIENCE)
    slow.may_go.set()
    lab.engine.stepper.close()


def test_a_slow_plugin_does_not_hold_up_its_batch() -> None:
    """The others of a batch are committed while a slow handle goes on; it commits by itself when it is done."""
    slow = Slow()
    lab = one_shard(
        slow, ScriptedPlugin("quick", success(), finalizes=False), step_budget=timedelta(milliseconds=1)
    )
    late, quick = lab.submit("slow"), lab.submit("quick")
    report = step(lab)
    assert report.committed == 1
    assert lab.get(quick).is_terminal
    assert not lab.get(late).is_terminal
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.get(late).is_terminal


def test_a_late_commit_arms_the_next_look() -> None:
    """An action that was committed late is looked at again like any other."""
    slow = Slow("slow", running(0))
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    lab.messenger.wakes.clear()
    lab.clock.advance(2 * SECONDS)
    slow.answers = [running(0, requeue_at=lab.clock() + 5000)]
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.messenger.wakes == [Wake(0, 5.0)]
    assert lab.get(action).phase is ActionPhase.RUNNING


def test_a_late_commit_wakes_what_is_due_by_then() -> None:
    """When a late commit finds others due it sends a message for them."""
    slow = Slow()
    lab = one_shard(
        slow, ScriptedPlugin("quick", success(), finalizes=False), step_budget=timedelta(milliseconds=1)
    )
    lab.submit("slow")
    step(lab)
    lab.submit("quick")
    lab.messenger.wakes.clear()
    slow.may_go.set()
    lab.engine.stepper.close()
    assert lab.messenger.wakes == [Wake(0)]


def test_a_late_commit_of_the_last_action_sends_nothing() -> None:
    """Nothing due, nothing sent."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    lab.submit("slow")
    step(lab)
    lab.messenger.wakes.clear()
    slow.may_go.set()
    lab.engine.stepper.close()
    assert not lab.messenger.wakes


def test_a_handle_slower_than_its_lease_is_superseded() -> None:
    """When another step took over in the meantime, the late result is dropped."""
    slow = Slow("slow", failure("E", "late"))
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    lab.clock.advance(11 * SECONDS)
    lab.store.claim(0, owner="other", limit=1)
    slow.may_go.set()
    lab.engine.stepper.close()
    assert not lab.get(action).is_terminal
    assert len(lab.events(action)) == 1


def test_a_store_that_fails_a_late_commit_is_survived() -> None:
    """A late commit that cannot be written ends with its claim: the action is due again when the lease ends."""
    slow = Slow()
    lab = one_shard(slow, step_budget=timedelta(milliseconds=1))
    action = lab.submit("slow")
    step(lab)
    commit = lab.store.commit

    def down(shard: int, writes: Sequence[Write]) -> CommitReport:
        raise StoreUnavailable(f"{shard} {len(writes)}")

    lab.store.commit = down  # type: ignore[method-assign]  # an outage
    slow.may_go.set()
    lab.engine.stepper.close()
    lab.store.commit = commit  # type: ignore[method-assign]  # it is over
    assert lab.store.due(0) == [(action, lab.clock() + 10_000)]


def test_a_handle_that_never_began_is_forgotten() -> None:
    """A process that ends drops the handles that wait for a thread; their claims end with their leases."""
    lab = one_shard()
    pending: Future[Write] = Future()
    pending.cancel()
    lab.engine.stepper._commit_late(0, pending)
    assert not lab.journal


def test_closing_without_threads_is_fine() -> None:
    """A stepper that never needed a thread closes, twice."""
    lab = one_shard()
    lab.engine.stepper.close()
    lab.engine.stepper.close()
    assert lab.engine.stepper._threads is None


# -- errors ------------------------------------------------------------------------------------------------------------
def break_rounds(lab: Lab, error: Exception, broken: ActionId | None = None) -> None:
    """Let the rounds of an action (or of all) raise."""
    inner = lab.reconciler.round

    def raising(action: Any, original: Any = None) -> Any:
        if broken in {None, action.id}:
            action.set_status(attempts=99)
            raise error
        return inner(action, original)

    lab.reconciler.round = raising  # type: ignore[method-assign]  # a fault of ours


@pytest.mark.spec("1")
def test_a_round_that_raises_leaves_the_record() -> None:
    """An unexpected error changes nothing of the record, is kept for operators, and is tried again soon."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"))
    step(lab)
    record = lab.get(action)
    assert (record.status.attempts, record.events, record.version) == (0, 1, 1)
    assert lab.store.due(0) == [(action, lab.clock() + 5)]
    assert [(e.reason, e.message) for e in lab.audit()] == [("RoundFailed", "ZeroDivisionError: oops")]


@pytest.mark.spec("1")
def test_a_round_that_keeps_raising_backs_off() -> None:
    """The delay doubles from 5 ms up to 1000 s, and never grows beyond."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"))
    delays = []
    for _ in range(21):
        step(lab)
        at = lab.store.due(0)[0][1]
        delays.append(at - lab.clock())
        lab.clock.move_to(at)
    assert delays[:4] == [5, 10, 20, 40]
    assert delays[-3:] == [1_000_000] * 3


@pytest.mark.spec("1")
def test_a_round_that_succeeds_starts_anew() -> None:
    """After a round without an error the next error waits the first delay again."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    good = lab.reconciler.round
    for broken in (True, True, False, True):
        lab.reconciler.round = good  # type: ignore[method-assign]  # whole again
        if broken:
            break_rounds(lab, ZeroDivisionError("oops"))
        step(lab, [action], drain=False)
        if broken:
            delay = lab.store.due(0)[0][1] - lab.clock()
    assert delay == 5


@pytest.mark.spec("1")
def test_one_round_that_raises_harms_no_other() -> None:
    """The others of a batch are committed."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    bad, good = lab.submit("demo"), lab.submit("demo")
    break_rounds(lab, ZeroDivisionError("oops"), bad)
    step(lab, drain=True)
    assert lab.get(good).is_terminal
    assert not lab.get(bad).is_terminal


def test_a_server_that_is_away_is_no_fault_of_the_action() -> None:
    """A round that meets an outage is tried again without a warning on the record."""
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    action = lab.submit("demo")
    break_rounds(lab, StoreUnavailable("away"))
    step(lab)
    assert not lab.audit()
    assert lab.store.due(0)[0] == (action, lab.clock() + 5)


def test_remembered_errors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many actions fail, a process remembers a bounded number of them: the newest."""
    monkeypatch.setattr("reconciler.controller.step._REMEMBERED_ERRORS", 2)
    lab = one_shard(ScriptedPlugin("demo", success(), finalizes=False))
    actions = [lab.submit("demo") for _ in range(3)]
    break_rounds(lab, ZeroDivisionError("oops"))
    for action in actions:
        step(lab, [action], drain=False)
    assert list(lab.engine.stepper._errors) == actions[1:]


def test_an_unreachable_store_ends_the_step() -> None:
    """A step whose store does not answer raises: whoever runs it decides what then."""
    lab = one_shard()

    def down(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    lab.store.claim = down  # type: ignore[method-assign]  # an outage
    with pytest.raises(StoreUnavailable):
        step(lab)


def test_a_lost_claim_is_counted() -> None:
    """A write under a token that is not the newest is refused and reported as superseded."""

    def robbed(ctx: TaskExecutionContext) -> PhaseInfo:
        lab.clock.advance(11 * SECONDS)
        lab.store.claim(0, owner="other", limit=1)
        return success(TaskInfo(occurred_at=ctx.now))

    lab = one_shard(ScriptedPlugin("demo", robbed))
    action = lab.submit("demo")
    report = step(lab)
    assert (report.claimed, report.committed, report.superseded) == (1, 0, 1)
    assert not lab.get(action).is_terminal


# -- messages ----------------------------------------------------------------------------------------------------------
def launcher() -> ScriptedPlugin:
    """A plugin that launches once."""

    def launch(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        return queued(ctx.now, 0, "sent")

    return ScriptedPlugin("worker", launch, running(0, requeue_at=2**42))


def test_launches_are_sent_after_the_commit() -> None:
    """No worker hears of a launch before the record says that it may report."""
    lab = one_shard(launcher())
    action = lab.submit("worker")
    known: list[str] = []
    launch = lab.messenger.launch

    def looking(launches: Sequence[Launch]) -> None:
        known.append(lab.get(action).attempt.launch)
        launch(launches)

    lab.messenger.launch = looking  # type: ignore[method-assign]  # looks
    step(lab)
    assert known == ["1"]
    assert lab.messenger.launches == [Launch("q1", str(action), "1", f"{action.run}/a0 attempt 1")]


def test_launches_of_a_batch_are_sent_together() -> None:
    """One call of the broker carries all launches of a commit."""

    def launch(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        return queued(ctx.now, 0, "sent")

    lab = one_shard(ScriptedPlugin("worker", launch, launch, launch, running(0)))
    calls: list[int] = []
    lab.messenger.launch = lambda launches: calls.append(len(launches))  # type: ignore[method-assign]  # counts
    for _ in range(3):
        lab.submit("worker")
    step(lab)
    assert calls == [3]


def test_a_refused_write_launches_nothing() -> None:
    """A launch whose commit was refused is never sent."""

    def robbed(ctx: TaskExecutionContext) -> PhaseInfo:
        ctx.send("q1")
        lab.clock.advance(11 * SECONDS)
        lab.store.claim(0, owner="other", limit=1)
        return queued(ctx.now, 0, "sent")

    lab = one_shard(ScriptedPlugin("worker", robbed))
    lab.submit("worker")
    step(lab)
    assert not lab.messenger.launches


def test_a_broker_that_is_down_is_survived() -> None:
    """Neither a launch nor a wake-up that cannot be sent fails the step: the record says what is owed."""
    lab = one_shard(launcher())
    action = lab.submit("worker")
    broker = lab.engine.stepper.messenger = Mute()
    step(lab)
    assert broker.asked >= 1
    assert lab.get(action).attempt.launch == "1"


def test_a_wake_up_that_cannot_be_sent_is_survived() -> None:
    """A countdown the broker refuses costs time only: the due time is stored."""
    lab = one_shard(ScriptedPlugin("demo", running(0)))
    action = lab.submit("demo")
    lab.engine.stepper.messenger = Mute()
    step(lab)
    assert lab.store.due(0) == [(action, lab.clock() + 10_000)]


# -- children ----------------------------------------------------------------------------------------------------------
def family(lab: Lab) -> tuple[ActionId, ActionId]:
    """A parent and its child."""
    parent = lab.submit("parent")
    child = lab.submit("child", run_name=parent.run, action_name="c1", parent_action_name="a0")
    return parent, child


@pytest.mark.spec("17.4")
@pytest.mark.parametrize("end", [success(), failure("E", "boom")], ids=["success", "failure"])
def test_no_child_outlives_its_parent(end: PhaseInfo) -> None:
    """When a parent ends, whatever is still open below it is aborted, saying why."""
    lab = one_shard(ScriptedPlugin("parent", running(0), end), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.settle()
    record = lab.get(child)
    assert lab.get(parent).is_terminal
    assert record.phase is ActionPhase.ABORTED
    assert record.status.conditions[-1].message == "TaskAction was aborted: parent a0 has ended"


@pytest.mark.spec("17.4")
def test_aborted_children_get_a_message() -> None:
    """The step that ends a parent wakes the children it aborts."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, _ = family(lab)
    lab.messenger.wakes.clear()
    lab.clock.advance(PENDING_TTL)
    step(lab, [parent], drain=False)
    assert Wake(0) in lab.messenger.wakes


@pytest.mark.spec("17.4")
def test_children_of_an_ended_parent_survive_the_death_of_the_step() -> None:
    """A step that dies right after the end of a parent leaves nobody running: the next step ends the children."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.reconcile(parent)
    assert lab.get(parent).phase is ActionPhase.SUCCEEDED
    lab.settle()
    assert lab.get(child).phase is ActionPhase.ABORTED


@pytest.mark.spec("17.4")
def test_children_that_are_aborted_already_need_no_message() -> None:
    """A child whose abort was asked for before costs no further message."""
    lab = one_shard(ScriptedPlugin("parent", success()), ScriptedPlugin("child", running(0)))
    parent, child = family(lab)
    lab.client.abort(child)
    lab.messenger.wakes.clear()
    step(lab, [parent], drain=False)
    assert lab.messenger.wakes == []


@pytest.mark.spec("17.4")
def test_ended_children_stay_as_they_ended() -> None:
    """A child that has succeeded is not touched by the end of its parent."""
    lab = one_shard(ScriptedPlugin("parent", running(0), success()), ScriptedPlugin("child", success()))
    _, child = family(lab)
    lab.settle()
    assert lab.get(child).phase is ActionPhase.SUCCEEDED


@pytest.mark.spec("W-05")
def test_the_finalizing_round_of_a_parent_aborts_nothing_again() -> None:
    """The round that pays the clean-up of an ended parent asks for no second abort."""
    lab = one_shard(
        ScriptedPlugin("parent", success()),
        ScriptedPlugin("child", running(0), on_abort=[ValueError("busy"), None]),
    )
    family(lab)
    asked: list[object] = []
    lab.store.on_write = lambda verb, detail: asked.append(detail) if verb == "request_abort" else None
    lab.settle()
    assert len(asked) == 1
