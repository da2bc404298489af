"""The result backend of a durable task: it keeps what the tracer says, and reaches no server."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, states
from celery.backends.base import DisabledBackend
from kombu.exceptions import EncodeError

from reconciler.celery_tasks.carrying import to_json, unwritable

_task_log = logging.getLogger("celery.task")
"""Goes to the log of the attempt, like all that the task says."""


class Recorder(DisabledBackend):  # type: ignore[misc]  # Celery has no types
    """Records states of one call.

    Attributes:
        said: state and result the task has set last by `update_state`; None when it has set none.
    """

    def __init__(self, app: Celery, name: str) -> None:
        super().__init__(app)
        self._name = name
        self._ended = False
        self.said: tuple[str, Any] | None = None

    def store_result(  # Celery's signature
        self,
        task_id: str,
        result: object,
        state: str,
        traceback: object = None,
        request: object = None,
        **_: Any,  # Celery's keyword arguments
    ) -> object:
        """Keep it. A state of the task's own goes to the log, where it can be followed.

        Raises:
            EncodeError: a result has no JSON form.
        """
        del task_id, traceback, request
        if self._ended or state == states.STARTED:
            return result
        if state == states.SUCCESS:
            try:
                to_json(result)
            except (TypeError, ValueError) as error:
                raise EncodeError(unwritable(self._name, error)) from error
        self.said = (state, result)
        return result

    def update(self, state: str | None, meta: object) -> None:
        """Keep a state the task has set itself, and say it in the log."""
        self.store_result("", meta, state or "")
        _task_log.info("state %s: %r", state, meta)

    def mark_as_done(
        self, task_id: str, result: object, request: object = None, store_result: bool = True, **_: Any
    ) -> None:
        """The tracer says that it has succeeded."""
        if store_result:
            self.store_result(task_id, result, states.SUCCESS, request=request)
        self._ended = True

    def mark_as_failure(self, *_: Any, **__: Any) -> None:  # as Celery
        """The tracer says that it has failed; the outcome is what it returns."""
        self._ended = True

    def mark_as_retry(self, *_: Any, **__: Any) -> None:  # as Celery
        """The tracer says that it is to be tried again."""
        self._ended = True
