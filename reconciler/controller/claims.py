"""The claim and the commit of a single action; `Stepper` claims and commits whole batches (R2, R6)."""

from __future__ import annotations

from reconciler.api.action import FINALIZER, ActionId, TaskAction
from reconciler.api.errors import ActionNotFound, Superseded
from reconciler.controller.dependencies import Dependencies
from reconciler.controller.tokens import give_back
from reconciler.stores.base import CommitOutcome, Store, Write


def claim_if_free(store: Store, action: ActionId) -> TaskAction | None:
    """Claim one action, due or not; None when there is none, another step holds it, or it has ended and owes nothing."""
    report = store.claim(store.shard_of(action.run_id), owner="reconcile", limit=0, named=[action])
    return report.actions[0] if report.actions else None


def claim_one(store: Store, action: ActionId) -> TaskAction:
    """Claim one action, due or not.

    Raises:
        ActionNotFound: there is no such record.
        Superseded: another step holds it, or it has ended and owes nothing.
    """
    claimed = claim_if_free(store, action)
    if claimed is not None:
        return claimed
    found = store.get(action)
    if found is None:
        raise ActionNotFound(action)
    if found.is_terminal and FINALIZER not in found.metadata.finalizers:
        raise Superseded(f"{action} has ended; nothing of it can change any more")
    raise Superseded(f"another step holds {action}; it will be looked at again when that step ends")


def commit_one(deps: Dependencies, write: Write) -> None:
    """Commit a single write.

    Raises:
        Superseded: a newer claim holds the action.
        ActionNotFound: the record is gone.
    """
    shard = deps.store.shard_of(write.action.id.run_id)
    outcome = deps.store.commit(shard, [write]).outcomes[0]
    if outcome is CommitOutcome.GONE:
        raise ActionNotFound(write.action.id)
    if outcome is CommitOutcome.SUPERSEDED:
        raise Superseded(f"a newer claim holds {write.action.id}; nothing was written")
    give_back(deps.resource_manager, deps.store, [write])
