"""The cache before and after execution (R43): serve a hit, wait for the holder of the key, publish, release."""

from __future__ import annotations

import msgspec
import structlog

from reconciler.api.errors import BlobExists, PluginError, ReconcilerError
from reconciler.api.phase import PluginPhase
from reconciler.api.tokens import NO_RESERVATION
from reconciler.api.transition import (
    CacheStatus,
    ExternalResource,
    OutputRef,
    PhaseInfo,
    ReasonInfo,
    TaskInfo,
    Transition,
    success,
    waiting_for_cache,
)
from reconciler.controller import cache_put
from reconciler.controller.cache_config import CacheConfig, cache_config, cache_policy
from reconciler.controller.cache_put import UNREADABLE, read_entry, wake_waiters
from reconciler.controller.dependencies import Dependencies
from reconciler.controller.round import Round
from reconciler.core.cachekey import CacheConfigError
from reconciler.core.events import observed_attempts
from reconciler.core.retries import is_last
from reconciler.core.status_conditions import system_error
from reconciler.core.why import waits_for_holder
from reconciler.stores.catalog import CacheSource, CatalogMiss, Reservation

log = structlog.get_logger(__name__)


class CacheStepError(PluginError):
    """A cache step failed: counted like any system error, so that it cannot go on for ever (R25)."""

    code = "CacheStepError"


# -- before ------------------------------------------------------------------------------------------------------------
def before(round: Round, *, running: bool) -> Transition | None:
    """Serve a hit, wait for the holder of the key, or let the plugin run (R44).

    Once something was launched for this attempt nothing is short-circuited any more: a lost reservation then means "go on,
    do not publish" (R21). A failing lookup still asks for the reservation, and a fresh reservation looks up once more.

    Args:
        round: one with a context.
        running: whether the attempt runs already.

    Returns:
        What stands in the place of the plugin's answer; None when the plugin is to be asked.

    Raises:
        CacheConfigError: the cache settings cannot be used.
        CacheStepError: outputs could not be written, or the reservation could not be asked for.
    """
    policy = cache_policy(round.deps, round.record)
    launched = running or round.record.status.launched
    if policy is None or (launched and not policy.cache_serializable):
        return None
    config = cache_config(round.deps, round.record)
    assert config is not None
    hit = None if launched or config.override else _lookup(round, config)
    if hit is not None or not config.serializable:
        return hit
    return _reserve(round, config, launched=launched)


def _lookup(round: Round, config: CacheConfig) -> Transition | None:
    """Return a hit as a success. An entry with unreadable outputs is a miss; the put replaces it (R46)."""
    assert round.deps.catalog is not None
    round.lookup_failed = False
    try:
        entry = round.deps.catalog.get(config.key)
        data = read_entry(round.deps, entry)
    except CatalogMiss:
        return None
    except UNREADABLE as error:
        log.warning("cache.entry_unreadable", action=str(round.record.id), error=str(error))
        return None
    except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the task runs without it
        round.lookup_failed = True
        log.warning("cache.lookup_failed", action=str(round.record.id), error=str(error))
        return None
    try:
        outputs = _adopt(round, data)
    except ReconcilerError as error:
        raise CacheStepError(f"persisting cached outputs: {error}") from error
    if round.record.status.cache_token:
        _release(round, config)
    return Transition(success(_info(round, CacheStatus.HIT, "cache hit", outputs, entry.source)))


def _adopt(round: Round, data: bytes) -> OutputRef:
    """Copy a hit to this attempt's own output file, so that "succeeded" implies readable outputs (R44)."""
    limit, files = round.deps.settings.inline_limit, round.context.files
    try:
        return files.write_outputs(data, limit)
    except BlobExists:
        # a round whose commit got lost wrote its outputs here: they are as good, and stay
        return files.write_outputs(files.read_outputs(), limit)


def _reserve(round: Round, config: CacheConfig, *, launched: bool) -> Transition | None:
    assert round.deps.catalog is not None
    heartbeat = round.deps.requeue_duration
    try:
        held = round.deps.catalog.get_or_extend_reservation(config.key, config.owner, heartbeat)
    except Exception as error:
        raise CacheStepError(f"acquiring cache reservation: {error}") from error
    mine, record = held.owner == config.owner, round.record
    fresh = held.token != record.status.cache_token
    round.reserved_until = held.expires_at if mine else 0
    if launched and (fresh or not mine):
        # it was lost; ours again under another token it is no better: what runs was made without it
        record.set_status(cache_token=NO_RESERVATION)
        return None
    if not mine:
        return _wait_for(round, held)
    record.set_status(cache_token=held.token)
    return _lookup(round, config) if fresh and not config.override else None


def _wait_for(round: Round, held: Reservation) -> Transition:
    # its owner may need the units this one still holds, from when it had the reservation: neither would ever end
    round.record.set_status(quota_leases=())
    owner = held.owner.partition("@")[0]
    reason = waits_for_holder(owner)
    info = _info(round, CacheStatus.MISS, "waiting for serialized cache owner")
    return Transition(waiting_for_cache(round.record.status.plugin_phase_version, info, reason))


