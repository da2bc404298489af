"""A commit and a claim behind it, sent together and answered later: see `controller/ahead.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.stores.base import ClaimReport, CommitReport, Write
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.scripts import script
from reconciler.stores.redis.sent import Sent
from reconciler.stores.redis.stepping import Stepping


class RedisTurn:
    """A commit and a claim in flight.

    Args:
        store: whose they are.
        shard: whose records.
        writes: what is committed.
        limit: most actions to claim.
    """

    def __init__(self, store: Stepping, shard: int, writes: Sequence[Write], limit: int) -> None:
        self.url = store.url
        self._store = store
        self._shard = shard
        self._writes = writes
        self._claim = store.claim_call(shard, limit, horizon=0)
        commit = [script("commit").command(*store.commit_call(shard, writes))] if writes else []
        self._sent = Sent(store.client, [*commit, script("claim").command(*self._claim)])

    @explain
    def answers(self) -> tuple[CommitReport | None, ClaimReport]:
        """Wait for both; the report of the commit is None when nothing was to be written."""
        answers = self._sent.answers() or [None, None]  # both may be repeated (docs/guarantees.md)
        return self._committed(answers[0]) if self._writes else None, self._claimed(answers[-1])

    def _committed(self, answer: list[Any] | None) -> CommitReport:
        if answer is None:
            return self._store.commit(self._shard, self._writes)
        return self._store.commit_report(self._shard, answer)

    def _claimed(self, answer: list[Any] | None) -> ClaimReport:
        return self._store.claim_report(answer or script("claim")(self._store.client, *self._claim))

    def give_up(self) -> None:
        """Give up both answers."""
        self._sent.give_up()


class Turns(Stepping):
    """The verb that sends the commit of a step together with its next claim."""

    @property
    def sends_ahead(self) -> bool:
        """Tell whether a commit may be in flight while more is decided: not where each waits for replicas."""
        return self.settings.durability != "safe"

    @explain
    def begin(self, shard: int, writes: Sequence[Write], limit: int) -> RedisTurn:
        """Send both; the claim arms no countdown.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        return RedisTurn(self, shard, writes, limit)
