"""Quotas in the engine: who waits, who is woken, and that nothing is kept after its time (R70, R37)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, TaskAction
from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate, encode_template
from reconciler.api.transition import (
    PhaseInfo,
    failure,
    queued,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import (
    Allocation,
    Answer,
    Constraints,
    NoopResourceManager,
    NoopSecretManager,
    SecretUnavailable,
)
from reconciler.stores.base import CommitOutcome, Finished
from reconciler.testing import Lab, ScriptedPlugin

pytestmark = pytest.mark.rule("R70")
GPU = "gpu"
LEASE = 60_000


def holding(then: Callable[[TaskExecutionContext], PhaseInfo], **options: Any) -> ScriptedPlugin:
    """Return a plugin that asks for one `gpu` in each round, answers `then` once it has it, and never gives it back."""

    def handle(ctx: TaskExecutionContext) -> PhaseInfo:
        answer = ctx.allocate(GPU)
        return then(ctx) if answer.allocation is Allocation.GRANTED else ctx.wait_for(GPU, answer)

    return ScriptedPlugin("holder", handle, **{"finalizes": False, **options})


def runs(_: TaskExecutionContext) -> PhaseInfo:
    """Return an attempt that never ends by itself."""
    return running(0)


def lab_of(plugin: ScriptedPlugin, quota: str = "gpu=1") -> Lab:
    """Return a lab with a quota."""
    return Lab([plugin], quotas=(quota,))


def submitted(lab: Lab, count: int, **options: Any) -> list[ActionId]:
    """Return actions, each looked at once before the next one comes."""
    found = []
    for _ in range(count):
        found.append(lab.submit("holder", **options))
        lab.step()
        lab.clock.advance(1)
    return found


def phases(lab: Lab, actions: list[ActionId]) -> list[ActionPhase]:
    """Return their phases."""
    return [lab.get(action).phase for action in actions]


def fail_once(server: object, verb: str) -> list[str]:
    """Make the next call of a verb find its server away; return the list in which it is noted."""
    calls: list[str] = []
    real = getattr(server, verb)

    def away(*_: Any, **__: Any) -> Any:
        calls.append(verb)
        setattr(server, verb, real)
        raise StoreUnavailable("the store does not answer")

    setattr(server, verb, away)
    return calls


def free(lab: Lab) -> bool:
    """Whether a stranger would get a `gpu` now; it gives it back."""
    stranger = ActionId("p", "d", "stranger", "a0")
    manager = lab.reconciler.resource_manager
    answer = manager.allocate(GPU, "stranger", stranger)
    manager.release(GPU, "stranger")
    return answer.allocation is Allocation.GRANTED


def test_who_gets_nothing_waits() -> None:
    """An action beyond the quota is WAITING_FOR_RESOURCES, says for what, and costs no failure."""
    lab = lab_of(holding(runs))
    first, second = submitted(lab, 2)
    assert phases(lab, [first, second]) == [ActionPhase.RUNNING, ActionPhase.WAITING_FOR_RESOURCES]
    record = lab.get(second)
    assert '"gpu" is used up' in record.status.conditions[0].message
    assert record.status.total_system_failures == 0


def test_a_cap_makes_wait_as_well() -> None:
    """NamespaceQuotaExceeded is no system error: the action waits, and goes on when its project gives something back."""

    def handle(ctx: TaskExecutionContext) -> PhaseInfo:
        answer = ctx.allocate(GPU, constraints=Constraints(project_scope=1))
        return running(0) if answer.allocation is Allocation.GRANTED else ctx.wait_for(GPU, answer)

    lab = lab_of(ScriptedPlugin("holder", handle, finalizes=False), "gpu=9")
    first, second = submitted(lab, 2)
    assert phases(lab, [second]) == [ActionPhase.WAITING_FOR_RESOURCES]
    assert "cap of its project" in lab.get(second).status.conditions[0].message
    lab.client.abort(first, "enough")
    lab.step()
    lab.step()
    assert phases(lab, [second]) == [ActionPhase.RUNNING]
    assert lab.get(second).status.total_system_failures == 0


def test_the_longest_waiting_goes_on_at_once() -> None:
    """The end of a holder wakes who has waited longest, with a message, without anybody's polling; others stay."""
    lab = lab_of(holding(runs))
    first, second, third = submitted(lab, 3)
    sent = len(lab.messenger.wakes)
    lab.client.abort(first, "enough")
    now = lab.clock()
    lab.step()
    lab.step()
    assert lab.clock() == now
    assert len(lab.messenger.wakes) > sent
    assert phases(lab, [second, third]) == [ActionPhase.RUNNING, ActionPhase.WAITING_FOR_RESOURCES]


