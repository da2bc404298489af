"""Define the role of a worker: it follows from the queues it consumes, and decides which pools are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from celery import concurrency
from celery.utils.text import str_to_list

from reconciler.broker.queues import plain_name
from reconciler.settings import Settings
from worker import start

_POOLS = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
}
"""Pools that keep promises, where `Role.pools` allows them; gevent and eventlet keep none of ours."""


class Role(msgspec.Struct, frozen=True):
    """The role of a worker: which queues it consumes, and so what it does.

    Attributes:
        steps: whether it consumes the steps queue.
        attempts: whether it consumes any other queue: user code is sent there, whatever the queue's name is.
    """

    steps: bool
    attempts: bool

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools it may have, the best first.

        Threads of one process share what an abort stops. Solo is late with countdowns, and an attempt in it would hold up
        all steps.
        """
        if self.attempts:
            return ("prefork",) if self.steps else ("prefork", "solo")
        return ("threads", "prefork")


def role_of(queues: Iterable[str], settings: Settings) -> Role:
    """Find the role of a worker that consumes these queues."""
    names = set(queues)
    return Role(settings.steps_queue in names, bool(names - {settings.steps_queue}))


def chosen_queues(conf: Any, options: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  # Celery's configuration
    """List the queues a worker with these options will consume: `-Q`, or all that are configured, without those of `-X`."""
    chosen = str_to_list(options.get("queues")) or [plain_name(queue) for queue in conf.task_queues]
    excluded = str_to_list(options.get("exclude_queues")) or []
    return [name for name in chosen if name not in excluded]


def role_problems(role: Role, queues: Sequence[str], pool: object) -> list[str]:
    """Say why a worker of this role cannot work with this pool, as sentences with a remedy.

    Args:
        role: what it does.
        queues: what it consumes, for people.
        pool: a class, or the name of one as Celery understands it.
    """
    if not (role.steps or role.attempts):
        return ["this worker would consume no queue: name one with -Q, or take it out of -X"]
    kind = concurrency.get_implementation(pool)
    if any(_is(kind, name) for name in role.pools):
        return []
    allowed = " or ".join(f"-P {name}" for name in role.pools)
    text = f"the pool {_name(kind)} cannot keep our promises for {' and '.join(queues)}, {_why(role)}: use {allowed}"
    apart = "; or two workers, one for steps with -P threads, one for the rest with -P prefork"
    return [text + (apart if role.steps and role.attempts else "")]


def refuse_missing_pools() -> None:
    """Let a pool that cannot be imported end the start like any other that is refused, instead of with a traceback.

    With `-P gevent` on the command line Celery imports that package before anything of ours, and fails by itself.
    """
    implementation_of = concurrency.get_implementation

    def found(pool: object) -> object:
        try:
            return implementation_of(pool)
        except ImportError as error:
            start.end(
                [f"the pool {pool} cannot be imported ({error}): use -P prefork, or -P threads for steps"]
            )

    concurrency.get_implementation = found


def is_solo(pool: object) -> bool:
    """Tell whether a pool runs its tasks in the thread that takes messages."""
    return _is(type(pool), "solo")


def is_threads(pool: object) -> bool:
    """Tell whether a pool runs its tasks in threads of the process that takes messages."""
    return _is(type(pool), "threads")


def slots_of(worker: Any) -> int:  # noqa: ANN401  # Celery's worker
    """Count how many things a worker can run side by side; one that grows when there is work, as far as it can grow."""
    scaler = worker.autoscaler
    return int(worker.pool.num_processes if scaler is None else scaler.max_concurrency)


def _why(role: Role) -> str:
    if role.attempts:
        return "where functions run (one must be stopped without its neighbours, and must not hold up leases)"
    return "where steps run (they come with countdowns, side by side)"


def _is(kind: object, name: str) -> bool:
    try:
        return isinstance(kind, type) and issubclass(kind, concurrency.get_implementation(_POOLS[name]))
    except ImportError:
        return False


def _name(kind: object) -> str:
    known = {target: name for name, target in concurrency.ALIASES.items() if name != "custom"}
    target = f"{getattr(kind, '__module__', '')}:{getattr(kind, '__qualname__', kind)}"
    return str(known.get(target, target))
