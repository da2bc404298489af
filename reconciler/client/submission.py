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

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidName, InvalidSpec
from reconciler.api.schedule import Schedule, check_fair_key
from reconciler.api.status_conditions import cut
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.api.texts import check_text
from reconciler.core.children import ROOT, member_name
from reconciler.core.paths import INLINE
from reconciler.core.redaction import redaction_of_group
from reconciler.plugins import group
from reconciler.plugins.group_config import WINDOW, GroupConfig

MAX_ACTOR = 256
"""Longest name of who aborts or signals, in characters; what is longer is cut (R15)."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_GROUP_TEMPLATE = encode_template(TaskTemplate(type=group.TASK_TYPE))


def group_root(
    seed: ActionSpec, expected: int, *, keep_failures: bool, called_again: bool = False
) -> ActionSpec:
    """Make the root of a group, which ends when its `expected` children have."""
    config = GroupConfig(expected=expected, keep_failures=keep_failures, called_again=called_again)
    return msgspec.structs.replace(
        seed,
        action_name=ROOT,
        task_type=group.TASK_TYPE,
        task_template=_GROUP_TEMPLATE,
        input_uri=INLINE,
        inputs=msgspec.json.encode(config),
    )


def map_root(seed: ActionSpec, config: GroupConfig, members: bytes, spec: ActionSpec) -> ActionSpec:
    """Make the root of a group that starts its members itself; `members` as `encode_members` writes them of this spec."""
    template = TaskTemplate(type=WINDOW, custom=msgspec.to_builtins(config), redact=redaction_of_group(spec))
    return msgspec.structs.replace(
        seed,
        action_name=ROOT,
        task_type=WINDOW,
        task_template=encode_template(template),
        inputs=members,
    )


def in_group(seed: ActionSpec, spec: ActionSpec, index: int) -> ActionSpec:
    """Make a spec child number `index` of the group whose identity `seed` carries."""
    return msgspec.structs.replace(
        spec,
        project=seed.project,
        domain=seed.domain,
        run_name=seed.run_name,
        action_name=member_name(ROOT, index),
        parent_action_name=ROOT,
    )


def plans(plan: Schedule, fair_key: str | Sequence[str], count: int) -> list[Schedule]:
    """Make a plan for each of many actions: equal except for the fair key.

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


def stem_of(specs: Sequence[ActionSpec]) -> str:
    """Return the text after which a run of these specs is named."""
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
