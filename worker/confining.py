"""Keep a worker to its role: it runs no task of another role, and Flower cannot make it consume such a queue."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.worker.control import Panel, nok

from reconciler.broker.messages import RUN_ATTEMPTS
from reconciler.settings import Settings
from worker.receiving import CONSUMER, refuse_compression
from worker.role import Role
from worker.start_options import RATE, queue_problems

_ADD = "add_consumer"
_LIMIT = "time_limit"
_RATE = "rate_limit"


def confine(app: Celery, role: Role, settings: Settings) -> None:
    """Confine the process; call it before a worker consumes.

    A worker of the steps queue alone may hold the secret of callbacks: user code is never to run beside it. So it does not
    know the task of attempts; a ticket is dropped, and the launches it stands for wait for another one.
    """
    refuse_compression()
    app.conf.worker_consumer = CONSUMER
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)  # Celery's own: they run, and send, whatever task a message names
    if not role.attempts:
        app.tasks.unregister(RUN_ATTEMPTS)
    add = Panel.data[_ADD]

    def add_consumer(state: Any, queue: str, **options: Any) -> Any:  # noqa: ANN401  # Celery has no types
        steps = queue == settings.steps_queue
        if (steps and not role.steps) or (not steps and not role.attempts):
            return nok(
                f"a worker that was started for {'steps' if role.steps else 'attempts'} alone does not take the queue "
                f"{queue!r}: start another one with -Q {queue}"
            )
        if problems := queue_problems([queue], settings):
            return nok(problems[0])
        return add(state, queue=queue, **options)

    Panel.data[_ADD] = add_consumer
    Panel.data[_LIMIT] = _refuse_limit
    Panel.data[_RATE] = _refuse_rate


def _refuse_limit(*_: Any, **__: Any) -> Any:  # noqa: ANN401  # Celery has no types
    return nok(
        "a time limit of Celery would end actions for good: limit a function with `timeout=` of its task"
    )


def _refuse_rate(*_: Any, **__: Any) -> Any:  # noqa: ANN401  # Celery has no types
    return nok(RATE)
