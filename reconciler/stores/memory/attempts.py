"""The twin: the lease of an attempt, from its start to its outcome; aborts and signals."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from reconciler.api.action import ActionId, Deletion, Signal, TaskAction
from reconciler.api.hand_back import HandBack
from reconciler.stores import records
from reconciler.stores.base import AbortOutcome, AbortReport, Beat, Finished, SignalOutcome, StartRefused
from reconciler.stores.changes import GRACE
from reconciler.stores.memory.state import MemoryCore, Shard, another_life, held, number, terminal
from reconciler.stores.records import Fields


class Attempts(MemoryCore):
    """The verbs of workers about attempts, and those of people about actions: abort and signal."""

    def start_attempt(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> TaskAction | StartRefused:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            fields = shard.records.get(path)
            refused = _refusal(fields, launch, incarnation)
            if fields is None or refused is not None:
                return refused or StartRefused.GONE
            shard.leave(path, fields)
            shard.begin(path, owner, lease, now)
            self.wrote("start_attempt", (action, launch, owner))
            return self.decode(path, fields, now)

    def heartbeat(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> Beat:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            fields = shard.records.get(path)
            if fields is None or not _is_ours(fields, launch, owner, incarnation):
                return Beat(alive=False, stop="superseded")
            fields[b"al"] = b"%d" % (now + lease)
            if not held(fields, now) and shard.due.get(path, now + 1) > now:
                # the step that would notice a silent worker moves along, never past what a step wants
                look = now + lease + GRACE
                shard.due[path] = min(look, number(fields, b"u", look))
            self.wrote("heartbeat", (action, launch, owner))
            if b"ax" in fields:
                return Beat(alive=True, stop=fields[b"ax"].decode())
            return Beat(alive=True, stop="aborted" if b"d" in fields else "")

    def finish_attempts(self, shard: int, owner: str, finished: Sequence[Finished]) -> tuple[bool, ...]:
        with self._lock:
            recorded = tuple(self._finish(self._shards[shard], owner, one) for one in finished)
            self.wrote(
                "finish_attempts", (owner, tuple((one.action, one.launch) for one in finished), recorded)
            )
            return recorded

    def _finish(self, shard: Shard, owner: str, one: Finished) -> bool:
        now, path = self.now(), str(one.action)
        fields = shard.records.get(path)
        if fields is None or not _is_ours(fields, one.launch, owner, one.incarnation):
            return False
        if b"ar" not in fields:
            fields[b"ar"] = records.encode_json(msgspec.structs.replace(one.outcome, at=now))
            fields[b"al"] = b"0"
            shard.wake(path, now, now)
        return True

    def decline_attempt(
        self, action: ActionId, launch: str, *, owner: str, why: str, delay: int, incarnation: str = ""
    ) -> bool:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            fields = shard.records.get(path)
            if fields is None or not _may_decline(fields, launch, owner, incarnation):
                return False
            stops = b"ax" in fields or b"d" in fields
            until = now if stops else now + delay
            fields[b"ad"] = b"%d" % (number(fields, b"ad") + 1)
            fields[b"ah"] = records.encode_json(HandBack(why=why, until=until))
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
            fields = shard.records.get(path)
            if fields is None or not _is_ours(fields, launch, owner, incarnation) or b"ar" in fields:
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
            fields = self.shard(action).records.get(str(action))
            if fields is not None and b"n" in fields and not another_life(fields, incarnation):
                fields[b"ax"] = reason.encode()
                self.wrote("stop_attempt", (action, reason))

    def request_abort(
        self, action: ActionId, deletion: Deletion, *, quiet: bool = False, incarnation: str = ""
    ) -> AbortReport:
        with self._lock:
            now, shard, run = self.now(), self.shard(action), action.run_id
            stored = msgspec.structs.replace(deletion, at=now, reason=deletion.reason or "aborted")
            todo, outcomes = deque([action.action]), list[AbortOutcome]()
            while todo:
                name = todo.popleft()
                path = str(run.action(name))
                fields = shard.records.get(path, {})
                if another_life(fields, incarnation):
                    outcomes.append(AbortOutcome.MISSING)
                    continue
                outcomes.append(_mark(shard, path, records.encode_json(stored), now))
                if b"b" in fields:
                    # also below an ended or marked parent: an earlier call may have stopped half way
                    children = sorted(m for m in shard.tree[run] if m.startswith(f"{name}/"))
                    todo.extend(child.rpartition("/")[2] for child in children)
            marked = outcomes.count(AbortOutcome.REQUESTED)
            wake = (self.shard_of(run),) if marked and not quiet and shard.need_message(now) else ()
            self.wrote("request_abort", (action, outcomes[0], marked))
            return AbortReport(outcomes[0], marked - (outcomes[0] is AbortOutcome.REQUESTED), wake)

    def signal(self, action: ActionId, signal: Signal) -> SignalOutcome:
        with self._lock:
            now, shard, path = self.now(), self.shard(action), str(action)
            fields = shard.records.get(path)
            value = msgspec.json.encode(signal.value)
            refused = _unsignalled(fields, value)
            if fields is None or refused is not None:
                return refused or SignalOutcome.MISSING
            fields[b"g"] = records.encode_json(msgspec.structs.replace(signal, at=now))
            fields[b"gv"] = value
            shard.wake(path, now, now)
            shard.need_message(now)
            self.wrote("signal", (action, signal))
            return SignalOutcome.STORED


def _refusal(fields: Fields | None, launch: str, incarnation: str) -> StartRefused | None:
    """Tell why a launch may not start; None when it may."""
    if fields is None:
        return StartRefused.GONE
    if another_life(fields, incarnation):
        return StartRefused.SUPERSEDED
    if terminal(fields):
        return StartRefused.ENDED
    if b"d" in fields or b"ax" in fields:
        return StartRefused.ABORTING
    if fields.get(b"n") != launch.encode():
        return StartRefused.SUPERSEDED
    return StartRefused.TAKEN if b"ao" in fields else None


def _is_ours(fields: Fields, launch: str, owner: str, incarnation: str) -> bool:
    """Tell whether this worker may still report for the attempt."""
    if terminal(fields) or another_life(fields, incarnation):
        return False
    return fields.get(b"n") == launch.encode() and fields.get(b"ao") == owner.encode()


def _may_decline(fields: Fields, launch: str, owner: str, incarnation: str) -> bool:
    """Tell whether this worker holds the launch, and has not reported."""
    return _is_ours(fields, launch, owner, incarnation) and b"ar" not in fields


def _look_again(shard: Shard, path: str, at: int, now: int) -> None:
    """End the lease of an attempt at once. The action is due as a step or the worker wants, whatever is sooner."""
    fields = shard.records[path]
    at = min(at, number(fields, b"u", at))
    for name in (b"ao", b"al", b"as", b"u"):
        fields.pop(name, None)
    if b"l" in fields:
        shard.wake(path, at, now)
    elif shard.due.get(path, now + 1) > now:
        shard.due[path] = at


def _mark(shard: Shard, path: str, request: bytes, now: int) -> AbortOutcome:
    """Store the request to end one action."""
    fields = shard.records.get(path)
    if fields is None:
        return AbortOutcome.MISSING
    if terminal(fields):
        return AbortOutcome.ENDED
    if b"d" in fields:
        return AbortOutcome.ALREADY
    fields[b"d"] = request
    shard.wake(path, now, now)
    return AbortOutcome.REQUESTED


def _unsignalled(fields: Fields | None, value: bytes) -> SignalOutcome | None:
    """Tell why a signal is not stored; None when it is (the order of R54)."""
    if fields is None:
        return SignalOutcome.MISSING
    if b"y" not in fields:
        return SignalOutcome.NOT_A_CONDITION
    if b"g" in fields:
        return SignalOutcome.SAME if fields[b"gv"] == value else SignalOutcome.OTHER
    return SignalOutcome.ENDED if terminal(fields) or b"d" in fields else None