@pytest.mark.parametrize(
    "end",
    [success(), failure("Bad", "no"), retryable_failure("Bad", "no"), failure("Bad", "no", cleanup=True)],
    ids=["success", "failure", "last attempt", "cleanup"],
)
def test_every_end_gives_back(end: PhaseInfo) -> None:
    """Whatever ends an action frees its units in the same step, although its plugin never does."""
    lab = lab_of(holding(lambda _: end))
    [action] = submitted(lab, 1)
    record = lab.get(action)
    assert record.is_terminal
    assert record.status.quota_leases == ()
    assert free(lab)


def test_a_raising_plugin_gives_back_in_the_end() -> None:
    """A plugin that takes a unit and then raises keeps it through the retries, and loses it with the action."""

    def breaks(_: TaskExecutionContext) -> PhaseInfo:
        raise RuntimeError("broken")

    lab = lab_of(holding(breaks))
    [action] = submitted(lab, 1)
    assert [lease.held for lease in lab.get(action).status.quota_leases] == [True]
    assert not free(lab)
    lab.settle()
    assert phases(lab, [action]) == [ActionPhase.FAILED]
    assert free(lab)


def test_an_attempt_gives_back_before_the_next_one() -> None:
    """Between two attempts nothing is held: the next attempt asks anew, behind those who waited (R37)."""
    lab = lab_of(holding(runs))
    ends = {"now": False}

    def first_fails(ctx: TaskExecutionContext) -> PhaseInfo:
        return retryable_failure("Bad", "no") if ends["now"] and ctx.attempt_number == 1 else running(0)

    lab = lab_of(holding(first_fails))
    first, second = submitted(lab, 2, metadata=TaskMetadata(retries=RetryStrategy(retries=1)))
    ends["now"] = True
    lab.clock.advance(20_000)
    # alone: in one shard with it, the other would be looked at in the same step
    lab.engine.stepper.step(lab.store.shard_of(first.run_id), [first], drain=False)
    ends["now"] = False
    lab.step()
    lab.step()
    assert phases(lab, [first, second]) == [ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.RUNNING]
    assert [lease.held for lease in lab.get(first).status.quota_leases] == [False]


def test_a_relaunch_gives_back() -> None:
    """After a system failure the launch's units are free until the relaunch asks for its own."""
    lab = lab_of(holding(lambda _: system_retryable_failure("Gone", "node lost")))
    [action] = submitted(lab, 1)
    assert lab.get(action).status.launches == 1
    assert free(lab)


def test_an_aborted_waiter_leaves_the_line() -> None:
    """A waiting action that is aborted holds up nobody behind it."""
    lab = lab_of(holding(runs))
    first, second, third = submitted(lab, 3)
    lab.client.abort(second, "enough")
    lab.step()
    lab.client.abort(first, "enough")
    lab.step()
    lab.step()
    assert phases(lab, [third]) == [ActionPhase.RUNNING]


def test_what_is_not_finalized_is_held() -> None:
    """A plugin that has to finalize keeps its units until it could."""
    lab = lab_of(holding(lambda _: success(), finalizes=True, on_finalize=[RuntimeError("not yet"), None]))
    [action] = submitted(lab, 1)
    assert lab.get(action).is_terminal
    assert not free(lab)
    lab.settle()
    assert free(lab)


