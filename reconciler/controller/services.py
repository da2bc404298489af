"""Collect what every plugin gets of its reconciler: the attributes as they are now (R63)."""

from __future__ import annotations

from functools import partial

from reconciler.controller.dependencies import Dependencies
from reconciler.plugins.context import Services
from reconciler.plugins.members import MemberStarter
from reconciler.plugins.suspension import ended_below, phases_of, stop_attempt, turns_back


def services_of(deps: Dependencies) -> Services:
    """Collect the services of a reconciler."""
    store, settings = deps.store, deps.settings
    return Services(
        data_store=deps.data_store,
        secret_manager=deps.secret_manager,
        resource_manager=deps.resource_manager,
        catalog_client=deps.catalog_client,
        stop_attempt=partial(stop_attempt, store),
        phases_of=partial(phases_of, store),
        ended_below=partial(ended_below, store),
        turns_back=partial(turns_back, store),
        start_members=MemberStarter(store, deps.data_store, settings, deps.announce),
        find_function=deps.known_functions,
        object_limit=settings.max_object_size,
        requeue=deps.requeue_duration,
        patience=int(settings.unknown_function_patience.total_seconds() * 1000),
        installation=f"{settings.cluster}/{settings.key_prefix}",
    )
