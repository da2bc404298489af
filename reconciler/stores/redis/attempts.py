"""Redis store: the lease of an attempt, from its start to its outcome; aborts and signals."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionId, AttemptOutcome, Deletion, Signal, TaskAction
from reconciler.stores.base import AbortOutcome, AbortReport, Beat, SignalOutcome, StartRefused
from reconciler.stores.changes import GRACE, PENDING_TTL
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore, open_json, pairs
from reconciler.stores.redis.scripts import pack, script

_REFUSED = tuple(StartRefused)
_ABORTED = tuple(AbortOutcome)
_SIGNALLED = tuple(SignalOutcome)
_LOOK_AT_ONCE = 2000
"""Actions one script call looks at; further calls do the others, so that Redis is never blocked for long."""


class Attempts(RedisCore):
    """start_attempt, heartbeat, finish_attempt, decline_attempt, stop_attempt, request_abort, signal."""

    @explain
    def start_attempt(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> TaskAction | StartRefused:
        """See `Store.start_attempt`."""
        key, base = self.where(action)
        answer = script("start_attempt")(
            self.client, key, base, str(action), launch, owner, lease, GRACE, incarnation
        )
        if answer[0]:
            return _REFUSED[int(answer[0]) - 1]
        return self.decode(action, pairs(answer[1]), now=int(answer[2]))

    @explain
    def heartbeat(
        self, action: ActionId, launch: str, *, owner: str, lease: int, incarnation: str = ""
    ) -> Beat:
        """See `Store.heartbeat`."""
        key, base = self.where(action)
        alive, stop = script("heartbeat")(
            self.client, key, base, str(action), launch, owner, lease, GRACE, incarnation
        )
        return Beat(bool(alive), stop.decode())

    @explain
    def finish_attempt(
        self, action: ActionId, launch: str, *, owner: str, outcome: AttemptOutcome, incarnation: str = ""
    ) -> bool:
        """See `Store.finish_attempt`."""
        key, base = self.where(action)
        body = open_json(msgspec.structs.replace(outcome, at=0))
        return bool(
            script("finish_attempt")(self.client, key, base, str(action), launch, owner, body, incarnation)
        )

    @explain
    def decline_attempt(
        self, action: ActionId, launch: str, *, owner: str, why: str, delay: int, incarnation: str = ""
    ) -> bool:
        """See `Store.decline_attempt`."""
        key, base = self.where(action)
        body = msgspec.json.encode({"why": why})[:-1]
        return bool(
            script("decline_attempt")(
                self.client, key, base, str(action), launch, owner, body, delay, incarnation
            )
        )

    @explain
    def stop_attempt(self, action: ActionId, reason: str, *, incarnation: str = "") -> None:
        """See `Store.stop_attempt`."""
        key, base = self.where(action)
        script("stop_attempt")(self.client, key, base, str(action), reason, incarnation)

    @explain
    def request_abort(
        self, action: ActionId, deletion: Deletion, *, quiet: bool = False, incarnation: str = ""
    ) -> AbortReport:
        """See `Store.request_abort`."""
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
    def signal(self, action: ActionId, signal: Signal) -> SignalOutcome:
        """See `Store.signal`."""
        key, base = self.where(action)
        body = open_json(msgspec.structs.replace(signal, at=0))
        value = msgspec.json.encode(signal.value)
        outcome, _ = script("signal")(self.client, key, base, str(action), body, value, PENDING_TTL)
        return _SIGNALLED[int(outcome)]
