"""Redis store: the lease of an attempt, from its start to its outcome; aborts and signals."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.api.action import ActionId, Deletion, Signal, TaskAction
from reconciler.stores.base import AbortOutcome, AbortReport, Finished, SignalOutcome, StartRefused
from reconciler.stores.beats import Beat
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore, open_json, pairs
from reconciler.stores.redis.scripts import pack, script
from reconciler.stores.timing import GRACE, PENDING_TTL

_REFUSED = tuple(StartRefused)
_ABORTED = tuple(AbortOutcome)
_SIGNALLED = tuple(SignalOutcome)
_LOOK_AT_ONCE = 2000
"""Actions one script call looks at; further calls do the others, so that Redis is never blocked for long."""


class Attempts(RedisCore):
    """The verbs of workers about attempts, and those of people about actions: abort and signal."""

    @explain
    def start_attempt(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> TaskAction | StartRefused:
        key, base = self.where(action)
        answer = script("start_attempt")(
            self.client, key, base, str(action), launch, owner, lease, GRACE, incarnation
        )
        if answer[0]:
            return _REFUSED[int(answer[0]) - 1]
        return self.decode(action, pairs(answer[1]), now=int(answer[2]))

    @explain
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
        key, base = self.where(action)
        alive, stop = script("heartbeat")(
            self.client, key, base, str(action), launch, owner, lease, GRACE, incarnation, progress
        )
        return Beat(bool(alive), stop.decode())

    @explain
    def finish_attempts(self, shard: int, owner: str, finished: Sequence[Finished]) -> tuple[bool, ...]:
        packed = [
            (
                str(one.action),
                one.launch,
                open_json(msgspec.structs.replace(one.outcome, at=0)).decode(),
                one.incarnation,
            )
            for one in finished
        ]
        key, base = self.keys.due(shard), self.keys.base(shard)
        return tuple(map(bool, script("finish_attempts")(self.client, key, base, owner, pack(packed))))

    @explain
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
        key, base = self.where(action)
        body = msgspec.json.encode({"why": why, "unfit": unfit, "lacks": lacks})[:-1]
        return bool(
            script("decline_attempt")(
                self.client, key, base, str(action), launch, owner, body, delay, incarnation
            )
        )

    @explain
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
        key, base = self.where(action)
        kept, _ = script("keep_step")(
            self.client, key, base, str(action), launch, owner, incarnation, name, value, int(alone)
        )
        return None if kept is None else bytes(kept)

    @explain
    def steps(self, action: ActionId) -> dict[str, bytes]:
        found: dict[bytes, bytes] = self.client.hgetall(self.keys.steps(action))  # type: ignore[assignment]  # raw answers
        return {name.decode(): value for name, value in found.items()}

    @explain
    def stop_attempt(self, action: ActionId, reason: str, *, incarnation: str = "") -> None:
        key, base = self.where(action)
        script("stop_attempt")(self.client, key, base, str(action), reason, incarnation)

    @explain
    def request_abort(
        self, action: ActionId, deletion: Deletion, *, quiet: bool = False, incarnation: str = ""
    ) -> AbortReport:
        key, base = self.where(action)
        body = open_json(msgspec.structs.replace(deletion, at=0, reason=deletion.reason or "aborted"))
        todo, marked, wake, outcomes = [str(action)], 0, False, list[AbortOutcome]()
        while todo:
            batch, todo = todo[:_LOOK_AT_ONCE], todo[_LOOK_AT_ONCE:]
            first, count, need, rest = script("request_abort")(
                self.client,
                *(key, base, pack(batch), body, _LOOK_AT_ONCE, 0 if quiet else PENDING_TTL, incarnation),
            )
            outcomes.append(_ABORTED[first])
            marked += count
            wake = wake or bool(need)
            todo += [path.decode() for path in rest]
        below = marked - (outcomes[0] is AbortOutcome.REQUESTED)
        return AbortReport(outcomes[0], below, (self.shard_of(action.run_id),) if wake else ())

    @explain
    def signal(self, action: ActionId, signal: Signal, *, incarnation: str = "") -> SignalOutcome:
        key, base = self.where(action)
        body = open_json(msgspec.structs.replace(signal, at=0))
        value = msgspec.json.encode(signal.value)
        outcome, _ = script("signal")(
            self.client, key, base, str(action), body, value, PENDING_TTL, incarnation
        )
        return _SIGNALLED[int(outcome)]
