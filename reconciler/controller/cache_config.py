"""Decide how an action uses the cache (R43): whether at all, under which key, and as whom."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.template import TaskMetadata, TaskTemplate, shared_template, template_or_none
from reconciler.controller.dependencies import Dependencies
from reconciler.core.cachekey import CacheConfigError, compute_key
from reconciler.plugins import function
from reconciler.plugins.registry import PluginNotFound
from reconciler.stores.catalog import CacheKey
from reconciler.stores.outputs import read_inputs

replace = msgspec.structs.replace
REMEMBERED_KEYS = 2 * 1024 * 1024
"""Bytes of the keys of inputs in S3 that are remembered."""


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The use one action makes of the cache (R43).

    Attributes:
        key: what its outputs are stored under.
        owner: who it is to the catalog.
        serializable: whether one action at a time may fill the key.
        override: nothing is looked up; the outputs replace the entry.
    """

    key: CacheKey
    owner: str
    serializable: bool
    override: bool = False


def asks_cache(deps: Dependencies, action: TaskAction) -> bool:
    """Return whether rounds of this action may wait for the catalog or S3, whatever their plugin does."""
    try:
        return cache_policy(deps, action) is not None
    except CacheConfigError:
        return False  # the round ends it, and asks nobody


def cache_policy(deps: Dependencies, action: TaskAction) -> TaskMetadata | None:
    """Return the policies of a task that is cached; None when caching is off. Reads no inputs.

    Raises:
        CacheConfigError: the template cannot be read.
    """
    if deps.catalog is None:
        return None
    template = template_or_none(action)
    if template is None:
        raise CacheConfigError("reading task template for cache handling: it is missing or unreadable")
    return template.metadata if template.metadata and template.metadata.discoverable else None


def cache_config(deps: Dependencies, action: TaskAction) -> CacheConfig | None:
    """Return the cache configuration of an action; None when caching is off (R43).

    Raises:
        CacheConfigError: the template cannot be read or says too little, or the inputs cannot be hashed.
        ReadFailed: the inputs cannot be read.
    """
    policy = cache_policy(deps, action)
    if policy is None:
        return None
    template = shared_template(action.spec.task_template)
    if template.id is None:
        raise CacheConfigError("discoverable task is missing identifier")
    return CacheConfig(
        # whose it is says the action, not its template: nobody fills the keys of another project
        key=CacheKey(project=action.id.project, domain=action.id.domain, key=_key(deps, action, template)),
        owner=_owner_of(action),
        serializable=policy.cache_serializable,
        override=policy.cache_override,
    )


def _key(deps: Dependencies, action: TaskAction, template: TaskTemplate) -> str:
    spec, ran = action.spec, _function(deps, action)
    identity = template.id and replace(template.id, project=action.id.project, domain=action.id.domain)
    ignored = template.metadata.cache_ignore_input_vars if template.metadata else ()
    compute = partial(
        compute_key, identity, template.interface, ignored=ignored, version=spec.cache_key, function=ran
    )
    # without an interface all inputs there are count: a key that left them out would serve foreign outputs
    if template.interface is not None and not template.interface.inputs:
        return compute(None)
    if spec.inputs_hash:
        return compute(None, hashed=spec.inputs_hash)
    if spec.inputs is not None or not spec.inputs_digest:
        return compute(_inputs(deps, spec))
    # keys of inputs in S3 are remembered, as their digest vouches that they never change (R49)
    mark = blake2b(spec.task_template, digest_size=16).digest()
    name = (identity, ran, mark, spec.input_uri, spec.inputs_digest, spec.cache_key)
    known = deps.cache_keys.get(name)
    return known or deps.cache_keys.keep(name, compute(_inputs(deps, spec)), 1024 + len(spec.input_uri))


def _inputs(deps: Dependencies, spec: ActionSpec) -> bytes:
    return read_inputs(deps.data_store, spec, limit=deps.settings.max_object_size)


def _function(deps: Dependencies, action: TaskAction) -> str:
    """Find the stored name of the function that runs; empty for plugins of other kinds."""
    try:
        plugin = deps.plugin_registry.resolve(action.spec.task_type)
    except PluginNotFound:
        return ""  # the round ends it for that
    if plugin.id != function.TASK_TYPE:
        return ""
    custom = shared_template(action.spec.task_template).custom
    return str(custom.get("function", ""))


def _owner_of(action: TaskAction) -> str:
    """Name the owner of a reservation so that an earlier action with the same name is another owner."""
    namespace, incarnation = action.metadata.namespace, action.metadata.incarnation
    return f"{namespace}/{action.id}{f'@{incarnation}' if incarnation else ''}"
