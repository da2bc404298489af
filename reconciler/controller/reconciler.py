"""`TaskActionReconciler`: looks at one action and moves it one step (R1). Read this file first.

`reconcile` claims an action, `decide` hands the round to the module that handles it, and one atomic write under the claim's
fencing token stores the decision: status, events, labels, finalizers, the next due time. `__init__.py` lists the modules.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from reconciler.api.action import CONDITION, DONE, ActionId, Result, TaskAction
from reconciler.api.errors import ReconcilerError
from reconciler.api.event import ActionEvent
from reconciler.api.remembered import Remembered
from reconciler.api.transition import (
    UNKNOWN_TRANSITION,
    ExecutionError,
    OutputRef,
    PhaseInfo,
    TaskInfo,
    Transition,
)
from reconciler.controller import approval, cache, cache_put, cleanup, ending, failures, planned, task
from reconciler.controller.audit import Recorder
from reconciler.controller.cache_config import REMEMBERED_KEYS, CacheConfig, cache_config
from reconciler.controller.dependencies import SystemFailureLimit
from reconciler.controller.quota_leases import renew
from reconciler.controller.round import Round, claim_if_free, commit_one, round_on
from reconciler.controller.services import services_of
from reconciler.core.events import build_event
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import Services, TaskExecutionContext
from reconciler.plugins.known import KnownFunctions
from reconciler.plugins.managers import NoopResourceManager, NoopSecretManager, ResourceManager, SecretManager
from reconciler.plugins.registry import PluginRegistry
from reconciler.settings import Settings
from reconciler.stores.base import Store, Write
from reconciler.stores.catalog import CacheKey, Catalog
from reconciler.stores.objects import BlobStore
from reconciler.stores.scheme import Scheme
from reconciler.webhooks.caller import HttpWebhooks, Webhooks

CONTROLLER_NAME = "taskaction"
DEFAULT_MAX_CONCURRENT_RECONCILES = 512


class Manager(Protocol):
    """Whoever runs the reconciler: the Celery application, or a test."""

    def register(self, name: str, reconciler: TaskActionReconciler, max_concurrent_reconciles: int) -> None:
        """Declare task, queue, start-up scan and sweeps under that name, or raise a `ReconcilerError`."""


def decide(round: Round) -> Result:
    """Hand a round to the module that handles it (R5)."""
    action = round.record
    if action.metadata.deletion is not None:
        return ending.abort(round)
    if action.is_terminal:
        return ending.finalize(round)
    begin = approval.reconcile if action.spec.action_type == CONDITION else task.reconcile
    return planned.held(round) or begin(round)


class TaskActionReconciler:
    """Moves actions from acceptance to exactly one end.

    The other methods do parts of a round by themselves, on a record that was merely read. What such a method stores is one
    write under a claim of the newest version; it raises `Superseded` when somebody else holds the action. `Dependencies`
    describes the attributes; `scheme`, the layout of records, is used by no logic.
    """

    def __init__(
        self,
        store: Store,
        plugin_registry: PluginRegistry,
        data_store: BlobStore,
        *,
        settings: Settings | None = None,
        scheme: Scheme | None = None,
        recorder: Recorder | None = None,
        secret_manager: SecretManager | None = None,
        resource_manager: ResourceManager | None = None,
        catalog_client: Any = None,  # noqa: ANN401  # handed through to plugins, never used here
        catalog: Catalog | None = None,
        max_system_failures: int | None = None,
        rng: random.Random | None = None,
        announce: Callable[[int], None] = lambda _: None,
        webhooks: Webhooks | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.store = store
        self.scheme, self.recorder = scheme or Scheme(), recorder
        self.plugin_registry = plugin_registry
        self.data_store = data_store
        self.secret_manager = secret_manager or NoopSecretManager()
        self.resource_manager = resource_manager or NoopResourceManager()
        self.catalog, self.catalog_client = catalog, catalog_client
        own = self.settings.max_system_failures
        self.max_system_failures = own if max_system_failures is None else max_system_failures
        self.announce = announce
        self.webhooks = webhooks or HttpWebhooks(self.settings.webhook_allow)
        self.rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        self.requeue_duration = int(self.settings.effective_requeue().total_seconds() * 1000)
        self.cache_keys: Remembered[tuple[object, ...], str] = Remembered(REMEMBERED_KEYS)
        self.quota_lease = int(self.settings.quota_lease.total_seconds() * 1000)
        self.known_functions = KnownFunctions(self.store.find_function)

    @property
    def max_system_failures(self) -> SystemFailureLimit:
        """The limit as configured; called, the value in force: 3 for 0 (R8)."""
        return self._max_system_failures

    @max_system_failures.setter
    def max_system_failures(self, configured: int) -> None:
        self._max_system_failures = SystemFailureLimit(configured)

    @property
    def services(self) -> Services:
        """Collect the services that every plugin gets: the attributes as they are now."""
        return services_of(self)

    def setup_with_manager(
        self, mgr: Manager, max_concurrent_reconciles: int = DEFAULT_MAX_CONCURRENT_RECONCILES
    ) -> None:
        """Register under the name `taskaction` (R2, R8).

        Raises:
            ReconcilerError: a setting is not allowed, or the manager refuses.
        """
        problems, failures_allowed = self.settings.problems(), int(self.max_system_failures)
        if failures_allowed < 0:
            problems.append(f"executor: maxSystemFailures must be non-negative, got {failures_allowed}")
        if max_concurrent_reconciles < 1:
            problems.append(f"maxConcurrentReconciles must be at least 1, got {max_concurrent_reconciles}")
        if problems:
            raise ReconcilerError("; ".join(dict.fromkeys(problems)))
        mgr.register(CONTROLLER_NAME, self, max_concurrent_reconciles)

    def reconcile(self, req: ActionId) -> Result:
        """Claim one action, move it one step, commit (R5). Unknown, ended and otherwise claimed actions are done, too.

        Raises:
            Superseded: the claim was lost to a newer one while the round ran; nothing was written.
            StoreUnavailable: the store does not answer.
        """
        action = claim_if_free(self.store, req)
        if action is None:
            return DONE
        result, write = self.round(action)
        commit_one(self, write)
        return result

    def round(
        self,
        action: TaskAction,
        original: TaskAction | None = None,
        decide: Callable[[Round], Result] = decide,
    ) -> tuple[Result, Write]:
        """Play one round of a claimed action, of which `original` is an untouched copy, without a commit.

        Returns what `decide` said, and the write that says so. `Stepper` sends what the round asks to be sent.
        """
        original = original or action.copy()
        round = Round(self, action, original, Write(action=action, original=original))
        result = decide(round)
        due = round.due(result)
        round.write.due = renew(self.resource_manager, action, original, due, self.quota_lease)
        return result, round.write

    # -- one method at a time --------------------------------------------------------------------------------------
    def context(self, action: TaskAction, plugin: Plugin) -> TaskExecutionContext:
        """Build what a plugin is called with for the current attempt (R63)."""
        round = Round(self, action, action)
        round.plugin = plugin
        round.open_context()
        return round.context

    def evaluate_cache_before_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        already_running: bool = False,  # noqa: FBT001, FBT002  # the fourth argument of the reference
    ) -> tuple[Transition, bool]:
        """Serve a hit, wait for the holder of the key, or let the plugin run: false (R44). Stores nothing."""
        hit = cache.before(self._asked(task_action, t_ctx), running=already_running)
        return (UNKNOWN_TRANSITION, False) if hit is None else (hit, True)

    def finalize_cache_after_execution(
        self,
        task_action: TaskAction,
        t_ctx: TaskExecutionContext,
        transition: Transition,
        cache_short_circuited: bool,  # noqa: FBT001  # as in the reference
    ) -> Transition:
        """Publish the outputs of a success, release the reservation of an end (R45). Stores nothing."""
        if cache_short_circuited:
            return transition
        return cache.after(self._asked(task_action, t_ctx), transition)

    def _asked(self, action: TaskAction, ctx: TaskExecutionContext) -> Round:
        round = Round(self, action, action)
        round.context = ctx
        return round

    def write_task_outputs_to_cache(
        self,
        t_ctx: TaskExecutionContext,
        key: CacheKey,
        outputs: OutputRef | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Put a reference to this attempt's outputs, which must exist, under the key (R46). Raises the catalog's errors."""
        cache_put.put(self, t_ctx, key, outputs, replace=replace)

    def cache_config(self, action: TaskAction) -> CacheConfig | None:
        """Return how an action uses the cache; None when caching is off (R43)."""
        return cache_config(self, action)

    def release_cache_reservation(self, cache_cfg: CacheConfig | None) -> None:
        """Release by key and owner; nothing to do without catalog, configuration or serialization (R48)."""
        cache.release_reservation(self, cache_cfg)

    def reset_plugin_resource(self, task_action: TaskAction, p: Plugin, t_ctx: TaskExecutionContext) -> int:
        """Stop what the plugin launched, forget its state; store nothing (R29). Returns 0, or when to call again (ms)."""
        round = self._asked(task_action, t_ctx)
        round.plugin = p
        return cleanup.reset(round)

    def record_system_error(
        self,
        task_action: TaskAction,
        original: TaskAction,
        plugin_id: str,
        handle_err: BaseException,
        *,
        retry_at: int = 0,
    ) -> Result:
        """Count a system failure, or end the action when no retry can help or the budget is used up (R27)."""
        with round_on(self, task_action, original) as round:
            return failures.record(round, plugin_id, handle_err, retry_at=retry_at)

    def finalize_permanent_failure(
        self,
        task_action: TaskAction,
        original: TaskAction,
        exec_err: ExecutionError,
        info: TaskInfo | None = None,
    ) -> Result:
        """End the action by failure: conditions, history, error state, FAILED event, labels, in one write (R35)."""
        with round_on(self, task_action, original) as round:
            return ending.fail(round, exec_err, info)

    def handle_abort_and_finalize(self, task_action: TaskAction) -> Result:
        """Stop and clean up an action whose deletion was asked for, then end it in ABORTED (R38, R39)."""
        with round_on(self, task_action) as round:
            return ending.abort(round)

    def update_task_action_status(
        self, old_task_action: TaskAction, new_task_action: TaskAction, phase_info: PhaseInfo
    ) -> None:
        """Publish and store a status, when it changed by the comparison of R6."""
        with round_on(self, new_task_action, old_task_action) as round:
            round.save_status(phase_info)

    def build_action_event(self, task_action: TaskAction, phase_info: PhaseInfo) -> ActionEvent:
        """Return the event of a record's status: pure, but for the clock (R56)."""
        now = task_action.now or self.store.now()
        return build_event(task_action, phase_info, now, self.settings.cluster)

    def ensure_terminal_labels(self, task_action: TaskAction) -> None:
        """Stamp the termination label and the completion time, unless they are there (R36)."""
        with round_on(self, task_action) as round:
            round.end()

    def remove_finalizer(self, task_action: TaskAction) -> Result:
        """Remove only this reconciler's finalizer, in a metadata write (R38)."""
        with round_on(self, task_action) as round:
            round.drop_finalizer()
        return DONE
