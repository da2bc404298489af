"""Write the signs of life of this worker for `reconciler doctor`, which trusts each for 15 s."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from reconciler.core.liveness import LIFE, WorkerFacts, digests, read_facts, release
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore


class Liveness:
    """The liveness key of one worker.

    Args:
        worker: its node name.
        settings: those it runs with.
        queues: asked each time; those it consumes. `celery control cancel_consumer` takes some away.
        slots: asked each time; how many things it can run side by side. `celery control pool_shrink` takes some away.
        functions: how many functions of users it can run; None when it runs no attempts.
        resources: of which it knows a quota; None when it cannot tell.
        troubles: asked each time; what the worker could not do.
    """

    def __init__(
        self,
        worker: str,
        settings: Settings,
        queues: Callable[[], Iterable[str]],
        *,
        slots: Callable[[], int | None] = lambda: None,
        functions: int | None = None,
        resources: tuple[str, ...] | None = None,
        troubles: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._worker = worker
        self._queues, self._slots, self._troubles = queues, slots, troubles
        self._said = 0
        self._twin, self._twin_until = "", 0.0
        self._facts = WorkerFacts(
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=int(time.time() * 1000),
            release=release(),
            settings=digests(settings),
            functions=functions,
            resources=resources,
        )

    def say(self, store: RedisStore) -> None:
        """Extend this worker's life by 15 s, and find out who else lives under its name."""
        facts = msgspec.structs.replace(
            self._facts,
            queues=tuple(sorted(self._queues())),
            slots=self._slots(),
            troubles=tuple(self._troubles()),
            twin=self._twin,
        )
        before = store.say_alive(self._worker, msgspec.json.encode(facts), LIFE)
        self._said += 1
        self._look_for_a_twin(before)
        if self._twin != facts.twin:
            told = msgspec.structs.replace(facts, twin=self._twin)
            store.say_alive(self._worker, msgspec.json.encode(told), LIFE)

    def end(self, store: RedisStore) -> None:
        """Remove the liveness key."""
        store.say_alive(self._worker, b"", 0)

    def _look_for_a_twin(self, before: bytes) -> None:
        """Remember who spoke under our name since we did, for as long as our own word counts.

        Whoever looks between two words of ours shall see it, also when the other is slow to speak again.
        """
        now = time.monotonic()
        other = read_facts(before) if before else self._facts
        if self._is_twin(other):
            self._twin, self._twin_until = other.process, now + LIFE
        elif not before or now >= self._twin_until:
            self._twin = ""

    def _is_twin(self, other: WorkerFacts) -> bool:
        """Tell whether another process has spoken under our name since we did.

        At our first time it may be the one we follow, which was killed: only if its process lives beside us is it none.
        """
        mine = self._facts
        if (other.pid, other.host, other.started_at) == (mine.pid, mine.host, mine.started_at):
            return False
        if self._said > 1:
            return True
        return other.host == mine.host and other.pid != mine.pid and Path(f"/proc/{other.pid}").exists()
