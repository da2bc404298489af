"""Define what a task *is*: identity, interface and policies. Stored once in a shard, referenced by its actions.

Durations are ISO 8601 in JSON (`PT10M`) and `timedelta` in Python. Unknown fields are kept, because templates are passed
on as the bytes that were submitted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.reading import read_json
from reconciler.api.remembered import Remembered
from reconciler.api.texts import plain


class Identifier(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Identity of a task. `version` is no part of a cache key (R49)."""

    resource_type: str = "TASK"
    project: str = ""
    domain: str = ""
    name: str = ""
    version: str = ""
    org: str = ""


class Interface(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Names and type names of inputs and outputs."""

    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}


class RetryStrategy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """User retries beyond the first attempt, and the delay between attempts (R31, R33).

    The delay before attempt n + 1 is `backoff * factor ** (n - 1)`, at most `max_backoff`, with up to 10 % added at random.
    """

    retries: int = 0
    backoff: timedelta = timedelta(0)
    factor: float = 2.0
    max_backoff: timedelta = timedelta(minutes=5)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Time limits; None means no limit (R34). An action that passes one ends in TIMED_OUT.

    Attributes:
        queued: from the start of an attempt until it runs. Passed, it ends the action.
        running: of one attempt, from its start by a worker. Passed, it ends the attempt; while retries last another follows.
        heartbeat: longest silence of a running attempt; None means the installation's attempt lease. Passed, the worker
            counts as lost and the attempt is launched again.
        overall: from acceptance to the end, over all attempts. Passed, it ends the action.
    """

    queued: timedelta | None = None
    running: timedelta | None = None
    heartbeat: timedelta | None = None
    overall: timedelta | None = None


class TaskMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Policies of a task."""

    discoverable: bool = False
    discovery_version: str = ""
    cache_serializable: bool = False
    cache_ignore_input_vars: tuple[str, ...] = ()
    cache_override: bool = False
    """Nothing is looked up; the outputs replace the entry of the cache."""
    retries: RetryStrategy = RetryStrategy()
    timeouts: Timeouts = Timeouts()
    interruptible: bool = False


class SecretRef(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A secret by reference, never its value (R71). `env`: the environment variable for it; empty: named by its key."""

    key: str
    group: str = ""
    mount: str = "env"
    env: str = ""


class Redaction(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The values that are shown on no page, by no command and in no log.

    Attributes:
        inputs: names of inputs; `*` = all of them.
        outputs: whether the outputs.
    """

    inputs: tuple[str, ...] = ()
    outputs: bool = False


class TaskTemplate(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One task. `custom` belongs to the plugin of `type`."""

    id: Identifier | None = None
    type: str = ""
    metadata: TaskMetadata | None = None
    interface: Interface | None = None
    custom: dict[str, Any] = {}
    secrets: tuple[SecretRef, ...] = ()
    service_account: str = ""
    redact: Redaction | None = None


_encoder = msgspec.json.Encoder(enc_hook=plain, order="deterministic")


_templates: Remembered[bytes, TaskTemplate] = Remembered(2 * 1024 * 1024)
"""Templates by their bytes. Decoded, a hostile one takes some 30 times its size, an ordinary one 5 times."""


def shared_template(data: bytes) -> TaskTemplate:
    """Decode a template, once per process for equal bytes. The result is shared: do not change it.

    Raises:
        msgspec.DecodeError: the bytes are no template; the message names the place.
    """
    found = _templates.get(data)
    return found if found is not None else _templates.keep(data, parse_template(data), len(data))


def parse_template(data: bytes) -> TaskTemplate:
    """Decode a template for a caller who may change what it holds.

    Raises:
        msgspec.DecodeError: the bytes are no template; the message names the place.
    """
    return read_json(data, TaskTemplate)


def template_or_none(action: TaskAction) -> TaskTemplate | None:
    """Read the template of an action, not to be changed; None when it is missing or unreadable (R31, R67)."""
    try:
        return shared_template(action.spec.task_template) if action.spec.task_template else None
    except msgspec.DecodeError:
        return None


def encode_template(template: TaskTemplate) -> bytes:
    """Encode a template: equal templates give equal bytes."""
    return _encoder.encode(template)