def _info(
    round: Round,
    status: CacheStatus,
    reason: str,
    outputs: OutputRef | None = None,
    source: CacheSource | None = None,
) -> TaskInfo:
    resource = ExternalResource(
        external_id="cache", cache_status=status, custom_info=msgspec.to_builtins(source) if source else {}
    )
    return TaskInfo(
        occurred_at=round.now,
        external_resources=(resource,),
        additional_reasons=(ReasonInfo(reason, round.now),),
        outputs=outputs,
    )


# -- after -------------------------------------------------------------------------------------------------------------
def after(round: Round, transition: Transition) -> Transition:
    """Store the outputs of a success, release the reservation of an end (R45).

    A failing put fails no task. A retryable failure keeps the reservation when the same action goes on at once (R51).

    Raises:
        CacheConfigError: the cache settings cannot be used.
    """
    if cache_policy(round.deps, round.record) is None:
        return transition
    info = transition.info
    if not info.phase.is_terminal():
        return Transition(_under_way(round, info))
    config = _config_after(round)
    if config is None:
        unpublished = info.phase is PluginPhase.SUCCESS
        return Transition(_with_status(info, CacheStatus.PUT_FAILURE)) if unpublished else transition
    if info.phase is PluginPhase.SUCCESS:
        status = cache_put.publish(round, config, info.info.outputs if info.info else None)
        _release(round, config)
        return Transition(_with_status(info, status))
    if info.phase is not PluginPhase.RETRYABLE_FAILURE or _gives_up(round, info):
        _release(round, config)
    return transition


def _under_way(round: Round, info: PhaseInfo) -> PhaseInfo:
    """Look again before the reservation ends, and keep showing a failed lookup (R44, R51)."""
    now, status = round.now, round.record.status
    if round.reserved_until:
        look = now + max(0, round.reserved_until - now) // 2
        if look < (info.requeue_at or now + round.deps.requeue_duration):
            info = msgspec.structs.replace(info, requeue_at=look)
    if round.lookup_failed or (status.launched and status.cache_status is CacheStatus.LOOKUP_FAILURE):
        info = _with_status(info, CacheStatus.LOOKUP_FAILURE)
    return info


def _config_after(round: Round) -> CacheConfig | None:
    """Read the configuration after the task has run; None if its inputs cannot be read any more, which undoes no end.

    Raises:
        CacheConfigError: the cache settings cannot be used.
    """
    try:
        return cache_config(round.deps, round.record)
    except CacheConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever S3 or a client of it raises
        log.warning("cache.put_failed", action=str(round.record.id), error=str(error))
        return None


def _with_status(info: PhaseInfo, status: CacheStatus) -> PhaseInfo:
    """Add what the cache did to the details of a phase; a phase without details stays as it is."""
    if info.info is None:
        return info
    resource = ExternalResource(external_id="cache", cache_status=status)
    resources = (*info.info.external_resources, resource)
    return msgspec.structs.replace(
        info, info=msgspec.structs.replace(info.info, external_resources=resources)
    )


def _gives_up(round: Round, info: PhaseInfo) -> bool:
    """Tell whether a retryable failure is the last; faults of the platform have their own budget (R26)."""
    record, most = round.record, round.context.max_attempts
    return not system_error(info.err) and is_last(observed_attempts(record), record.status, most, info.asked)


# -- at an end ---------------------------------------------------------------------------------------------------------
def release_reservation(deps: Dependencies, config: CacheConfig | None) -> None:
    """Release by key and owner; nothing to do without catalog, configuration or serialization (R48)."""
    if deps.catalog is None or config is None or not config.serializable:
        return
    wake_waiters(deps, deps.catalog.release_reservation(config.key, config.owner))


def release_all(round: Round) -> None:
    """Release what the action holds or waits for, as far as its settings show it.

    Raises:
        Exception: whatever S3 or the catalog raises.
    """
    policy = cache_policy(round.deps, round.record)
    if policy is not None and policy.cache_serializable:  # else there is none, and no key to be made
        release_reservation(round.deps, cache_config(round.deps, round.record))


def settle(round: Round) -> None:
    """Release, at an end, a reservation that is held or waited for, however the action ended (R51)."""
    record = round.record
    if not record.status.cache_token and not _waited_in_vain(round):
        return
    try:
        config = cache_config(round.deps, record)
    except Exception as error:  # noqa: BLE001  # as for the release
        log.warning("cache.release_failed", action=str(record.id), error=str(error))
    else:
        if config is not None:
            _release(round, config)


def _waited_in_vain(round: Round) -> bool:
    """Tell whether the action ends while it waits in line for a key: the line would wake it for nothing."""
    waited = round.original.status.plugin_phase == PluginPhase.WAITING_FOR_CACHE.label
    return waited and not round.record.status.outputs


def _release(round: Round, config: CacheConfig) -> None:
    try:
        release_reservation(round.deps, config)
    except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the lease ends by itself
        log.warning("cache.release_failed", action=str(round.record.id), error=str(error))
    round.record.set_status(cache_token=NO_RESERVATION)
