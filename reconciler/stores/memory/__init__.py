"""The in-memory twin of the record store: the reference to read, and the store of simulations."""

from reconciler.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
