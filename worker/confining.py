"""Keeps a worker what it is: it runs no task of another role, and Flower cannot make it consume one's queue."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.worker.control import Panel, nok

from reconciler.broker.messages import RUN_ATTEMPT
from reconciler.settings import Settings
from worker.role import Role

_ADD = "add_consumer"


def confine(app: Celery, role: Role, settings: Settings) -> None:
    """To be called before a worker consumes.

    A worker of the steps queue alone may hold the secret of callbacks: user code is never to run beside it. So it does not
    know the task of attempts; a message that names it is dropped with Celery's error, and its launch is sent again.
    """
    if not role.attempts:
        app.tasks.unregister(RUN_ATTEMPT)
    add = Panel.data[_ADD]

    def add_consumer(state: Any, queue: str, **options: Any) -> Any:  # noqa: ANN401  # Celery has no types
        steps = queue == settings.steps_queue
        if (steps and not role.steps) or (not steps and not role.attempts):
            return nok(
                f"a worker that was started for {'steps' if role.steps else 'attempts'} alone does not take the queue "
                f"{queue!r}: start another one with -Q {queue}"
            )
        return add(state, queue=queue, **options)

    Panel.data[_ADD] = add_consumer
