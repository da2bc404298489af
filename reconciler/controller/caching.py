"""The cache before and after execution (R43)."""

from __future__ import annotations

import msgspec
import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import (
    BlobCorrupt,
    BlobExists,
    BlobNotFound,
    InvalidInput,
    PluginError,
    ReconcilerError,
)
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import (
    UNKNOWN_TRANSITION,
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
from reconciler.controller.cache_config import CacheConfig
from reconciler.controller.cache_waiters import CacheWaiterSteps
from reconciler.core.cachekey import CacheConfigError
from reconciler.core.conditions import system_error
from reconciler.core.events import observed_attempts
from reconciler.plugins.context import TaskExecutionContext, template_or_none
from reconciler.stores.catalog import (
    CacheEntry,
    CacheKey,
    CacheSource,
    CatalogCorrupt,
    CatalogExists,
    CatalogMiss,
)

log = structlog.get_logger(__name__)

_UNREADABLE = (BlobNotFound, BlobCorrupt, InvalidInput)
"""What the outputs of an entry that nobody can ever read raise: gone, changed, or at no place we know."""


class CacheStepError(PluginError):
    """A cache step failed: counted like any system error, so that it cannot go on for ever (R25)."""

    code = "CacheStepError"


class CacheSteps(CacheWaiterSteps):
    """The cache steps before and after execution, writing to the catalog, releasing what is reserved."""

    def evaluate_cache_before_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        already_running: bool = False,  # noqa: FBT001, FBT002  # the fourth argument of the reference
    ) -> tuple[Transition, bool]:
        """Serve a hit, wait for whoever fills the key, or let the plugin run (R44).

        Once something was launched for this attempt nothing is short-circuited any more: a lost reservation then
        means "go on, do not publish" (R21). A failing lookup still asks for the reservation (R44), and a
        fresh reservation looks up once more (R44).

        Returns:
            The transition, and whether it replaces the plugin's.

        Raises:
            CacheConfigError: the cache settings cannot be used.
            CacheStepError: outputs could not be written, or the reservation could not be asked for.
        """
        policy = self.cache_policy(task_action)
        launched = already_running or task_action.status.launched
        if policy is None or (launched and not policy.cache_serializable):
            return UNKNOWN_TRANSITION, False
        config = self.cache_config(task_action)
        assert config is not None
        if not launched and not config.override:
            hit = self._lookup(task_action, t_ctx, config)
            if hit is not None:
                return hit, True
        if not config.serializable:
            return UNKNOWN_TRANSITION, False
        return self._reserve(task_action, t_ctx, config, launched=launched)

    def _lookup(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig
    ) -> Transition | None:
        """A hit as a success. An entry with unreadable outputs is a miss; the put replaces it (R46)."""
        assert self.catalog is not None
        ctx.lookup_failed = False
        try:
            entry = self.catalog.get(config.key)
            data = self._read(entry)
        except CatalogMiss:
            return None
        except _UNREADABLE as error:
            log.warning("cache.entry_unreadable", action=str(action.id), error=str(error))
            return None
        except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the task runs without it
            ctx.lookup_failed = True
            log.warning("cache.lookup_failed", action=str(action.id), error=str(error))
            return None
        try:
            outputs = self._adopt(data, ctx)
        except ReconcilerError as error:
            raise CacheStepError(f"persisting cached outputs: {error}") from error
        if action.status.cache_token:
            self._release(action, config)
        info = _cache_info(ctx.now, CacheStatus.HIT, "cache hit", outputs, entry.source)
        return Transition(success(info))

    def _read(self, entry: CacheEntry) -> bytes:
        if entry.outputs.inline is not None:
            return entry.outputs.inline
        limit = self.settings.max_object_size
        return self.data_store.get(entry.outputs.uri, sha256=entry.outputs.sha256, limit=limit)

    def _adopt(self, data: bytes, ctx: TaskExecutionContext) -> OutputRef:
        """Copy a hit to this attempt's own output file, so that "succeeded" implies readable outputs (R44)."""
        limit = self.settings.inline_limit
        try:
            return ctx.files.write_outputs(data, limit)
        except BlobExists:
            # a round whose commit got lost wrote its outputs here: they are as good, and stay
            return ctx.files.write_outputs(ctx.files.read_outputs(), limit)

    def _reserve(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig, *, launched: bool
    ) -> tuple[Transition, bool]:
        assert self.catalog is not None
        try:
            held = self.catalog.get_or_extend_reservation(config.key, config.owner, self.requeue_duration)
        except Exception as error:
            raise CacheStepError(f"acquiring cache reservation: {error}") from error
        ctx.reserved_until = 0
        if held.owner == config.owner:
            ctx.reserved_until = held.expires_at
            fresh = held.token != action.status.cache_token
            if launched and fresh:
                # it was lost and is ours again under another token: what runs was made without it
                action.set_status(cache_token=0)
                return UNKNOWN_TRANSITION, False
            action.set_status(cache_token=held.token)
            hit = self._lookup(action, ctx, config) if fresh and not config.override else None
            return (hit, True) if hit is not None else (UNKNOWN_TRANSITION, False)
        if launched:
            action.set_status(cache_token=0)
            return UNKNOWN_TRANSITION, False
        info = _cache_info(ctx.now, CacheStatus.MISS, "waiting for serialized cache owner")
        reason = f'waiting for cache to be populated by reservation owner "{held.owner.partition("@")[0]}"'
        return Transition(waiting_for_cache(action.status.plugin_phase_version, info, reason)), True

    def finalize_cache_after_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        transition: Transition,
        cache_short_circuited: bool,  # noqa: FBT001  # as in the reference
    ) -> Transition:
        """Store the outputs of a success, release the reservation of an end (R45).

        A failing put fails no task. A retryable failure keeps the reservation when the same action goes on at once
        (R51).

        Raises:
            CacheConfigError: the cache settings cannot be used.
        """
        policy = self.cache_policy(task_action)
        if policy is None or cache_short_circuited:
            return transition
        info = transition.info
        if not info.phase.is_terminal():
            return Transition(self._under_way(task_action, t_ctx, info))
        config = self._config_after(task_action)
        if config is None:
            unpublished = info.phase is PluginPhase.SUCCESS
            return Transition(_with_status(info, CacheStatus.PUT_FAILURE)) if unpublished else transition
        if info.phase is PluginPhase.SUCCESS:
            status = self._put(task_action, t_ctx, config, info)
            self._release(task_action, config)
            return Transition(_with_status(info, status))
        if info.phase is not PluginPhase.RETRYABLE_FAILURE or _gives_up(task_action, t_ctx, info):
            self._release(task_action, config)
        return transition

    def _config_after(self, action: TaskAction) -> CacheConfig | None:
        """The configuration once the task has run; None when its inputs cannot be read any more: that undoes no end.

        Raises:
            CacheConfigError: the cache settings cannot be used.
        """
        try:
            return self.cache_config(action)
        except CacheConfigError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever S3 or a client of it raises
            log.warning("cache.put_failed", action=str(action.id), error=str(error))
            return None

    def _under_way(self, action: TaskAction, ctx: TaskExecutionContext, info: PhaseInfo) -> PhaseInfo:
        """Look again before the reservation ends, and go on showing a failed lookup (R44, R51)."""
        if ctx.reserved_until:
            look = ctx.now + max(0, ctx.reserved_until - ctx.now) // 2
            if look < (info.requeue_at or ctx.now + self.requeue_duration):
                info = msgspec.structs.replace(info, requeue_at=look)
        status = action.status
        if ctx.lookup_failed or (status.launched and status.cache_status is CacheStatus.LOOKUP_FAILURE):
            info = _with_status(info, CacheStatus.LOOKUP_FAILURE)
        return info

    def _put(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig, info: PhaseInfo
    ) -> CacheStatus:
        outputs = info.info.outputs if info.info else None
        if config.serializable and ctx.reserved_until is None:  # nobody has asked for it in this round
            self._reserve_for_put(action, config)
        if config.serializable and not action.status.cache_token:
            if self._was_put(config, outputs.uri if outputs else ctx.files.outputs_uri):
                return CacheStatus.POPULATED
            log.info("cache.not_published", action=str(action.id), why="the reservation was lost")
            return CacheStatus.PUT_FAILURE
        try:
            try:
                self.write_task_outputs_to_cache(ctx, config.key, outputs, replace=config.override)
            except CatalogExists:
                if not self._serves(config):
                    self.write_task_outputs_to_cache(ctx, config.key, outputs, replace=True)
        except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the task has succeeded
            log.warning("cache.put_failed", action=str(action.id), error=str(error))
            return CacheStatus.PUT_FAILURE
        return CacheStatus.POPULATED

    def _reserve_for_put(self, action: TaskAction, config: CacheConfig) -> None:
        assert self.catalog is not None
        try:
            held = self.catalog.get_or_extend_reservation(config.key, config.owner, self.requeue_duration)
        except Exception as error:  # noqa: BLE001  # as for the put
            log.warning("cache.put_failed", action=str(action.id), error=str(error))
            return
        if not action.status.cache_token and held.owner == config.owner:
            action.set_status(cache_token=held.token)

    def _was_put(self, config: CacheConfig, uri: str) -> bool:
        """Whether a round that died before its commit had put these outputs: it had given the reservation back as well."""
        assert self.catalog is not None
        try:
            return self.catalog.get(config.key).outputs.uri == uri
        except Exception as error:  # noqa: BLE001  # as for the put
            log.warning("cache.entry_unknown", key=str(config.key), error=str(error))
            return False

    def _serves(self, config: CacheConfig) -> bool:
        """Whether the entry can be used; in doubt it can. An unusable one must not stay for ever (R46)."""
        assert self.catalog is not None
        try:
            self._read(self.catalog.get(config.key))
        except (CatalogMiss, CatalogCorrupt, *_UNREADABLE):
            return False
        except Exception as error:  # noqa: BLE001  # as for the put
            log.warning("cache.entry_unknown", key=str(config.key), error=str(error))
        return True

    def write_task_outputs_to_cache(
        self,
        t_ctx: TaskExecutionContext,
        key: CacheKey,
        outputs: OutputRef | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Put a reference to this attempt's outputs, which must exist, under the key, and wake who waits (R46).

        Raises:
            CatalogExists: the key was filled before.
            Superseded: the reservation was lost to a newer owner.
            BlobNotFound: this attempt wrote no outputs.
        """
        assert self.catalog is not None
        ref = outputs or t_ctx.files.output_ref()
        action = t_ctx.action
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
            created_at=t_ctx.now,
        )
        token = action.status.cache_token
        self.wake_waiters(self.catalog.put(key, ref, source, token=token, replace=replace))

    def release_cache_reservation(self, cache_cfg: CacheConfig | None) -> None:
        """Release by key and owner; nothing to do without catalog, configuration or serialization (R48)."""
        if self.catalog is None or cache_cfg is None or not cache_cfg.serializable:
            return
        self.wake_waiters(self.catalog.release_reservation(cache_cfg.key, cache_cfg.owner))

    def _release(self, action: TaskAction, config: CacheConfig) -> None:
        try:
            self.release_cache_reservation(config)
        except Exception as error:  # noqa: BLE001  # a catalog may raise anything; the lease ends by itself
            log.warning("cache.release_failed", action=str(action.id), error=str(error))
        action.set_status(cache_token=0)

    def settle(self, action: TaskAction) -> None:
        """As for any end; a reservation held or waited for is released, however the action ended (R51)."""
        if action.status.cache_token or _waited_in_vain(action):
            try:
                config = self.cache_config(action)
            except Exception as error:  # noqa: BLE001  # as for the release
                log.warning("cache.release_failed", action=str(action.id), error=str(error))
            else:
                if config is not None:
                    self._release(action, config)
        super().settle(action)


def _with_status(info: PhaseInfo, status: CacheStatus) -> PhaseInfo:
    """A phase that says in its details what the cache did; one without details stays as it is."""
    if info.info is None:
        return info
    resource = ExternalResource(external_id="cache", cache_status=status)
    resources = (*info.info.external_resources, resource)
    return msgspec.structs.replace(
        info, info=msgspec.structs.replace(info.info, external_resources=resources)
    )


def _waited_in_vain(action: TaskAction) -> bool:
    """Whether the action ends while it stands in line for a key: the line would wake it for nothing."""
    before = action.staged.original.status.plugin_phase if action.staged is not None else ""
    return before == PluginPhase.WAITING_FOR_CACHE.label and not action.status.outputs


def _gives_up(action: TaskAction, ctx: TaskExecutionContext, info: PhaseInfo) -> bool:
    """Whether a retryable failure is the last; faults of the platform have their own budget (R26)."""
    return not system_error(info.err) and observed_attempts(action) >= ctx.max_attempts


def _cache_info(
    now: int,
    status: CacheStatus,
    reason: str,
    outputs: OutputRef | None = None,
    source: CacheSource | None = None,
) -> TaskInfo:
    resource = ExternalResource(
        external_id="cache", cache_status=status, custom_info=msgspec.to_builtins(source) if source else {}
    )
    return TaskInfo(
        occurred_at=now,
        external_resources=(resource,),
        additional_reasons=(ReasonInfo(reason, now),),
        outputs=outputs,
    )
