"""Runs one call of a Celery task by Celery's own tracer, and says how it ended."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Task, states
from celery.app import trace
from celery.exceptions import Reject

from reconciler.api.asked import AskedRetry, RetryAsked
from reconciler.api.errors import NonRetryableError
from reconciler.celery_tasks.carrying import from_json
from reconciler.celery_tasks.django_project import close_connections
from reconciler.celery_tasks.publishing import CeleryUnsupported, Outbox
from reconciler.celery_tasks.recording import Recorder
from reconciler.celery_tasks.request import Carried, Limits, hostname, request_of
from reconciler.celery_tasks.softly import soft_limit
from reconciler.core.current import CurrentAttempt

_REDELIVERY = 1_000
"""How long a message that was given back waits, ms: Celery's comes back at once, and a loop of it takes a worker."""


class TaskMarkedFailed(NonRetryableError):
    """The task set its state to FAILURE by `update_state` and raised `Ignore`."""


def run_traced(
    task: Task,
    queue: str,
    limits: Limits,
    attempt: CurrentAttempt,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # the task's result
    """Run one attempt of a task.

    Returns:
        Its result; None where it ignores its result, and after `Ignore`.

    Raises:
        RetryAsked: it wants another attempt.
        CeleryUnsupported: it asked for what an action has not.
        Exception: what it raised.
    """
    carried = Carried.of(attempt)
    if carried.body:
        args, kwargs = from_json(carried.body)
    recorder = Recorder(task.app, task.name, attempt.path)
    outbox = Outbox(task, recorder, carried)
    request = request_of(task, queue, attempt, limits)
    try:
        with outbox.in_place(), soft_limit(limits.soft):
            tracer = trace.build_tracer(task.name, task, task.app.loader, hostname(), app=task.app)
            traced = tracer(attempt.path, list(args), dict(kwargs), request)
    finally:
        close_connections()
    state = traced.info.state if traced.info is not None else states.SUCCESS
    if outbox.refused:
        raise CeleryUnsupported(outbox.refused)
    if outbox.asked is not None and state != states.RETRY:
        raise CeleryUnsupported(
            f"{task.name} asked for a retry and went on: let what retry() raises leave the task, past its `except`, too"
        )
    return _ended(task, traced, recorder, outbox.asked, carried)


def _ended(task: Task, traced: Any, recorder: Recorder, asked: AskedRetry | None, carried: Carried) -> Any:
    if traced.info is None:
        if isinstance(traced.retval, ExceptionInfo):  # the tracer itself failed, as by a hook of the task
            raise _own(traced.retval.exception)
        return None if task.ignore_result else traced.retval
    state, error = traced.info.state, traced.info.retval
    if state == trace.IGNORED:
        return _ignored(task, recorder)
    if state == trace.REJECTED:
        raise _rejected(task, error, carried)
    if state == states.RETRY:
        raise _retry(task, error, asked)
    raise _own(error)


def _retry(task: Task, error: BaseException, asked: AskedRetry | None) -> Exception:
    if asked is None:
        again: Exception = CeleryUnsupported(
            f"{task.name} raised Retry without self.retry(), so nothing says what the next attempt is; raise self.retry(…)"
        )
    else:
        again = RetryAsked(asked)
    again.__cause__ = _own(error)
    return again


def _ignored(task: Task, recorder: Recorder) -> Any:  # the task's result
    """Handle `Ignore`: the state that the task has set itself stays; without one it has ended with no result."""
    state, meta = recorder.said or ("", None)
    if state in states.EXCEPTION_STATES:
        text = (
            f"{meta['exc_type']}: {meta.get('exc_message')}"
            if isinstance(meta, dict) and "exc_type" in meta
            else repr(meta)
        )
        raise TaskMarkedFailed(f"{task.name} set its state to {state}: {text}")
    return meta if state == states.SUCCESS else None


def _rejected(task: Task, error: Reject, carried: Carried) -> BaseException:
    """Handle a rejected message: given back, it comes again where Celery would still hold it; otherwise it is dropped."""
    if not (error.requeue and task.acks_late):
        error.retryable = False
        return _own(error)
    again = RetryAsked(
        AskedRetry(_REDELIVERY, Carried(carried.retries, carried.body, redelivered=True).written())
    )
    again.__cause__ = _own(error)
    return again


def _own(error: BaseException) -> BaseException:
    """Return the error without the frames of the tracer."""
    frames: TracebackType | None = error.__traceback__
    while (
        frames is not None
        and frames.tb_next is not None
        and frames.tb_frame.f_code.co_filename == trace.__file__
    ):
        frames = frames.tb_next
    return error.with_traceback(frames)
