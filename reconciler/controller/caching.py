"""The cache before and after execution (spec 8)."""

from __future__ import annotations

import msgspec
import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import PluginError, ReconcilerError, Superseded
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
from reconciler.controller.failures import FailureSteps
from reconciler.core.cachekey import CacheConfigError, compute_key
from reconciler.core.events import observed_attempts
from reconciler.plugins.context import TaskExecutionContext, template_or_none
from reconciler.stores.catalog import CacheEntry, CacheKey, CacheSource, CatalogExists, CatalogMiss
from reconciler.stores.outputs import read_inputs

log = structlog.get_logger(__name__)


class CacheStepError(PluginError):
    """A cache step failed: counted like any system error, so that it cannot go on for ever (spec W-09)."""

    code = "CacheStepError"


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one action uses the cache (spec 8.1)."""

    key: CacheKey
    owner: str
    serializable: bool


class CacheSteps(FailureSteps):
    """evaluate_cache_before_execution, finalize_cache_after_execution, write_task_outputs_to_cache, release."""

    def cache_config(self, action: TaskAction) -> CacheConfig | None:
        """The cache configuration of an action; None when caching is off (spec 8.1).

        Raises:
            CacheConfigError: the template cannot be read or has no identifier, or the inputs cannot be hashed.
        """
        if self.catalog is None:
            return None
        template = template_or_none(action)
        if template is None:
            raise CacheConfigError("reading task template for cache handling: it is missing or unreadable")
        meta = template.metadata
        if meta is None or not meta.discoverable:
            return None
        if template.id is None:
            raise CacheConfigError("discoverable task is missing identifier")
        declared = template.interface is not None and bool(template.interface.inputs)
        inputs = (
            read_inputs(self.data_store, action.spec, limit=self.settings.max_object_size)
            if declared
            else None
        )
        key = compute_key(
            template.id, template.interface, inputs, meta.cache_ignore_input_vars, action.spec.cache_key
        )
        return CacheConfig(
            key=CacheKey(project=template.id.project, domain=template.id.domain, key=key),
            owner=f"{action.metadata.namespace}/{action.id}",
            serializable=meta.cache_serializable,
        )

    def evaluate_cache_before_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        already_running: bool = False,  # noqa: FBT001, FBT002  # the fourth argument of the reference
    ) -> tuple[Transition, bool]:
        """Serve a hit, wait for whoever fills the key, or let the plugin run (spec 8.2).

        Once something was launched for this attempt nothing is short-circuited any more: a lost reservation then means "go
        on, do not publish" (spec W-21). A failing lookup still asks for the reservation (spec W-18), and a fresh
        reservation looks up once more (spec W-48).

        Returns:
            The transition, and whether it replaces the plugin's.

        Raises:
            CacheConfigError: the cache settings cannot be used.
            CacheStepError: outputs could not be written, or the reservation could not be asked for.
        """
        config = self.cache_config(task_action)
        if config is None or self.catalog is None:
            return UNKNOWN_TRANSITION, False
        launched = already_running or task_action.status.launched
        if not launched:
            hit = self._lookup(task_action, t_ctx, config)
            if hit is not None:
                return hit, True
        if not config.serializable:
            return UNKNOWN_TRANSITION, False
        return self._reserve(task_action, t_ctx, config, launched=launched)

    def _lookup(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig
    ) -> Transition | None:
        assert self.catalog is not None
        try:
            entry = self.catalog.get(config.key)
        except CatalogMiss:
            return None
        except ReconcilerError as error:
            log.warning("cache.lookup_failed", action=str(action.id), error=str(error))
            return None
        try:
            outputs = self._adopt(entry, ctx)
        except ReconcilerError as error:
            raise CacheStepError(f"persisting cached outputs: {error}") from error
        if action.status.cache_token:
            self._release(action, config)
        info = _cache_info(ctx.now, CacheStatus.HIT, "cache hit", outputs, entry.source)
        return Transition(success(info))

    def _adopt(self, entry: CacheEntry, ctx: TaskExecutionContext) -> OutputRef:
        """Copy a hit to this attempt's own output file, so that "succeeded" implies readable outputs (spec O5)."""
        data = entry.outputs.inline
        if data is None:
            data = self.data_store.get(entry.outputs.uri, sha256=entry.outputs.sha256)
        return ctx.files.write_outputs(data, self.settings.inline_limit)

    def _reserve(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig, *, launched: bool
    ) -> tuple[Transition, bool]:
        assert self.catalog is not None
        try:
            held = self.catalog.get_or_extend_reservation(config.key, config.owner, self.requeue_duration)
        except ReconcilerError as error:
            raise CacheStepError(f"acquiring cache reservation: {error}") from error
        if held.owner == config.owner:
            fresh = held.token != action.status.cache_token
            if launched and fresh:
                # the reservation was lost and is ours again under another token: what runs was made without it
                action.set_status(cache_token=0)
                return UNKNOWN_TRANSITION, False
            action.set_status(cache_token=held.token)
            hit = self._lookup(action, ctx, config) if fresh else None
            return (hit, True) if hit is not None else (UNKNOWN_TRANSITION, False)
        if launched:
            action.set_status(cache_token=0)
            return UNKNOWN_TRANSITION, False
        info = _cache_info(ctx.now, CacheStatus.MISS, "waiting for serialized cache owner")
        reason = f'waiting for cache to be populated by reservation owner "{held.owner}"'
        return Transition(waiting_for_cache(action.status.plugin_phase_version, info, reason)), True

    def finalize_cache_after_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        transition: Transition,
        cache_short_circuited: bool,  # noqa: FBT001  # as in the reference
    ) -> Transition:
        """Store the outputs of a success, release the reservation of an end (spec 8.3). Never fails the task.

        A retryable failure keeps the reservation when the same action goes on at once (spec W-22).

        Raises:
            CacheConfigError: the cache settings cannot be used.
        """
        config = self.cache_config(task_action)
        if config is None or self.catalog is None or cache_short_circuited:
            return transition
        info = transition.info
        if info.phase is PluginPhase.SUCCESS:
            status = self._put(task_action, t_ctx, config, info)
            self._release(task_action, config)
            if info.info is None:
                return transition
            resource = ExternalResource(external_id="cache", cache_status=status)
            details = msgspec.structs.replace(
                info.info, external_resources=(*info.info.external_resources, resource)
            )
            return Transition(msgspec.structs.replace(info, info=details))
        if info.phase in {PluginPhase.PERMANENT_FAILURE, PluginPhase.ABORTED}:
            self._release(task_action, config)
        elif (
            info.phase is PluginPhase.RETRYABLE_FAILURE
            and observed_attempts(task_action) >= t_ctx.max_attempts
        ):
            self._release(task_action, config)
        return transition

    def _put(
        self, action: TaskAction, ctx: TaskExecutionContext, config: CacheConfig, info: PhaseInfo
    ) -> CacheStatus:
        if config.serializable and not action.status.cache_token:
            log.info("cache.not_published", action=str(action.id), why="the reservation was lost")
            return CacheStatus.PUT_FAILURE
        try:
            self.write_task_outputs_to_cache(ctx, config.key, info.info.outputs if info.info else None)
        except CatalogExists:
            return CacheStatus.POPULATED
        except (ReconcilerError, Superseded) as error:
            log.warning("cache.put_failed", action=str(action.id), error=str(error))
            return CacheStatus.PUT_FAILURE
        return CacheStatus.POPULATED

    def write_task_outputs_to_cache(
        self, t_ctx: TaskExecutionContext, key: CacheKey, outputs: OutputRef | None = None
    ) -> None:
        """Put a reference to this attempt's outputs, which must exist, under the key (spec 8.4).

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
        self.catalog.put(key, ref, source, token=action.status.cache_token)

    def release_cache_reservation(self, cache_cfg: CacheConfig | None) -> None:
        """Release by key and owner; nothing to do without catalog, configuration or serialization (spec 8.6)."""
        if self.catalog is None or cache_cfg is None or not cache_cfg.serializable:
            return
        self.catalog.release_reservation(cache_cfg.key, cache_cfg.owner)

    def _release(self, action: TaskAction, config: CacheConfig) -> None:
        try:
            self.release_cache_reservation(config)
        except ReconcilerError as error:
            log.warning("cache.release_failed", action=str(action.id), error=str(error))
        action.set_status(cache_token=0)

    def settle(self, action: TaskAction) -> None:
        """As for any end; a reservation still held is released, however the action ended (spec W-22)."""
        if action.status.cache_token:
            try:
                config = self.cache_config(action)
            except ReconcilerError as error:
                log.warning("cache.release_failed", action=str(action.id), error=str(error))
            else:
                if config is not None:
                    self._release(action, config)
        super().settle(action)


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
