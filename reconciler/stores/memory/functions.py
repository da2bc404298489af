"""The twin: which worker can run which function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.stores.known import KEPT, LACKING, MOST_RELEASES, Found, Known
from reconciler.stores.memory.state import MemoryCore


@dataclass
class _Queue:
    """The workers of a queue: until when each lives, and its functions; `since`: from when on one always lived."""

    since: int = 0
    workers: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)

    def living(self, now: int) -> dict[str, tuple[int, dict[str, str]]]:
        """Name the living workers."""
        return {name: told for name, told in self.workers.items() if told[0] > now}


@dataclass
class _Release:
    """A release as it is published: until when it runs, since when, and its documents."""

    ends: int
    since: int
    documents: dict[str, bytes]


class Functions(MemoryCore):
    """The verbs for what workers can run, and what they publish of their functions."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # those of MemoryCore
        super().__init__(**options)
        self._told: dict[str, _Queue] = {}
        self._releases: dict[str, _Release] = {}

    def tell_functions(self, worker: str, queue: str, functions: Mapping[str, str], life: int) -> None:
        with self._lock:
            now, told = self.now(), self._told.setdefault(queue, _Queue())
            told.workers = told.living(now)
            if life:
                told.since = told.since if told.workers else now
                told.workers[worker] = (now + life, dict(functions))
            else:
                told.workers.pop(worker, None)
            self.wrote("tell_functions", (worker, queue))

    def living(self, queue: str) -> dict[str, dict[str, str]]:
        """Return what each living worker of a queue can run."""
        living = self._told.get(queue, _Queue()).living(self.now())
        return {worker: functions for worker, (_, functions) in living.items()}

    def find_function(self, queue: str, function: str) -> Known:
        with self._lock:
            told = self._told.get(queue, _Queue())
            living = told.living(self.now())
            digests = {functions[function] for _, functions in living.values() if function in functions}
            lacks = " ".join(functions.get(LACKING + function, "") for _, functions in living.values())
            since = told.since if living else 0
            return Known(len(living), since, tuple(sorted(digests)), tuple(sorted(set(lacks.split()))))

    def publish(self, release: str, documents: Mapping[str, bytes], life: int) -> bool:
        with self._lock:
            now, old = self.now(), self._releases.pop(release, None)
            if old is not None and old.ends + KEPT <= now:
                old = None
            if old is None and not documents:
                return False
            since = old.since if old is not None and old.ends > now else now
            kept = sorted(self._releases.items(), key=lambda item: item[1].ends, reverse=True)
            self._releases = {name: r for name, r in kept[: MOST_RELEASES - 1] if r.ends + KEPT > now}
            known = old.documents if old is not None else {}
            self._releases[release] = _Release(now + life, since, {**known, **documents})
            self.wrote("publish", release)
            return True

    def find_published(self, function: str) -> Found:
        with self._lock:
            now = self.now()
            releases = {name: r for name, r in self._releases.items() if r.ends + KEPT > now}

            def turn(name: str) -> tuple[bool, int, str]:
                release = releases[name]
                runs = release.ends > now
                return runs, release.since if runs else release.ends, name

            for name in sorted(releases, key=turn, reverse=True):
                if function in releases[name].documents:
                    return Found(releases[name].documents[function])
            return Found(names=tuple(sorted({name for r in releases.values() for name in r.documents})))
