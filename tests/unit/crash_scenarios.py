"""Stories of actions from submit to end, each with a plugin that owns things outside: what a crash may leave behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

from reconciler.api.action import CONDITION, ActionId, ActionSpec, AttemptOutcome
from reconciler.api.approval import ConditionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import (
    Interface,
    RetryStrategy,
    TaskMetadata,
    TaskTemplate,
    Timeouts,
    encode_template,
)
from reconciler.api.transition import (
    PhaseInfo,
    TaskInfo,
    Transition,
    failure,
    queued,
    retryable_failure,
    running,
    success,
    system_retryable_failure,
)
from reconciler.controller.conclude import Ended, conclude
from reconciler.plugins.base import Plugin, PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation
from reconciler.plugins.registry import PluginEntry
from reconciler.stores.base import Finished
from reconciler.stores.lines import GivenBack, Served
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.sweeps.resync import resync
from reconciler.testing import Crash, Lab
from reconciler.tickets import announce

MINUTE = timedelta(minutes=1)
Script = Callable[[TaskExecutionContext, int], PhaseInfo]
"""What a job says in its n-th round that was stored, from 0. It may raise."""


class Cloud(Plugin):
    """Jobs of a service outside. The plugin object is the service: it outlives each worker.

    Attributes:
        jobs: name → `running` or `stopped`; forgotten when finalized.
        started: names, in order.
    """

    id = "cloud"
    properties = PluginProperties(inline=True)

    def __init__(self, script: Script, needs: str = "") -> None:
        self._script, self._needs = script, needs
        self.jobs: dict[str, str] = {}
        self.started: list[str] = []

    @property
    def entry(self) -> PluginEntry:
        """Its registry entry."""
        return PluginEntry(id=self.id, task_types=("cloud",), load=lambda: self)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Start the job of this launch unless it is there, and ask it."""
        if self._needs:
            answer = ctx.allocate(self._needs)
            if answer.allocation is not Allocation.GRANTED:
                return Transition(ctx.wait_for(self._needs, answer))
        if ctx.generated_name not in self.jobs:
            self.started.append(ctx.generated_name)
        self.jobs[ctx.generated_name] = "running"
        rounds = ctx.state.get(int) or 0
        ctx.state.put(1, rounds + 1)
        return Transition(self._script(ctx, rounds))

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Stop the job of this launch, if there is one."""
        if ctx.generated_name in self.jobs:
            self.jobs[ctx.generated_name] = "stopped"

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """Forget the job of this launch."""
        self.jobs.pop(ctx.generated_name, None)


class CloudLab(Lab):
    """A lab with a cloud and a cache."""

    def __init__(self, crash: Crash, script: Script, *, needs: str = "", **settings: Any) -> None:
        self.cloud = Cloud(script, needs)
        shelf = MemoryCatalog(clock=self._time)
        super().__init__([self.cloud.entry], crash=crash, catalog=shelf, **settings)

    def _time(self) -> int:
        return self.clock()

    def job(self, task_type: str = "cloud", **spec: Any) -> ActionId:
        """Submit a job."""
        return self.submit(task_type, **spec)

    def cached(self, *, serializable: bool = False) -> ActionId:
        """Submit a job whose outputs are cached; all of them are the same call."""
        policy = TaskMetadata(discoverable=True, cache_serializable=serializable)
        interface = Interface(inputs={"x": "int"}, outputs={"o0": "int"})
        return self.job(inputs={"x": 1}, metadata=policy, interface=interface)

    def played(self) -> CloudLab:
        """Play a lab until nothing is due any more, and return it."""
        self.settle()
        return self


# -- what jobs say -----------------------------------------------------------------------------------------------------
def at_once(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Succeed in the first round."""
    del ctx, rounds
    return success()


