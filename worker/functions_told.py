"""Publish in the registry of functions what this worker can run, as long as it lives (decision 0009)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from reconciler.core.liveness import LIFE
from reconciler.core.published import release_of
from reconciler.stores.base import Store
from reconciler.stores.known import LACKING


class FunctionsTold:
    """The published facts about a worker, for each queue it takes attempts from.

    Args:
        worker: its node name.
        functions: name → digest of the interface.
        queues: the queues at the moment: `celery control add_consumer` may add some.
        documents: what is to be known of the functions where their code is not, by name; stored once for all workers
            that say the same, and kept for a day after the last of them, so that they may be submitted meanwhile.
        lacks: names the secrets a function would lack at the moment.
    """

    def __init__(
        self,
        worker: str,
        functions: Mapping[str, str],
        queues: Callable[[], Iterable[str]],
        documents: Mapping[str, bytes],
        lacks: Callable[[str], Sequence[str]] = lambda _: (),
    ) -> None:
        self._worker = worker
        self._functions = functions
        self._queues = queues
        self._told: set[str] = set()
        self._documents = documents
        self._lacks = lacks
        self._release = release_of(documents)

    def tell(self, store: Store) -> set[str]:
        """Publish for another 15 s; return the queues that are new. A queue that is no longer consumed is withdrawn at once.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        queues = set(self._queues())
        for queue in self._told - queues:
            store.tell_functions(self._worker, queue, {}, 0)
        functions = self._able()
        for queue in queues:
            store.tell_functions(self._worker, queue, functions, LIFE * 1000)
        new, self._told = queues - self._told, queues
        if self._documents and not store.publish(self._release, {}, LIFE * 1000):
            store.publish(self._release, self._documents, LIFE * 1000)
        return new

    def _able(self) -> dict[str, str]:
        lacking = {name: " ".join(self._lacks(name)) for name in self._functions}
        return {
            (LACKING if lacking[name] else "") + name: lacking[name] or digest
            for name, digest in self._functions.items()
        }

    def take_back(self, store: Store) -> None:
        """Publish that it can run nothing any more."""
        for queue in self._told:
            store.tell_functions(self._worker, queue, {}, 0)
