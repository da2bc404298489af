"""Redis store: attempts that end together with the commit of their steps, in one script."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from redis.exceptions import ResponseError

from reconciler.stores import records
from reconciler.stores.base import CommitOutcome, Write
from reconciler.stores.concluding import Concluded, ConcludeReport, Ending
from reconciler.stores.redis.attempts import Attempts
from reconciler.stores.redis.changes import Change, change_of
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import open_json
from reconciler.stores.redis.scripts import pack, script
from reconciler.stores.redis.stepping import Stepping, packed

_DONE = list(CommitOutcome).index(CommitOutcome.DONE)
_ENDINGS = {_DONE: Ending.WRITTEN, 3: Ending.RECORDED, 4: Ending.SUPERSEDED}
"""By outcome of the script."""


class Concluding(Attempts, Stepping):
    """The verb of attempts that end with their steps."""

    @explain
    def conclude(self, shard: int, owner: str, ends: Sequence[Concluded]) -> ConcludeReport:
        changes = [
            packed(_change(one.write)) if one.write is not None else (str(one.finished.action),)
            for one in ends
        ]
        call = (*self.change_call(shard, changes), owner, pack([_end(one) for one in ends]))
        try:
            now, at, arm, outcomes, opened = script("conclude")(self.client, *call)
        except ResponseError:
            # full, or with foreign data under a key: what the steps meet too, and tell; the outcomes alone are taken
            taken = self.finish_attempts(shard, owner, [one.finished for one in ends])
            return ConcludeReport(tuple(Ending.RECORDED if one else Ending.SUPERSEDED for one in taken))
        done = [_DONE] * outcomes.count(_DONE)
        report = self.commit_report(shard, [now, at, arm, done, opened])
        return ConcludeReport(tuple(_ENDINGS[one] for one in outcomes), report)


def _change(write: Write) -> Change:
    """Compute what a write changes of a record that nobody has finished or claimed before it."""
    change = change_of(write)
    change.dels.extend((b"al", b"u"))
    if b"k" not in change.dels:
        change.sets.extend((b"k", change.token))
    outcome = write.original.attempt.outcome
    if b"ar" not in change.dels and outcome is not None:
        change.sets.extend((b"ar", records.encode_json(outcome)))
    return change


def _end(one: Concluded) -> tuple[str, ...]:
    finished, write = one.finished, one.write
    outcome = open_json(msgspec.structs.replace(finished.outcome, at=0)).decode()
    end = (finished.launch, outcome, finished.incarnation)
    if write is None:
        return (*end, "", "")
    before = write.original
    return (*end, str(before.token - 1), " ".join(before.metadata.finalizers))
