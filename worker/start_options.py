"""Refuse options that break promises, and queues nobody sends to: at the start, and by remote control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.api.errors import InvalidName
from reconciler.api.queues import check_attempts_queue
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.settings import Settings

_REMEDY = (
    "it would kill the process of a batch, and end its actions as WorkerLost, or cut steps short: take it away, and "
    "limit a function with `timeout=` of its task"
)

RATE = (
    "a rate limit of Celery would hold up every action of the worker: take it away, and bound what runs side by side with a "
    "quota (`resources=` of its task)"
)


def queue_problems(queues: Iterable[str], settings: Settings) -> list[str]:
    """List the queues of a worker to which nothing is ever sent, one sentence each.

    Args:
        queues: as `-Q` names them.
        settings: of the installation.
    """
    found = []
    for queue in queues:
        if queue == settings.steps_queue:
            continue
        try:
            check_attempts_queue(queue, settings.steps_queue, settings.events_exchange)
        except InvalidName as error:
            plain = queue.removeprefix(f"{settings.key_prefix}:")
            hint = f"; -Q takes the plain name, as `-Q {plain}`" if plain != queue else ""
            found.append(f"nothing is ever sent to the queue {queue!r} of this worker: {error}{hint}")
    return found


def limit_problems(worker: Any, tasks: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  # Celery's objects
    """Find Celery's limits of time and of rate that would hold for our tasks, however they were set, a sentence each.

    Args:
        worker: as Celery has set it up, from options and configuration.
        tasks: of the application.
    """
    limits = {
        "the option --time-limit (or task_time_limit)": worker.time_limit,
        "the option --soft-time-limit (or task_soft_time_limit)": worker.soft_time_limit,
    }
    for name in (RECONCILE, RUN_ATTEMPTS):
        task = tasks.get(name)
        limits[f"time_limit of the task {name}"] = getattr(task, "time_limit", None)
        limits[f"soft_time_limit of the task {name}"] = getattr(task, "soft_time_limit", None)
    rates = {name: getattr(tasks.get(name), "rate_limit", None) for name in (RECONCILE, RUN_ATTEMPTS)}
    found = [f"{what} is {limit:g} s: {_REMEDY}" for what, limit in limits.items() if limit]
    return found + [
        f"rate_limit of the task {name} is {rate}: {RATE}" for name, rate in rates.items() if rate
    ]
