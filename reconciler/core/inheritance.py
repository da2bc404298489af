"""Decide what a child inherits from its parent, and complete a spec before it is stored."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.schedule import NOW, Schedule
from reconciler.api.template import shared_template
from reconciler.core.cachekey import CacheConfigError, hash_inputs


def inherited(action: TaskAction, parent: TaskAction, plan: Schedule = NOW) -> TaskAction:
    """Pass to a child what its parent has; the child's own values, and those of its submission, win (R75).

    Labels of the end are no part of what is handed down (R75): a child is not born collectable.
    """
    spec, meta = action.spec, action.metadata
    interruptible = parent.spec.interruptible if spec.interruptible is None else spec.interruptible
    return TaskAction(
        action.id,
        msgspec.structs.replace(
            spec, env_vars={**parent.spec.env_vars, **spec.env_vars}, interruptible=interruptible
        ),
        metadata=msgspec.structs.replace(
            meta,
            incarnation=parent.metadata.incarnation,
            traceparent=parent.metadata.traceparent,
            extra_labels={**parent.metadata.extra_labels, **meta.extra_labels},
            annotations={**parent.metadata.annotations, **meta.annotations},
            priority=parent.metadata.priority if plan.priority is None else meta.priority,
            fair_key=meta.fair_key or parent.metadata.fair_key,
        ),
    )


def with_inputs_hash(spec: ActionSpec) -> ActionSpec:
    """Add the hash of its inputs to the spec of a cached task, so that no round has to read them (R49).

    What cannot be hashed stays without: the action is accepted, and its first round says what is wrong.
    """
    if spec.inputs is None or not spec.task_template:
        return spec
    try:
        policy = shared_template(spec.task_template).metadata
        if policy is None or not policy.discoverable:
            return spec
        hashed = hash_inputs(spec.inputs, policy.cache_ignore_input_vars)
    except (msgspec.DecodeError, CacheConfigError):
        hashed = ""
    return msgspec.structs.replace(spec, inputs_hash=hashed)
