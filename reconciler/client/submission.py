"""Complete the specs of a submission: names, and the root of a group."""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import secrets
import socket
from collections.abc import Sequence
from functools import cache

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.errors import InvalidName, InvalidSpec
from reconciler.api.schedule import NOW, Schedule, check_fair_key
from reconciler.api.status_conditions import cut
from reconciler.api.template import TaskTemplate, encode_template, shared_template
from reconciler.api.texts import check_text
from reconciler.core.cachekey import CacheConfigError, hash_inputs
from reconciler.core.paths import INLINE
from reconciler.plugins import group

ROOT = "a0"
"""Name of a run's root action unless another one is given."""
MAX_ACTOR = 256
"""Longest name of who aborts or signals, in characters; what is longer is cut (R15)."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_GROUP_TEMPLATE = encode_template(TaskTemplate(type=group.TASK_TYPE))


def group_root(
    seed: ActionSpec, expected: int, *, keep_failures: bool, called_again: bool = False
) -> ActionSpec:
    """Make the root of a group, which ends when its `expected` children have."""
    config = group.GroupConfig(expected=expected, keep_failures=keep_failures, called_again=called_again)
    return msgspec.structs.replace(
        seed,
        action_name=ROOT,
        task_type=group.TASK_TYPE,
        task_template=_GROUP_TEMPLATE,
        input_uri=INLINE,
        inputs=msgspec.json.encode(config),
    )


def member(index: int) -> str:
    """Name of a group's child."""
    return f"m{index}"


def in_group(seed: ActionSpec, spec: ActionSpec, index: int) -> ActionSpec:
    """Make a spec child `index` of the group whose identity `seed` carries."""
    return msgspec.structs.replace(
        spec,
        project=seed.project,
        domain=seed.domain,
        run_name=seed.run_name,
        action_name=member(index),
        parent_action_name=ROOT,
    )


def plans(plan: Schedule, fair_key: str | Sequence[str], count: int) -> list[Schedule]:
    """Make a plan for each of many actions: the same, but for its fair key.

    Args:
        plan: of all.
        fair_key: of all, or one for each.
        count: of the actions.

    Raises:
        InvalidSpec: a key is not allowed, or there are more or fewer than actions.
    """
    keys = [fair_key] * count if isinstance(fair_key, str) else [check_fair_key(key) for key in fair_key]
    if len(keys) != count:
        raise InvalidSpec(f"give one fair key, or one for each spec: there are {len(keys)} for {count} specs")
    made = {key: msgspec.structs.replace(plan, fair_key=key) for key in set(keys)}
    return [made[key] for key in keys]


def new_run_name(stem: str) -> str:
    """Make a name nobody used before: up to 21 characters of `stem` and 8 random ones (40 bits)."""
    clean = (
        "".join(c if c.isalnum() and c.isascii() else "-" for c in stem.rpartition(".")[2])[:21].strip("-")
        or "run"
    )
    return f"{clean}-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"


def new_incarnation() -> str:
    """Make the mark that tells a run from all others that ever had its name: 10 random characters (50 bits)."""
    # one call to the system: it is drawn for each action of a submission
    return base64.b32encode(secrets.token_bytes(7))[:10].decode().lower()


def key_name(key: str) -> str:
    """Compute the run name of an idempotency key: the same for the same key.

    Raises:
        InvalidName: it is no text, or holds half a character.
    """
    check_text("the idempotency key", key, InvalidName)
    return "k-" + hashlib.blake2b(key.encode(), digest_size=14).hexdigest()


def inherited(action: TaskAction, parent: TaskAction, plan: Schedule = NOW) -> TaskAction:
    """Hand down to a child what its parent has; what the child has itself, or its submission said, wins (R75).

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
            extra_labels={**parent.metadata.extra_labels, **meta.extra_labels},
            annotations={**parent.metadata.annotations, **meta.annotations},
            priority=parent.metadata.priority if plan.priority is None else meta.priority,
            fair_key=meta.fair_key or parent.metadata.fair_key,
            traceparent=parent.metadata.traceparent,
        ),
    )


def with_inputs_hash(spec: ActionSpec) -> ActionSpec:
    """Add the hash of its inputs to the spec of a cached task, so that no round has to read them for it (R49).

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


def stem_of(specs: Sequence[ActionSpec]) -> str:
    """Tell what a run of these specs is named after."""
    return (specs[0].short_name or specs[0].task_type) if specs else group.TASK_TYPE


@cache
def me() -> str:
    """Return what `whoami` does, asked once per process: every submission says it."""
    return cut(whoami(), MAX_ACTOR)


def whoami() -> str:
    """Name this process as `user@host`, for the actor of aborts and signals."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
