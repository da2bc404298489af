"""The result backend of a durable task: it keeps what the tracer says, and reaches no server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from celery import Celery, states
from celery.backends.base import DisabledBackend
from kombu.exceptions import EncodeError

from reconciler.celery_tasks.carrying import to_json, unwritable
from reconciler.children.current import current_parent
from reconciler.children.requests import Say

_task_log = logging.getLogger("celery.task")
"""Goes to the log of the attempt, like all that the task says."""


class Recorder(DisabledBackend):  # type: ignore[misc]  # Celery has no types
    """Records states of one call.

    Attributes:
        said: state and result the task has set last by `update_state`; None when it has set none.
        refuse: called with what an action cannot do; raises.
    """

    refuse: Callable[[str], NoReturn]

    def __init__(self, app: Celery, name: str, task_id: str) -> None:
        super().__init__(app)
        self._name = name
        self._id = task_id
        self.said: tuple[str, Any] | None = None

    def store_result(self, task_id: str, result: object, state: str, *_: Any, **__: Any) -> object:
        """Keep a state that the task sets itself; write it into the log and the record."""
        if task_id != self._id:
            self.refuse("update_state of another task: a durable task knows its own state only")
        if state != states.STARTED:  # said by the tracer
            self.said = (state, result)
            _task_log.info("state %s: %r", state, result)
            parent = current_parent()
            if parent is not None:
                parent.tell(Say(state, _document(result)))
        return result

    def mark_as_done(
        self, task_id: str, result: object, request: object = None, store_result: bool = True, **_: Any
    ) -> None:
        """Note that it has succeeded, as the tracer says.

        Raises:
            EncodeError: its result has no JSON form.
        """
        del task_id, request
        if not store_result:
            return
        try:
            to_json(result)
        except (TypeError, ValueError) as error:
            raise EncodeError(unwritable(self._name, error)) from error

    def mark_as_failure(self, *_: Any, **__: Any) -> None:  # as Celery
        """Note that it has failed, as the tracer says; the outcome is what it returns."""

    def mark_as_retry(self, *_: Any, **__: Any) -> None:  # as Celery
        """Note that it is to be tried again, as the tracer says."""


def _document(meta: object) -> bytes:
    try:
        return to_json(meta).encode(errors="replace")
    except (TypeError, ValueError):
        return msgspec.json.encode(repr(meta).encode(errors="replace").decode())
