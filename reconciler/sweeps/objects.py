"""Remove the objects of forgotten actions from S3, if the installation wants it (spec 16).

Removed is what lies in the two folders of an action: that of its inputs, and that of its attempts with outputs, error, log,
and what the function stored there. Kept are the objects of tasks that are cached, as the catalog refers to the attempt that
filled a key, whatever became of its action; and those in a folder the submitter chose, as others may have chosen it, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import ReconcilerError
from reconciler.core.paths import output_prefix
from reconciler.plugins.context import template_or_none
from reconciler.stores.base import BlobStore, Store

log = structlog.get_logger(__name__)
_AT_ONCE = 8
"""Actions whose objects are removed at the same time: S3 takes milliseconds for each request."""


class Removed(StrEnum):
    """What became of the objects of one action."""

    DELETED = "deleted"
    ALREADY_GONE = "already_gone"
    FAILED = "failed"


def remove_objects(store: Store, blobs: BlobStore, actions: Sequence[TaskAction]) -> Counter[Removed]:
    """Remove the objects of actions whose records are gone; returns how many actions had which outcome.

    One failure keeps no other from being removed. What fails is not tried again, as nothing names it any more.

    Raises:
        StoreUnavailable: the store does not answer; nothing was removed.
    """
    ours = [action for action in actions if _removable(blobs, action)]
    again = store.get_many(
        [action.id for action in ours]
    )  # a name may be in use again, with the same folders
    doomed = [action for action, found in zip(ours, again, strict=True) if found is None]
    if not doomed:
        return Counter()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="collect") as pool:
        return Counter(pool.map(lambda action: _remove(blobs, action), doomed))


def _removable(blobs: BlobStore, action: TaskAction) -> bool:
    template = template_or_none(action)
    if template is None or (template.metadata is not None and template.metadata.discoverable):
        return False
    return action.spec.run_output_base == blobs.uri(action.id.project, action.id.domain, action.id.run)


def _remove(blobs: BlobStore, action: TaskAction) -> Removed:
    base, name = action.spec.run_output_base, action.id.action
    attempt = output_prefix(action.metadata.namespace, action.metadata.name, base, name, 1)
    try:
        removed = sum(
            blobs.delete_prefix(folder) for folder in (attempt.rpartition("/")[0], f"{base}/{name}")
        )
    except ReconcilerError as error:
        log.warning("collect.objects_failed", action=str(action.id), error=str(error))
        return Removed.FAILED
    return Removed.DELETED if removed else Removed.ALREADY_GONE