def by_and_by(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Wait, run, and succeed."""
    return [queued(ctx.now, 0, "sent"), running(0), success()][min(rounds, 2)]


def for_ever(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Run for ever."""
    del ctx, rounds
    return running(0)


def for_ever_once(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Run for ever in the first attempt."""
    return running(0) if not rounds or ctx.attempt_number == 1 else success()


def in_line(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Stay in line and never begin to run."""
    del rounds
    return queued(ctx.now, 0, "sent")


def second_attempt(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Fail the first attempt, then succeed."""
    if not rounds:
        return running(0)
    return retryable_failure("Flaky", "no route to host") if ctx.attempt_number == 1 else success()


def never_well(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Fail each attempt."""
    del ctx
    return retryable_failure("Flaky", "no route to host") if rounds else running(0)


def lost_once(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Lose the first launch by the platform's fault."""
    if not rounds:
        return running(0)
    lost = system_retryable_failure("WorkerLost", "the machine is gone")
    return success() if ctx.action.status.launches else lost


def always_lost(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Lose each launch by the platform's fault."""
    del ctx
    return system_retryable_failure("WorkerLost", "the machine is gone") if rounds else running(0)


def unreachable(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Asking for it fails."""
    del ctx, rounds
    raise ConnectionError("the cloud does not answer")


def wrong(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Fail for good, with a job that must be stopped."""
    del ctx
    return failure("Wrong", "no such bucket", cleanup=True) if rounds else running(0)


def with_outputs(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
    """Run, and succeed with outputs."""
    if not rounds:
        return running(0)
    return success(TaskInfo(occurred_at=ctx.now, outputs=ctx.files.write_outputs(b'{"o0":1}', 4096)))


# -- stories -----------------------------------------------------------------------------------------------------------
def job(script: Script, **given: Any) -> Callable[[Crash], CloudLab]:
    """Run one job of the cloud."""

    def story(crash: Crash) -> CloudLab:
        lab = CloudLab(crash, script)
        lab.job(**given)
        return lab.played()

    return story


def quota(crash: Crash) -> CloudLab:
    """Three jobs, and room for one at a time."""
    lab = CloudLab(crash, by_and_by, needs="gpu", quotas=("gpu=1",))
    for _ in range(3):
        lab.job()
    return lab.played()


def served(crash: Crash) -> CloudLab:
    """Fill the cache by one job; the next takes its outputs from there."""
    lab = CloudLab(crash, with_outputs)
    for _ in range(2):
        lab.cached()
        lab.settle()
    return lab


def serialized(crash: Crash) -> CloudLab:
    """Three equal calls at once: one runs, the others wait for it."""
    lab = CloudLab(crash, with_outputs)
    for _ in range(3):
        lab.cached(serializable=True)
    return lab.played()


def abandoned_cache(crash: Crash) -> CloudLab:
    """Who would fill the cache is aborted while another waits for it; that one runs then."""

    def script(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
        return running(0) if ctx.action.id.run == "lab-1" else with_outputs(ctx, rounds)

    lab = CloudLab(crash, script)
    first = lab.cached(serializable=True)
    lab.reconcile(first)
    lab.cached(serializable=True)
    lab.step()
    lab.program(lambda client: client.abort(first, "no longer wanted", actor="ada"))
    return lab.played()


def aborted_unseen(crash: Crash) -> CloudLab:
    """Abort it before any worker looked at it."""
    lab = CloudLab(crash, for_ever)
    action = lab.job()
    lab.program(lambda client: client.abort(action, "oops", actor="ada"))
    return lab.played()


def aborted_running(crash: Crash) -> CloudLab:
    """Abort it while its job runs, perhaps before the record says that it does."""
    lab = CloudLab(crash, for_ever, needs="gpu", quotas=("gpu=1",))
    action = lab.job()
    lab.step()
    lab.program(lambda client: client.abort(action, "wrong bucket", actor="ada"))
    return lab.played()


def cascade(crash: Crash) -> CloudLab:
    """Abort a parent with its two children and a grandchild."""
    lab = CloudLab(crash, for_ever)
    parent = lab.job()
    for name, above in (("c1", "a0"), ("c2", "a0"), ("g1", "c1")):
        lab.job(run_name=parent.run, action_name=name, parent_action_name=above)
    for action in lab.submitted:
        lab.reconcile(action)
    lab.program(lambda client: client.abort(parent, "stop all", actor="ada"))
    return lab.played()


def orphans(crash: Crash) -> CloudLab:
    """End a parent while its child runs: the child is aborted."""

    def script(ctx: TaskExecutionContext, rounds: int) -> PhaseInfo:
        return by_and_by(ctx, rounds) if ctx.action.id.action == "a0" else running(0)

    lab = CloudLab(crash, script)
    parent = lab.job()
    lab.job(run_name=parent.run, action_name="c1", parent_action_name="a0")
    return lab.played()


def group(crash: Crash) -> CloudLab:
    """Run a map of three jobs below a root."""
    lab = CloudLab(crash, by_and_by)
    template = encode_template(TaskTemplate(type="cloud"))
    spec = ActionSpec(task_type="cloud", task_template=template, inputs=b"{}")
    run = lab.program(lambda client: client.submit_many([spec] * 3, idempotency_key="album"))
    lab.submitted += [run.action, *(run.action.run_id.action(f"m{n}") for n in range(3))]
    return lab.played()


def window(crash: Crash) -> CloudLab:
    """Children that their parent starts itself, two at a time."""
    lab = CloudLab(crash, by_and_by)
    template = encode_template(TaskTemplate(type="cloud"))
    spec = ActionSpec(task_type="cloud", task_template=template)
    run = lab.program(
        lambda client: client.submit_map(spec, [b"{}"] * 5, concurrency=2, idempotency_key="album")
    )
    lab.submitted += [run.action, *(run.action.run_id.action(f"m{n}") for n in range(5))]
    return lab.played()


def condition(*, answered: bool) -> Callable[[Crash], CloudLab]:
    """Ask a question that is answered, or times out."""

    def story(crash: Crash) -> CloudLab:
        lab = CloudLab(crash, at_once)
        asked = msgspec.json.encode(ConditionSpec(name="go", prompt="Go on?", timeout=timedelta(hours=1)))
        action = lab.run(ActionSpec(action_type=CONDITION, condition_spec=asked)).action
        lab.reconcile(action)
        if answered:
            lab.program(lambda client: client.signal(action, value=True, by="ada"))
        return lab.played()

    return story


def function(crash: Crash) -> CloudLab:
    """Draw functions together; one is given back, one reports, and one worker dies with what it had drawn."""
    # of so many deaths none shall be one too many
    lab = CloudLab(crash, at_once, max_system_failures=99, max_total_system_failures=999)
    template = encode_template(TaskTemplate(type="function", custom={"function": "demo.f"}))
    spec = ActionSpec(task_type="function", task_template=template, inputs=b"{}")
    run = lab.program(lambda client: client.submit_many([spec] * 5, idempotency_key="album"))
    lab.submitted += [run.action, *(run.action.run_id.action(f"m{n}") for n in range(5))]
    while not all(lab.get(action).phase.is_terminal() for action in lab.submitted):
        lab.step()
        lab.program(lambda _: resync(lab.engine.store, lab.engine.messenger))  # heads that nobody announced
        lab.program(lambda _: _work(lab))
        lab.step()
        due = lab.store.due(lab.store.shard_of(run.action.run_id), 1)
        lab.clock.move_to(due[0][1] if due else 0)
    return lab.played()


def _work(lab: CloudLab) -> None:
    """Play one worker: it runs what it draws together and gives half back; the first ones it takes down with itself."""
    store, owner = lab.engine.store, "worker"
    served: tuple[Served, ...] = ()
    while (pick := store.pick("attempts", served=served, first=True)).line:
        drawn = store.draw(pick.shard, pick.line, owner=owner, limit=2, lease=6000)
        served = (Served(drawn.head, drawn.left, len(drawn.actions)),)
        ran, rest = drawn.actions[:1], drawn.actions[1:]
        if rest:
            back = [GivenBack(one.id, one.attempt.launch, one.metadata.incarnation) for one in rest]
            announce(
                store,
                lab.engine.messenger,
                store.give_back(pick.shard, pick.line, owner=owner, launches=back),
            )
        done = AttemptOutcome(ended="returned")
        told = [
            Finished(one.id, one.attempt.launch, done)
            for one in ran
            if one.id.action != "m4" or one.status.launches
        ]
        if [one.action.action for one in told] == ["m1"]:  # of a worker of the release before
            store.finish_attempts(pick.shard, owner, told)
            continue
        ended = [Ended(one, end, lab.clock()) for one, end in zip(ran, told, strict=False)]
        conclude(lab.engine.stepper, pick.shard, owner, ended, lambda call: call())


S, F, A, T = ActionPhase.SUCCEEDED, ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT
TWICE = TaskMetadata(retries=RetryStrategy(retries=1, backoff=MINUTE))


def within(**limits: timedelta) -> TaskMetadata:
    """Return a template with these time limits."""
    return TaskMetadata(timeouts=Timeouts(**limits))


STORIES: dict[str, tuple[Callable[[Crash], CloudLab], list[ActionPhase]]] = {
    "success at once": (job(at_once), [S]),
    "queued, running, success": (job(by_and_by), [S]),
    "user retry": (job(second_attempt, metadata=TWICE), [S]),
    "user retries used up": (job(never_well, metadata=TWICE), [F]),
    "relaunch": (job(lost_once), [S]),
    "system budget used up by launches": (job(always_lost), [F]),
    "system budget used up by errors": (job(unreachable), [F]),
    "permanent failure with cleanup": (job(wrong), [F]),
    "no such plugin": (job(at_once, task_type="nobody's"), [F]),
    "timed out in line": (job(in_line, metadata=within(queued=MINUTE)), [T]),
    "timed out running": (job(for_ever, metadata=within(running=MINUTE)), [T]),
    "timed out running, then tried again": (
        job(for_ever_once, metadata=msgspec.structs.replace(TWICE, timeouts=Timeouts(running=MINUTE))), [S],
    ),
    "timed out overall": (job(never_well, metadata=msgspec.structs.replace(TWICE, timeouts=Timeouts(overall=MINUTE))), [T]),
    "quota waiting": (quota, [S, S, S]),
    "cache miss and hit": (served, [S, S]),
    "cache serialized": (serialized, [S, S, S]),
    "cache given up": (abandoned_cache, [A, S]),
    "abort unseen": (aborted_unseen, [A]),
    "abort running": (aborted_running, [A]),
    "abort cascade": (cascade, [A, A, A, A]),
    "parent ends first": (orphans, [S, A]),
    "group": (group, [S, S, S, S]),
    "map, two at a time": (window, [S, S, S, S, S, S]),
    "condition answered": (condition(answered=True), [S]),
    "condition timed out": (condition(answered=False), [T]),
    "functions drawn and relaunched": (function, [S, S, S, S, S, S]),
}  # fmt: skip
