"""The in-memory store: all verbs of `stores.base.Store` on dictionaries."""

from __future__ import annotations

from reconciler.stores.memory.archiving import Archiving
from reconciler.stores.memory.concluding import Concluding
from reconciler.stores.memory.creating import Creating
from reconciler.stores.memory.functions import Functions
from reconciler.stores.memory.garbage import GarbageNotes
from reconciler.stores.memory.holding import Holding
from reconciler.stores.memory.lines import QueueLines


class MemoryStore(Creating, Concluding, QueueLines, Functions, GarbageNotes, Archiving, Holding):
    """The store to read, used by simulations and fast tests: one process, nothing survives it.

    It holds records with named fields (`Record`), knows nothing of how Redis lays them out, and passes the same conformance
    suite. One lock makes each verb atomic. Time passes only as the given clock says.

    Attributes:
        on_write: called with the verb and a detail of it after each verb that may write was applied, still
            under the lock. It may raise: the write stands, and its caller never hears of it, as in a crash.
    """

    def close(self) -> None:
        """Do nothing; the twin has it."""
