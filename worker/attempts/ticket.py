"""Check a ticket in the worker's main process: a worker acts only on queues it consumes.

Whoever may write to one queue could else have a worker draw from another one, where the functions of others wait for a
worker with other rights. The processes of the pool do not know which queues their worker consumes: that changes.
"""

from __future__ import annotations

import structlog
from celery import Celery
from celery.worker.request import Request
from celery.worker.state import task_ready

from reconciler.api.errors import InvalidName
from reconciler.api.queues import check_attempts_queue
from reconciler.broker.queues import plain_name
from worker.process import current_settings

log = structlog.get_logger(__name__)
_SHOWN = 100
"""Most characters of what a message says that are logged."""


class Ticket(Request):  # type: ignore[misc]  # Celery has no types
    """Celery's request for a ticket: a ticket that names no queue of this worker is dropped."""

    def revoked(self) -> bool:
        """Tell whether it must not run; Celery asks before it passes the request to the pool."""
        if super().revoked():
            return True
        problem = _problem(self.app, self.args, self.kwargs)
        if problem:
            log.warning("ticket.refused", problem=problem)
            task_ready(self)
            self.acknowledge()
        return bool(problem)


def _problem(app: Celery, args: object, named: object) -> str:
    """Say why a ticket is dropped; empty when it is good. A newer sender may add queues, but never leave out the queue."""
    if (
        not isinstance(args, list | tuple)
        or len(args) != 1
        or not isinstance(named, dict)
        or "queue" in named
    ):
        return f"a ticket names one queue, and this one says {args!r:.{_SHOWN}}"
    [queue] = args
    try:
        check_attempts_queue(queue, current_settings().steps_queue)
    except InvalidName as error:
        return str(error)
    consumed = sorted(map(plain_name, app.amqp.queues.consume_from.values()))
    if queue in consumed:
        return ""
    return f"this worker does not consume the queue {queue!r}, but {', '.join(map(repr, consumed))}"
