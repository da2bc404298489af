"""List recent losses: workers that vanished, and clean-ups that are stuck or were given up."""

from __future__ import annotations

from typing import Final

from reconciler.api.action import ActionId
from reconciler.api.event import AuditEntry
from reconciler.core.documents import Document
from reconciler.core.retries import WORKER_LOST
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.redis.surveying import CleanUp

_READ: Final = 50
"""Newest warnings of each shard that are read, and actions due next."""
_SHOWN: Final = 20
_DAY: Final = 24 * 3600 * 1000
_SOON: Final = 30_000
"""How long a plugin may say that it is still stopping before that is worth a word, ms."""
_GIVEN_UP: Final = frozenset({"CleanupFailed", "FinalizationSkipped"})


def losses_document(store: RedisStore, now: int) -> Document:
    """Write the leases that were lost within a day, and the clean-ups that are stuck or were given up."""
    warnings = [entry for entry in store.warnings(_READ) if entry.at > now - _DAY]
    lost = [entry for entry in warnings if f"[{WORKER_LOST}]" in entry.message]
    going_on = store.cleaning_up(_READ)
    return {
        "lost": {
            "count": len(lost),
            "newest": [_told(entry) for entry in lost[:_SHOWN]],
        },
        "cleanups": [
            *(_stuck(action, one) for action, one in going_on.items() if _is_stuck(one, now)),
            *({**_told(entry), "given_up": True} for entry in warnings if entry.reason in _GIVEN_UP),
        ][:_SHOWN],
    }


def _is_stuck(one: CleanUp, now: int) -> bool:
    return one.cleanup_tries > 0 or one.stopping_since < now - _SOON


def _stuck(action: ActionId, one: CleanUp) -> Document:
    text = "its plugin says that it is still stopping"
    if one.cleanup_tries:
        times = "once" if one.cleanup_tries == 1 else f"{one.cleanup_tries} times"
        text = f"its clean-up failed {times}, and is tried again"
    return {"action": str(action), "at": one.stopping_since, "message": text, "given_up": False}


def _told(entry: AuditEntry) -> Document:
    return {"action": str(entry.id), "at": entry.at, "message": entry.message}