def test_leases_are_renewed_while_an_attempt_runs() -> None:
    """A holder that nothing wakes is looked at three times in a lease and keeps its unit for hours."""
    lab = lab_of(holding(lambda ctx: running(0, requeue_at=ctx.now + 100 * LEASE)))
    first, second = submitted(lab, 2)
    for _ in range(200):
        due = dict(lab.store.due(lab.store.shard_of(first.run_id)))[first]
        assert due <= lab.clock() + LEASE // 3
        lab.clock.move_to(due)
        lab.step()
    assert phases(lab, [first, second]) == [ActionPhase.RUNNING, ActionPhase.WAITING_FOR_RESOURCES]
    assert not free(lab)


def test_what_nobody_renews_is_free() -> None:
    """A unit that was granted in a round whose write got lost goes to the next one after the lease."""
    lab = lab_of(holding(runs))
    lost = ActionId("default", "development", "lost", "a0")
    lab.reconciler.resource_manager.allocate(GPU, "lost", lost)
    [action] = submitted(lab, 1)
    assert phases(lab, [action]) == [ActionPhase.WAITING_FOR_RESOURCES]
    until = lab.clock() + LEASE
    while phases(lab, [action]) != [ActionPhase.RUNNING]:
        shard = lab.store.shard_of(action.run_id)
        lab.clock.move_to(lab.store.due(shard, 1)[0][1])
        lab.step()
        assert lab.clock() <= until + 2


def test_a_superseded_write_gives_nothing_back() -> None:
    """A step that lost its claim frees no units of an action that goes on under another claim."""
    lab = lab_of(holding(runs))
    [action] = submitted(lab, 1)
    shard = lab.store.shard_of(action.run_id)
    stale = lab.store.claim(shard, owner="stale", limit=0, named=[action]).actions[0]
    lab.clock.advance(11_000)
    assert lab.store.claim(shard, owner="newer", limit=0, named=[action]).actions
    ended = stale.copy()
    ended.set_status(quota_leases=())
    write = lab.reconciler.round(ended, stale)[1]
    write.action.set_status(quota_leases=())
    _, accepted, refused = lab.engine.stepper.commit(shard, [write])
    assert (accepted, refused) == (0, 1)
    assert lab.store.commit(shard, [write]).outcomes == (CommitOutcome.SUPERSEDED,)
    assert not free(lab)


@pytest.mark.rule("R37")
def test_what_could_not_be_given_back_is_free_after_its_lease() -> None:
    """An end stands though the quotas do not answer; the unit goes to the next one when its lease ends."""
    done: list[bool] = []
    lab = lab_of(holding(lambda _: success() if done else running(0)))
    first, second = submitted(lab, 2)
    granted = lab.clock()
    done.append(True)
    away = fail_once(lab.quotas, "release")
    lab.reconcile(first)
    assert away == ["release"]
    assert phases(lab, [first, second]) == [ActionPhase.SUCCEEDED, ActionPhase.WAITING_FOR_RESOURCES]
    assert not free(lab)
    while lab.get(second).phase is ActionPhase.WAITING_FOR_RESOURCES:
        lab.clock.move_to(lab.store.due(lab.store.shard_of(second.run_id), 1)[0][1])
        lab.step()
    assert lab.get(second).is_terminal
    assert lab.clock() <= granted + LEASE + 2


@pytest.mark.rule("R70")
def test_who_waits_looks_without_being_woken() -> None:
    """When the next in line cannot be made due, it looks by itself and gets the unit that was given back."""
    done: list[bool] = []
    lab = lab_of(holding(lambda _: success() if done else running(0)))
    first, second = submitted(lab, 2)
    done.append(True)
    due = dict(lab.store.due(lab.store.shard_of(second.run_id)))[second]
    away = fail_once(lab.store, "wake")
    lab.reconcile(first)
    assert away == ["wake"]
    assert lab.get(first).phase is ActionPhase.SUCCEEDED
    assert dict(lab.store.due(lab.store.shard_of(second.run_id)))[second] == due
    lab.settle()
    assert lab.get(second).phase is ActionPhase.SUCCEEDED


