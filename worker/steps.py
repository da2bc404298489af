"""Celery entry points of the control plane: the reconcile step and the sweeps."""

from __future__ import annotations

from typing import Any

import structlog
from celery import Celery

from reconciler.api.action import ActionId
from reconciler.api.errors import InvalidInput, Unavailable
from reconciler.broker.messages import RECONCILE
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.collect import collect
from reconciler.sweeps.resync import resync
from reconciler.wiring import Engine
from worker.process import current_engine
from worker.receiving import STRATEGY
from worker.standby import stand_by_after

log = structlog.get_logger(__name__)


def register(app: Celery) -> None:
    """Declare the tasks on an application."""

    @app.task(name=RECONCILE, send_events=False, Strategy=STRATEGY)  # type: ignore[untyped-decorator]  # Celery has no types
    def reconcile(shard: int, actions: list[str] | None = None, **_: Any) -> None:  # noqa: ANN401  # a newer sender's arguments
        """Drain one shard. Re-enqueues itself, with a countdown, while something is due later."""
        run_step(shard, actions or [])

    @app.task(name="reconciler.sweep.resync", send_events=False, Strategy=STRATEGY)  # type: ignore[untyped-decorator]  # as above
    def sweep_resync() -> None:
        """Heal lost wake-ups."""
        run_resync(current_engine())

    @app.task(name="reconciler.sweep.collect", send_events=False, Strategy=STRATEGY)  # type: ignore[untyped-decorator]  # as above
    def sweep_collect() -> None:
        """Forget what ended long ago."""
        run_collect(current_engine())


def run_resync(engine: Engine) -> None:
    """Heal lost wake-ups, once."""
    try:
        resync(engine.store, engine.messenger)
        _note(engine, "resync")
    except Unavailable as error:
        log.warning("resync.unavailable", error=str(error))


def run_collect(engine: Engine) -> None:
    """Forget what ended long ago, once."""
    try:
        collect(engine.store, engine.settings, engine.blobs)
        _note(engine, "collect")
    except Unavailable as error:
        log.warning("collect.unavailable", error=str(error))


def _note(engine: Engine, sweep: str) -> None:
    """Note that beat is alive: `reconciler doctor` looks for its ticks."""
    if isinstance(engine.store, RedisStore):
        engine.store.say_swept(sweep)


def run_step(shard: int, actions: list[str]) -> None:
    """Run one step of this process's engine.

    A message that names no shard of ours, or no action, is dropped with a warning: it holds no truth.
    """
    engine = current_engine()
    if not isinstance(shard, int) or not 0 <= shard < engine.settings.shards:
        log.warning("step.bad_message", shard=repr(shard)[:80])
        return
    try:
        named = [ActionId.parse(path) for path in actions]
    except (InvalidInput, AttributeError) as error:
        log.warning("step.bad_message", error=str(error))
        named = []
    try:
        stand_by_after(engine, engine.stepper.step(shard, named))
    except Unavailable as error:
        # leases end, and the resync sweep sends again once the server is back
        log.warning("step.unavailable", shard=shard, error=str(error))
