"""A reconcile step: a batch of rounds of one shard, claimed and committed in one round trip each (R2).

The step takes the actions named in its message and whatever else is due, until nothing is or its time is used up. Handles
that may block run side by side in threads; one that takes longer commits on its own when done, under its own fencing token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import msgspec
import structlog

from reconciler import metrics
from reconciler.api.action import CONDITION, ActionId, TaskAction
from reconciler.api.errors import ReconcilerError, Unavailable
from reconciler.broker.messages import Messenger
from reconciler.controller import failures
from reconciler.controller.ahead import Ahead, Batches, Committed, StepReport, Turns
from reconciler.controller.cache_config import asks_cache
from reconciler.controller.concurrency import Slots
from reconciler.controller.delays import Delays
from reconciler.controller.handles import Handles
from reconciler.controller.joined import FEW, Budget, Joined
from reconciler.controller.launches import Followers, followed, tally, tell_ended, tell_lost
from reconciler.controller.quota_leases import give_back
from reconciler.controller.reconciler import TaskActionReconciler
from reconciler.controller.traced import trace
from reconciler.controller.wakes import Wakes
from reconciler.controller.webhook import owes_call
from reconciler.plugins.registry import PluginNotFound
from reconciler.stores.base import ClaimReport, CommitOutcome, CommitReport, Write
from reconciler.stores.lines import Head
from reconciler.stores.writable import UNWRITABLE, check_writable
from reconciler.tickets import announce

log = structlog.get_logger(__name__)


class Stepper:
    """Runs reconcile steps. One per process; safe to use from many threads.

    Args:
        reconciler: the rules.
        messenger: sends the messages of a step.
        owner: who claims, for the journal of the store in memory.
        turns: the store, where it can work while rounds are played.
    """

    def __init__(
        self,
        reconciler: TaskActionReconciler,
        messenger: Messenger,
        *,
        owner: str = "step",
        turns: Turns | None = None,
    ) -> None:
        self.reconciler = reconciler
        self.store = reconciler.store
        self.messenger = messenger
        self.owner = owner
        settings = reconciler.settings
        self.wakes = Wakes(self.store, messenger)
        self._batch = settings.step_batch
        self.slots = Slots(settings.max_concurrent_reconciles)
        self._ahead = Ahead(turns, self.slots, self._batch, self) if turns is not None else None
        self._budget = settings.step_budget.total_seconds()
        self.on_lost: Callable[[TaskAction, TaskAction], None] | None = None
        """Told of each launch whose worker was lost: the action before, and after. Must be quick, and not raise."""
        self.followers: Followers = {}
        self.announce: Callable[[Sequence[Head]], object] = lambda heads: announce(
            self.store, self.messenger, heads
        )
        self._delays = Delays()
        self._joined = Joined()
        self._handles = Handles(settings.step_lease.total_seconds() / 2)

    def limit(self, max_concurrent_reconciles: int) -> None:
        """Allow at most this many actions at a time, over all shards and threads (R2)."""
        self.slots.lower(max_concurrent_reconciles)

    def step(
        self,
        shard: int,
        named: Sequence[ActionId] = (),
        *,
        drain: bool = True,
        make_way: Callable[[], None] | None = None,
    ) -> StepReport:
        """Work on what is due in a shard, within the budget.

        Args:
            shard: its number.
            named: what to look at although it is not due.
            drain: whether to look at more than the named actions.
            make_way: called before anything that may take long; maybe more than once.

        Raises:
            StoreUnavailable: the store does not answer; claims end with their leases.
        """
        metrics.stepped()
        if not drain:
            return self._step(shard, named, Budget(self._budget, shard, None), drain=False)
        if not self._joined.enter(shard, named):
            return StepReport()
        try:
            more: Sequence[ActionId] | None = named
            while more is not None:
                budget = Budget(self._budget, shard, self._joined, make_way)
                if more is not named:
                    budget.make_way()
                report = self._step(shard, more, budget, drain=True)
                more = self._joined.leave(shard)
        except BaseException:
            self._joined.give_up(shard)
            raise
        return report

    def _step(self, shard: int, named: Sequence[ActionId], budget: Budget, *, drain: bool) -> StepReport:
        total, first = StepReport(), True
        while True:
            budget.go_on(total.claimed)
            claim = self._claim(shard, named, budget, first=first, drain=drain)
            if claim is None:
                (self.wakes.wake if drain else self.wakes.wake_overdue)(shard)
                return msgspec.structs.replace(total, again=True)
            named, first = (), False
            if not claim.actions:
                if claim.arm:
                    self.wakes.arm(shard, claim.next_due, claim.now)
                return total
            batches = self._batches_of(shard, claim.actions, budget, drain=drain)
            report, total = batches.report, total.plus(batches)
            if not drain:
                if report is not None and 0 < report.next_due <= report.now:
                    self.wakes.wake_overdue(shard)
                return total
            if report is not None and not 0 < report.next_due <= report.now:
                return total
            if budget.over():
                if not budget.asked():
                    self.wakes.wake(shard)
                return msgspec.structs.replace(total, again=True)

    def _claim(
        self, shard: int, named: Sequence[ActionId], budget: Budget, *, first: bool, drain: bool
    ) -> ClaimReport | None:
        """Claim as many due actions as this process has room for; the rest stays due. None: there was no room in time."""
        wanted = max(1, len(named) + (self._batch if drain else 0))
        if not (room := self.slots.take(wanted, 0)):
            budget.make_way()
            room = self.slots.take(wanted, budget.left())
        if not room:
            return None
        named = named[:room]
        limit = min(self._batch, room - len(named)) if drain else 0
        claimed = 0
        try:
            claim = self.store.claim(shard, owner=self.owner, limit=limit, named=named, first=first and drain)
            claimed = len(claim.actions)
        finally:
            self.slots.give(room - claimed)
        return claim

    # -- a batch ---------------------------------------------------------------------------------------------------
    def _batches_of(self, shard: int, actions: list[TaskAction], budget: Budget, *, drain: bool) -> Batches:
        """Run a batch, and as many after it as can be overlapped with it."""
        batches = Batches(actions)
        if len(actions) >= min(FEW, self._batch) or not all(map(self.is_inline, actions)):
            budget.make_way()
        if drain and self._ahead is not None:
            self._ahead.run(shard, batches, budget)
        if batches.rest:
            batches.told(*self._batch_of(shard, batches.rest, budget))
        return batches

    def fits(self, actions: list[TaskAction]) -> bool:
        """Tell whether a batch is full, so that more may be due, and whether its rounds wait for nothing."""
        return len(actions) >= self._batch and all(map(self.is_inline, actions))

    def _batch_of(
        self, shard: int, actions: list[TaskAction], budget: Budget
    ) -> tuple[CommitReport | None, int, int]:
        """Run one batch; return the report of the last commit, and the numbers of accepted and refused writes."""
        running: list[Future[Write]] = []
        try:
            return self._rounds(shard, actions, running, budget)
        finally:
            self.slots.give(len(actions) - len(running))
            for future in running:  # also those that outlast the step
                future.add_done_callback(lambda _: self.slots.give(1))

    def _rounds(
        self, shard: int, actions: list[TaskAction], running: list[Future[Write]], budget: Budget
    ) -> tuple[CommitReport | None, int, int]:
        """Do the work of `_batch_of`; rounds in threads of their own are added to `running`."""
        quick, slow = list[TaskAction](), list[TaskAction]()
        for action in actions:
            (quick if self.is_inline(action) else slow).append(action)
        running += [self._handles.submit(self.play, action) for action in slow]
        writes = [self.play(action) for action in quick]
        report, done, refused = None, 0, 0
        if writes:
            report, done, refused = self.commit(shard, writes)
        if running:
            finished = budget.wait(running)
            late = [future.result() for future in running if future in finished]
            for future in running:
                if future not in finished:
                    future.add_done_callback(lambda f: self._commit_late(shard, f))
            if late:
                report, more, lost = self.commit(shard, late)
                done, refused = done + more, refused + lost
        return report, done, refused

    def is_inline(self, action: TaskAction) -> bool:
        """Tell whether a round of an action waits for nothing but the store."""
        if action.spec.action_type == CONDITION:
            return not owes_call(action, action.now)
        if asks_cache(self.reconciler, action):
            return False
        try:
            plugin = self.reconciler.plugin_registry.resolve(action.spec.task_type)
        except PluginNotFound:
            return True
        return plugin.properties.inline

    def play(self, action: TaskAction) -> Write:
        """Play one round; an unexpected error leaves the record as it was, due again after a growing delay (R4)."""
        original = action.copy()
        try:
            _, write = self.reconciler.round(action, original)
        except Unavailable as error:
            log.warning("round.unavailable", action=str(action.id), error=str(error))
            return self._delays.put_off(original, error, self.reconciler.recorder)
        except Exception as error:
            log.exception("round.failed", action=str(action.id))
            return self._delays.put_off(original, error, self.reconciler.recorder)
        self._delays.forget(action.id)
        return write

    # -- after a batch ---------------------------------------------------------------------------------------------
    def commit(self, shard: int, writes: list[Write]) -> Committed:
        """Commit writes, and do what `accept` does; one that cannot be encoded becomes a failure (R59).

        Raises:
            StoreUnavailable: the store does not answer; claims end with their leases.
        """
        with followed(writes, self.followers):
            try:
                report = self.store.commit(shard, writes)
            except UNWRITABLE:  # nothing was sent
                writes = [self.storable(write) for write in writes]
                report = self.store.commit(shard, writes)
            return self.accept(shard, writes, report)

    def accept(self, shard: int, writes: list[Write], report: CommitReport) -> Committed:
        """Do what follows committed writes: messages, tickets, units of quotas that became free."""
        accepted = [w for w, o in zip(writes, report.outcomes, strict=True) if o is CommitOutcome.DONE]
        if self.on_lost is not None:
            tell_lost(accepted, self.on_lost)
        tell_ended(accepted, self.followers)
        if metrics.enabled():
            tally(accepted, report)
        trace(shard, accepted, report)
        if report.opened:
            self.announce(report.opened)
        for woken in give_back(self.reconciler.resource_manager, self.store, accepted):
            self.wakes.wake(woken)
        if report.arm:
            self.wakes.arm(shard, report.next_due, report.now)
        return report, len(accepted), len(writes) - len(accepted)

    def storable(self, write: Write) -> Write:
        """Return a write that can be encoded, or a failure in its place: one bad write must not spoil its batch (R59)."""
        try:
            check_writable(write)
        except UNWRITABLE as error:
            log.exception("round.failed", action=str(write.action.id))
            count = partial(failures.unwritable, error=error)
            _, instead = self.reconciler.round(write.original.copy(), write.original, count)
            instead.asked = write.asked  # what the lost round was granted is given back
            return instead
        return write

    def _commit_late(self, shard: int, future: Future[Write]) -> None:
        if future.cancelled():
            return  # the process ends before it began: its claim ends with its lease
        try:
            report, _, _ = self.commit(shard, [future.result()])
            if 0 < report.next_due <= report.now:
                self.wakes.wake(shard)
        except ReconcilerError as error:
            log.warning("round.late_commit_failed", error=str(error))

    def close(self) -> None:
        """End the handle threads once they are done."""
        self._handles.close()
