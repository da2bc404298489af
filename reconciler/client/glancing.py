"""Look once at each queue, to tell of many actions which of them no worker will take."""

from __future__ import annotations

from functools import cache

from reconciler.api.action import TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.client.client import Client
from reconciler.client.describing import what_it_runs
from reconciler.core.why import STUCK, Surroundings, Why, why


class Glance:
    """Finds which actions of a list are stuck in their queue; reads once a queue and function, not once an action."""

    def __init__(self, client: Client) -> None:
        """Read nothing yet."""
        self._client = client
        self._look = cache(self._read)

    def stuck(self, record: TaskAction) -> Why | None:
        """Tell why no worker will take the launch of an action; None when one may, or when it waits for something else."""
        if record.phase is not ActionPhase.QUEUED or not record.attempt.launch or record.attempt.owner:
            return None
        queue, function = what_it_runs(self._client, record)
        around = self._look(queue, function) if queue else None
        found = why(record, around) if around is not None else None
        return found if found is not None and found.reason in STUCK else None

    def _read(self, queue: str, function: str) -> Surroundings | None:
        facts = self._client.queues(queue)[0]
        if not facts.waiting:  # what it launched was moved to another queue, or is being taken
            return None
        known = self._client.store.find_function(queue, function)
        return Surroundings(
            now=self._client.store.now(),
            queue=queue,
            function=function,
            paused=facts.paused,
            workers=known.workers,
            known=bool(known.digests or known.lacks),
        )
