"""The twin: the lease of an attempt, from its start to its outcome; aborts and signals."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from reconciler.api.action import ActionId, Deletion, Signal, TaskAction
from reconciler.api.attempt import Progress
from reconciler.api.hand_back import HandBack
from reconciler.stores.base import AbortOutcome, AbortReport, Finished, SignalOutcome, StartRefused
from reconciler.stores.beats import Beat
from reconciler.stores.memory.record import Launch, Record, copied
from reconciler.stores.memory.state import MemoryCore, Shard
from reconciler.stores.timing import GRACE


class Attempts(MemoryCore):
    """The verbs of workers about attempts, and those of people about actions: abort and signal."""

    def start_attempt(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> TaskAction | StartRefused:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            record = shard.records.get(path)
            refused = _refusal(record, launch, incarnation)
            if record is None or refused is not None:
                return refused or StartRefused.GONE
            shard.leave(path, record.line)
            shard.begin(path, owner, lease, now)
            self.wrote("start_attempt", (action, launch, owner))
            return record.view(now=now)

    def heartbeat(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        lease: int,
        incarnation: str = "",
        progress: bytes = b"",
    ) -> Beat:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            record = shard.records.get(path)
            ours = _ours(record, launch, owner, incarnation)
            if record is None or ours is None:
                return Beat(alive=False, stop="superseded")
            if ours.outcome is not None:  # no lease is left: the due time is that of what comes next
                return Beat(alive=True)
            ours.lease_until = now + lease
            if progress:
                said = msgspec.json.decode(progress, type=Progress)
                ours.progress = msgspec.structs.replace(said, at=now)
            if not record.held(now) and shard.due.get(path, now + 1) > now:
                # the step that would notice a silent worker moves along, never past what a step wants
                look = now + lease + GRACE
                shard.due[path] = min(look, ours.look_at or look)
            self.wrote("heartbeat", (action, launch, owner))
            aborted = "aborted" if record.metadata.deletion is not None else ""
            return Beat(alive=True, stop=ours.stop or aborted)

    def finish_attempts(self, shard: int, owner: str, finished: Sequence[Finished]) -> tuple[bool, ...]:
        with self._lock:
            recorded = tuple(self._finish(self._shards[shard], owner, one) for one in finished)
            self.wrote(
                "finish_attempts", (owner, tuple((one.action, one.launch) for one in finished), recorded)
            )
            return recorded

    def _finish(self, shard: Shard, owner: str, one: Finished) -> bool:
        now, path = self.now(), str(one.action)
        launch = _ours(shard.records.get(path), one.launch, owner, one.incarnation)
        if launch is None:
            return False
        if launch.outcome is None:
            launch.outcome = copied(msgspec.structs.replace(one.outcome, at=now))
            launch.lease_until = launch.look_at = 0
            shard.wake(path, now, now)
        return True

    def decline_attempt(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        why: str,
        delay: int,
        unfit: str = "",
        lacks: str = "",
        incarnation: str = "",
    ) -> bool:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            record = shard.records.get(path)
            ours = _ours(record, launch, owner, incarnation)
            if record is None or ours is None or ours.outcome is not None:
                return False
            until = now if record.stopping else now + delay
            ours.hand_backs += 1
            ours.handed_back = HandBack(why=why, until=until, unfit=unfit, lacks=lacks)
            _look_again(shard, path, until, now)
            self.wrote("decline_attempt", (action, launch, owner))
            return True

    def keep_step(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        name: str,
        value: bytes,
        alone: bool = False,
        incarnation: str = "",
    ) -> bytes | None:
        with self._lock:
            shard, path = self.shard(action), str(action)
            ours = _ours(shard.records.get(path), launch, owner, incarnation)
            if ours is None or ours.outcome is not None:
                return None
            steps = shard.steps.setdefault(path, {})
            if alone and name not in steps:
                steps.clear()
            kept = steps.setdefault(name, value)
            self.wrote("keep_step", (action, launch, name))
            return kept

    def steps(self, action: ActionId) -> dict[str, bytes]:
        with self._lock:
            return dict(self.shard(action).steps.get(str(action), {}))

    def stop_attempt(self, action: ActionId, reason: str, *, incarnation: str = "") -> None:
        with self._lock:
            record = self.shard(action).records.get(str(action))
            if record is not None and record.launch is not None and not record.another_life(incarnation):
                record.launch.stop = reason
                self.wrote("stop_attempt", (action, reason))

    def request_abort(
        self, action: ActionId, deletion: Deletion, *, quiet: bool = False, incarnation: str = ""
    ) -> AbortReport:
        with self._lock:
            now, shard, run = self.now(), self.shard(action), action.run_id
            stored = copied(msgspec.structs.replace(deletion, at=now, reason=deletion.reason or "aborted"))
            todo, outcomes = deque([action.action]), list[AbortOutcome]()
            while todo:
                name = todo.popleft()
                path = str(run.action(name))
                record = shard.records.get(path)
                if record is None or record.another_life(incarnation):
                    outcomes.append(AbortOutcome.MISSING)
                    continue
                outcomes.append(_mark(shard, record, stored, now))
                if record.has_children:
                    # also below an ended or marked parent: an earlier call may have stopped half way
                    children = sorted(m for m in shard.tree[run] if m.startswith(f"{name}/"))
                    todo.extend(child.rpartition("/")[2] for child in children)
            marked = outcomes.count(AbortOutcome.REQUESTED)
            wake = (self.shard_of(run),) if marked and not quiet and shard.need_message(now) else ()
            self.wrote("request_abort", (action, outcomes[0], marked))
            return AbortReport(outcomes[0], marked - (outcomes[0] is AbortOutcome.REQUESTED), wake)

    def signal(self, action: ActionId, signal: Signal, *, incarnation: str = "") -> SignalOutcome:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            record, answer = shard.records.get(path), copied(msgspec.structs.replace(signal, at=now))
            if record is None or record.another_life(incarnation):
                return SignalOutcome.MISSING
            refused = _unsignalled(record, answer)
            if refused is not None:
                return refused
            record.signal = answer
            shard.wake(path, now, now)
            shard.need_message(now)
            self.wrote("signal", (action, signal))
            return SignalOutcome.STORED


def _refusal(record: Record | None, launch: str, incarnation: str) -> StartRefused | None:
    """Say why a launch may not start; None when it may."""
    if record is None:
        return StartRefused.GONE
    if record.another_life(incarnation):
        return StartRefused.SUPERSEDED
    if record.ended:
        return StartRefused.ENDED
    if record.stopping:
        return StartRefused.ABORTING
    if record.launch is None or record.launch.name != launch:
        return StartRefused.SUPERSEDED
    return StartRefused.TAKEN if record.launch.owner else None


def _ours(record: Record | None, launch: str, owner: str, incarnation: str) -> Launch | None:
    """Find the launch for which this worker may still report; None when it was superseded."""
    return record.launch if record is not None and record.runs(launch, owner, incarnation) else None


def _look_again(shard: Shard, path: str, at: int, now: int) -> None:
    """End the lease of an attempt at once. The action is due when a step or the worker wants, whichever is sooner."""
    record = shard.records[path]
    if record.launch is not None:
        at = min(at, record.launch.look_at or at)
        record.launch.leave()
    if record.held_until:
        shard.wake(path, at, now)
    elif shard.due.get(path, now + 1) > now:
        shard.due[path] = at


def _mark(shard: Shard, record: Record, request: Deletion, now: int) -> AbortOutcome:
    """Store the request to end one action."""
    if record.ended:
        return AbortOutcome.ENDED
    if record.metadata.deletion is not None:
        return AbortOutcome.ALREADY
    record.set_metadata(deletion=request)
    shard.wake(str(record.id), now, now)
    return AbortOutcome.REQUESTED


def _unsignalled(record: Record, answer: Signal) -> SignalOutcome | None:
    """Say why a signal is not stored; None when it is (in the order of R54)."""
    if not record.is_condition:
        return SignalOutcome.NOT_A_CONDITION
    if record.signal is not None:
        same = (type(record.signal.value), record.signal.value) == (type(answer.value), answer.value)
        return SignalOutcome.SAME if same else SignalOutcome.OTHER
    ended = record.ended or record.metadata.deletion is not None
    return SignalOutcome.ENDED if ended else None
