"""Define the signs of life of a worker, for `reconciler doctor`. Each release reads the parts it knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import msgspec

from reconciler.settings import PREFIX, Settings

LIFE = 15
"""Seconds for which it is believed; said again every 5."""
OF_ALL = ("namespace", "s3_bucket", "s3_prefix", "steps_queue", "attempts_queue")
"""Settings in which every process must be one with the workers, also one that only submits."""
OF_WORKERS = (*OF_ALL, "durability", "confirm_replicas", "quotas", "max_object_size")
"""Settings in which all workers must be one."""
OF_STEPS = (*OF_WORKERS, "plugins", "plugin_routes", "retention", "collect_objects", "max_system_failures")
"""Settings in which all workers of the steps queue must be one."""


class WorkerFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts one worker tells of itself.

    Attributes:
        pid, host: its process.
        started_at: when it started, ms since the epoch by its own clock.
        queues: what it consumes at the moment; None by a release that does not say so.
        slots: how many things it can run side by side; None by a release that does not say so.
        release: of celery-reconciler.
        settings: a short digest of each value that must be the same elsewhere.
        functions: how many functions of users it can run; None when it runs no attempts.
        resources: those it knows a quota of; None when it cannot tell.
        twin: another living worker of the same name, as `pid 7 on host`.
        troubles: what it could not do, as sentences.
    """

    pid: int = 0
    host: str = ""
    started_at: int = 0
    queues: tuple[str, ...] | None = None
    slots: int | None = None
    release: str = ""
    settings: dict[str, str] = {}
    functions: int | None = None
    resources: tuple[str, ...] | None = None
    twin: str = ""
    troubles: tuple[str, ...] = ()

    @property
    def process(self) -> str:
        """Its process, for people."""
        return f"pid {self.pid} on {self.host}" if self.host else f"pid {self.pid or '?'}"


_decode = msgspec.json.Decoder(WorkerFacts).decode


def read_facts(data: bytes) -> WorkerFacts:
    """Read the signs of life of a worker; empty facts when they are unreadable."""
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return WorkerFacts()


def release() -> str:
    """Name the release of this process; empty in a source tree that is not installed."""
    try:
        return version("celery-reconciler")
    except PackageNotFoundError:
        return ""


def digests(settings: Settings) -> dict[str, str]:
    """Digest each value that must be the same elsewhere: just long enough to show that two differ."""
    return {name: hashlib.sha256(repr(getattr(settings, name)).encode()).hexdigest()[:8] for name in OF_STEPS}


def differing(one: Mapping[str, str], other: Mapping[str, str], names: tuple[str, ...]) -> list[str]:
    """List the settings that both have and that differ."""
    return [
        f"{PREFIX}{name.upper()}"
        for name in names
        if name in one and name in other and one[name] != other[name]
    ]
