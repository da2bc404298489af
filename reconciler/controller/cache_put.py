"""Publish the outputs of a success under a cache key, and wake the actions that wait for it (R45, R46)."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from reconciler.api.action import ActionId
from reconciler.api.errors import BlobCorrupt, BlobNotFound, InvalidInput, InvalidName
from reconciler.api.template import template_or_none
from reconciler.api.transition import CacheStatus, OutputRef
from reconciler.controller.cache_config import CacheConfig
from reconciler.controller.dependencies import Dependencies
from reconciler.controller.round import Round
from reconciler.core.events import observed_attempts
from reconciler.plugins.context import TaskExecutionContext
from reconciler.stores.catalog import (
    CacheEntry,
    CacheKey,
    CacheSource,
    CatalogCorrupt,
    CatalogExists,
    CatalogMiss,
)

log = structlog.get_logger(__name__)

_AT_ONCE = 1000
"""Actions one script call makes due, so that Redis is never blocked for long."""
UNREADABLE = (BlobNotFound, BlobCorrupt, InvalidInput)
"""What the outputs of an entry that nobody can ever read raise: gone, changed, or at no place we know."""


def publish(round: Round, config: CacheConfig, outputs: OutputRef | None) -> CacheStatus:
    """Put the outputs under the key, if the action may; a failing put does not fail the task."""
    deps, ctx = round.deps, round.context
    if config.serializable and round.reserved_until is None:  # nobody has asked for it in this round
        _reserve(round, config)
    if config.serializable and not round.record.status.cache_token:
        if _was_put(deps, config, outputs.uri if outputs else ctx.files.outputs_uri):
            return CacheStatus.POPULATED
        log.info("cache.not_published", action=str(round.record.id), why="the reservation was lost")
        return CacheStatus.PUT_FAILURE
    try:
        try:
            put(deps, ctx, config.key, outputs, replace=config.override)
        except CatalogExists:
            if not _serves(deps, config):
                put(deps, ctx, config.key, outputs, replace=True)
    except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the task has succeeded
        log.warning("cache.put_failed", action=str(round.record.id), error=str(error))
        return CacheStatus.PUT_FAILURE
    return CacheStatus.POPULATED


def put(
    deps: Dependencies,
    ctx: TaskExecutionContext,
    key: CacheKey,
    outputs: OutputRef | None = None,
    *,
    replace: bool = False,
) -> None:
    """Put a reference to an attempt's outputs, which must exist, under the key, and wake waiting actions (R46).

    Raises:
        CatalogExists: the key was filled before.
        Superseded: the reservation was lost to a newer owner.
        BlobNotFound: this attempt wrote no outputs.
    """
    assert deps.catalog is not None
    ref = outputs or ctx.files.output_ref()
    action = ctx.action
    template = template_or_none(action)
    task = template.id if template else None
    source = CacheSource(
        task=task.name if task else "",
        task_version=task.version if task else "",
        project=action.id.project,
        domain=action.id.domain,
        run=action.id.run,
        action=action.id.action,
        attempt=observed_attempts(action),
        created_at=ctx.now,
    )
    wake_waiters(deps, deps.catalog.put(key, ref, source, token=action.status.cache_token, replace=replace))


def read_entry(deps: Dependencies, entry: CacheEntry) -> bytes:
    """Return the outputs an entry refers to.

    Raises:
        Exception: one of `UNREADABLE` when nobody will ever read them, or whatever S3 raises.
    """
    if entry.outputs.inline is not None:
        return entry.outputs.inline
    limit = deps.settings.max_object_size
    return deps.data_store.get(entry.outputs.uri, sha256=entry.outputs.sha256, limit=limit)


def _reserve(round: Round, config: CacheConfig) -> None:
    assert round.deps.catalog is not None
    heartbeat = round.deps.requeue_duration
    try:
        held = round.deps.catalog.get_or_extend_reservation(config.key, config.owner, heartbeat)
    except Exception as error:  # noqa: BLE001  # as for the put
        log.warning("cache.put_failed", action=str(round.record.id), error=str(error))
        return
    if not round.record.status.cache_token and held.owner == config.owner:
        round.record.set_status(cache_token=held.token)


def _was_put(deps: Dependencies, config: CacheConfig, uri: str) -> bool:
    """Tell whether a round that died before its commit had put these outputs: then it had released the reservation, too."""
    assert deps.catalog is not None
    try:
        return deps.catalog.get(config.key).outputs.uri == uri
    except Exception as error:  # noqa: BLE001  # as for the put
        log.warning("cache.entry_unknown", key=str(config.key), error=str(error))
        return False


def _serves(deps: Dependencies, config: CacheConfig) -> bool:
    """Tell whether the entry can be used; if unsure, yes. An unusable one must not stay for ever (R46)."""
    assert deps.catalog is not None
    try:
        read_entry(deps, deps.catalog.get(config.key))
    except (CatalogMiss, CatalogCorrupt, *UNREADABLE):
        return False
    except Exception as error:  # noqa: BLE001  # as for the put
        log.warning("cache.entry_unknown", key=str(config.key), error=str(error))
    return True


def wake_waiters(deps: Dependencies, owners: Iterable[str]) -> None:
    """Make actions that wait for a key due now, and send the wake-ups. Those not reached look again by themselves.

    Args:
        deps: the store, and how to send.
        owners: as the catalog names them, `<namespace>/<action>@<incarnation>`; others are no actions, and nobody's to wake.
    """
    count = 0
    try:
        waiting = [action for owner in owners if (action := _action_of(owner)) is not None]
        count = len(waiting)
        for start in range(0, len(waiting), _AT_ONCE):
            for shard in deps.store.wake(waiting[start : start + _AT_ONCE]):
                deps.announce(shard)
    except Exception as error:  # noqa: BLE001  # whatever a catalog names as owners; they look by themselves
        log.warning("cache.waiters_not_woken", count=count, error=str(error))


def _action_of(owner: str) -> ActionId | None:
    try:
        return ActionId.parse(owner.partition("/")[2].partition("@")[0])
    except InvalidName:
        return None
