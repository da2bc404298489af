"""Makes the `self.request` of a durable task, and carries what one attempt leaves to the next."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

import msgspec
from celery import Task

from reconciler.core.current import CurrentAttempt


class Limits(NamedTuple):
    """Time limits of one call, seconds: when it is killed, and when it is warned."""

    hard: float | None = None
    soft: float | None = None


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state that `self.retry()` leaves to the attempts after it.

    Attributes:
        retries: how often the task has asked for a retry: `self.request.retries`.
        body: changed arguments, `[args, kwargs]` as Celery's JSON; empty: those the action was submitted with.
        redelivered: the attempt before gave its message back, by `Reject(requeue=True)`.
    """

    retries: int = 0
    body: str = ""
    redelivered: bool = False

    @classmethod
    def of(cls, attempt: CurrentAttempt) -> Carried:
        """Read what an attempt was given."""
        return msgspec.json.decode(attempt.carried, type=cls) if attempt.carried else cls()

    def written(self) -> str:
        """Write it as text."""
        return msgspec.json.encode(self).decode()


def hostname() -> str:
    """Name of the worker, for the task."""
    return f"reconciler@{socket.gethostname()}"


def request_of(task: Task, queue: str, attempt: CurrentAttempt, limits: Limits) -> dict[str, Any]:
    """Make the request of a call.

    Its id is the path of the action: the same in each attempt, as Celery's is, for tasks that use it to do a thing once.
    """
    carried = Carried.of(attempt)
    return {
        "id": attempt.path,
        "root_id": attempt.path,
        "correlation_id": attempt.path,
        "parent_id": None,
        "task": task.name,
        "retries": carried.retries,
        "hostname": hostname(),
        "origin": hostname(),
        "is_eager": False,
        "timelimit": [limits.hard, limits.soft],
        "ignore_result": task.ignore_result,
        "callbacks": None,
        "errbacks": None,
        "chain": None,
        "chord": None,
        "headers": None,
        "expires": None,
        "eta": None,
        "utc": True,
        "delivery_info": {
            "exchange": "",
            "routing_key": queue,
            "priority": None,
            "redelivered": carried.redelivered,
        },
    }