def test_an_unknown_resource_ends_with_the_remedy() -> None:
    """Without a quota the action fails after bounded retries, and its error names the setting."""
    lab = Lab([holding(runs)])
    action = lab.submit("holder")
    lab.settle()
    record = lab.get(action)
    assert record.phase is ActionPhase.FAILED
    assert record.status.error_state is not None
    assert "RECONCILER_QUOTAS" in record.status.error_state.message


def test_without_tokens_nothing_is_asked() -> None:
    """Actions that need no quota cost the resource manager no call."""
    lab = Lab([ScriptedPlugin("plain", queued(0, 0, "sent"), running(0), success(), finalizes=False)])
    calls: list[str] = []

    class Watched(NoopResourceManager):
        def renew(self, *_: Any, **__: Any) -> None:
            calls.append("renew")

        def release(self, *_: Any, **__: Any) -> tuple[ActionId, ...]:
            calls.append("release")
            return ()

    lab.reconciler.resource_manager = Watched()
    action = lab.submit("plain")
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED
    assert calls == []


# -- the function plugin ---------------------------------------------------------------------------------------------


def call(lab: Lab, **custom: Any) -> ActionId:
    """Submit a call of a function."""
    template = TaskTemplate(type="function", custom={"function": "f", **custom})
    spec = ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")
    action = lab.run(spec).action
    lab.step()
    lab.clock.advance(1)
    return action


def test_a_function_is_launched_once_it_has_its_units() -> None:
    """A function that needs a resource is sent to its queue when the unit is granted; its end lets the next one start."""
    lab = Lab(quotas=("gpu=2",))
    first, second = call(lab, resource=GPU, units=2), call(lab, resource=GPU)
    assert [entry.action for entry in lab.journal.of("launch")] == [str(first)]
    assert lab.get(second).phase is ActionPhase.WAITING_FOR_RESOURCES
    taken = lab.store.start_attempt(first, "1", owner="w", lease=6000)
    assert isinstance(taken, TaskAction)
    outcome = AttemptOutcome(ended="raised", code="Bad", message="no", retryable=False)
    lab.store.finish_attempts(lab.store.shard_of(first.run_id), "w", [Finished(first, "1", outcome)])
    lab.step()
    lab.step()
    assert [entry.action for entry in lab.journal.of("launch")] == [str(first), str(second)]


def test_an_impossible_number_of_units_fails_at_once() -> None:
    """A function that needs more units than there are fails with a message that says so."""
    lab = Lab(quotas=("gpu=2",))
    record = lab.get(call(lab, resource=GPU, units=3))
    assert record.phase is ActionPhase.FAILED
    assert record.status.error_state is not None
    assert record.status.error_state.code == "BadTaskSpecification"


# -- the defaults ----------------------------------------------------------------------------------------------------


def test_noop_manager_grants_everything() -> None:
    """The default resource manager has the name of Flyte's, enforces no quota, and holds nothing."""
    manager, owner = NoopResourceManager(), ActionId("p", "d", "r", "a")
    assert manager.id == "executor-noop-resource-manager"
    manager.register_quota(GPU, 0)
    assert manager.allocate(GPU, "t", owner) == Answer(Allocation.GRANTED)
    manager.renew(GPU, "t", owner)
    assert manager.release(GPU, "t") == ()


def test_noop_secrets_fail_loudly() -> None:
    """The default secret manager answers no lookup, and names the key."""
    with pytest.raises(SecretUnavailable, match='no-op secret manager, cannot resolve "db"'):
        NoopSecretManager().get("db")
