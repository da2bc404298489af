"""Plays the attempts workers of a lab: runs what was launched here and now, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reconciler.api.action import SUSPENDED, AttemptOutcome, TaskAction
from reconciler.api.asked import RetryAsked
from reconciler.api.errors import InvalidArguments, SecretUnavailable
from reconciler.api.secret import variable_of
from reconciler.api.transition import ErrorKind, ExecutionError
from reconciler.children.current import parent_context
from reconciler.children.desk import Desk
from reconciler.children.errors import SWALLOWED, WENT_ON, is_suspension
from reconciler.children.parent import Parent
from reconciler.children.requests import Answer, Request
from reconciler.children.starting_over import start_over
from reconciler.children.unasked import unasked
from reconciler.core.current import CurrentAttempt, attempt_context
from reconciler.core.deadlines import RUNNING_TIMED_OUT, limits_of, running_left
from reconciler.core.functions import RegisteredFunction, registry
from reconciler.core.signature import too_large
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function import config_of
from reconciler.plugins.state import PluginStateManager
from reconciler.plugins.suspension import NAMED
from reconciler.stores.base import Finished
from reconciler.stores.lines import Served

if TYPE_CHECKING:
    from reconciler.testing.lab import Lab

_OWNER = "lab"


class LabWorker:
    """Takes the launches of a lab one after the other and runs their functions in this process.

    A function may move `lab.clock` to seem long. What a real worker adds, a process of its own for each function with its
    log, its signals and its limits of memory, is not played: for that there is `reconciler dev`.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def work(self) -> int:
        """Run what stands in the lines of all queues that were sent a ticket; return how many launches that were."""
        return sum(self._serve(queue) for queue in dict.fromkeys(self._lab.messenger.tickets))

    def _serve(self, queue: str) -> int:
        store, lease = self._lab.store, int(self._lab.settings.attempt_lease.total_seconds() * 1000)
        served: tuple[Served, ...] = ()
        count = 0
        while True:
            pick = store.pick(queue, served=served, first=True)
            if not pick.line:
                return count
            drawn = store.draw(pick.shard, pick.line, owner=_OWNER, limit=1, lease=lease)
            served = (Served(drawn.head, drawn.left, len(drawn.actions)),)
            for record in drawn.actions:
                self._run(pick.shard, record)
                count += 1

    def _run(self, shard: int, record: TaskAction) -> None:
        launch = record.attempt.launch
        began = self._lab.clock()
        try:
            outcome = msgspec.structs.replace(self._outcome(record), began=began)
        except _Lacks as lacks:
            self._lab.store.decline_attempt(
                record.id, launch, owner=_OWNER, why=str(lacks), delay=1000, lacks=lacks.name
            )
            return
        finished = Finished(record.id, launch, outcome, record.metadata.incarnation)
        self._lab.store.finish_attempts(shard, _OWNER, [finished])

    def _outcome(self, record: TaskAction) -> AttemptOutcome:
        lab = self._lab
        context = TaskExecutionContext(record, lab.reconciler.services, PluginStateManager())
        name = config_of(context.shared_template.custom).function
        function = registry.get(name)
        if function is None:
            text = (
                f"no function named {name!r} was declared in this process; import the module that declares it"
            )
            return AttemptOutcome(ended="raised", code="UnknownFunction", message=text, retryable=False)
        began = lab.clock()
        environment = {**context.environment, **self._secrets(record, context)}
        with _environment(environment):
            ended = self.one_pass(record, context, function)
        failed = ended.outcome is not None and ended.outcome.ended == "raised"
        left = running_left(record.status, limits_of(context.shared_template))
        if left is not None and lab.clock() - began > left * 1000 and not failed:
            text = "the attempt has run longer than its running limit"
            return AttemptOutcome(ended="raised", code=RUNNING_TIMED_OUT, message=text, retryable=False)
        if ended.outcome is not None:
            if failed:
                _write_error(context, ended.outcome)
            return ended.outcome
        outputs = context.files.write_outputs(ended.result, lab.settings.inline_limit)
        return AttemptOutcome(ended="returned", outputs=outputs, unasked=ended.unasked)

    def one_pass(
        self, record: TaskAction, context: TaskExecutionContext, function: RegisteredFunction
    ) -> Pass:
        """Call the function once, to its end or to its suspension."""
        lab = self._lab
        desk = Desk(lab.client, record, _OWNER, replays=True)
        way = LabWay(desk)
        attempt = _attempt(record, context, record.attempt.launch)
        parent = Parent(attempt, way, function.signature, patience=0, replays=True)
        raised: BaseException | None = None
        try:
            with attempt_context(parent.attempt), parent_context(parent):
                result = _call(function, context.read_inputs(), lab.settings.max_object_size, parent)
        except BaseException as error:
            if not parent.suspended:
                if not isinstance(error, Exception):
                    raise
                left = unasked(lab.client, record, desk)
                return Pass(way.asked, msgspec.structs.replace(_raised(error), unasked=left))
            raised, result = error, b""
        finally:
            parent.close()
            desk.close()
        if parent.suspended and parent.again is not None and not is_suspension(raised):
            return Pass(way.asked, _went_on(raised))
        if parent.suspended:
            return Pass(way.asked, self._suspended(record, parent, desk))
        return Pass(way.asked, None, result, unasked(lab.client, record, desk))

    def _suspended(self, record: TaskAction, parent: Parent, desk: Desk) -> AttemptOutcome:
        if parent.again is not None:
            over = start_over(self._lab.client, record, parent.again)
            return AttemptOutcome(ended=SUSPENDED, start_over=over)
        waits, until = parent.waits()
        names = tuple(desk.names(waits))
        return AttemptOutcome(ended=SUSPENDED, waits=names[:NAMED], waits_for=len(names), until=until)

    def _secrets(self, record: TaskAction, context: TaskExecutionContext) -> dict[str, str]:
        manager, found = self._lab.reconciler.secret_manager, {}
        for secret in context.shared_template.secrets:
            try:
                found[variable_of(secret.key, secret.env)] = manager.get(
                    secret.key, group=secret.group, project=record.id.project, domain=record.id.domain
                )
            except SecretUnavailable as error:
                raise _Lacks(secret.key, str(error)) from error
        return found


class _Lacks(Exception):  # no error, a turn of events: the launch goes back
    """This process lacks a secret."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class Pass(NamedTuple):
    """One call of a function, and its result.

    Attributes:
        asked: what it has asked for, in order.
        outcome: how it ended; None: it returned.
        result: what it returned.
        unasked: children it has not asked for.
    """

    asked: list[Request]
    outcome: AttemptOutcome | None
    result: bytes = b""
    unasked: tuple[str, ...] = ()


class LabWay:
    """The way from a function to a desk in the same process: every request is carried out at once."""

    descriptor = None
    brings = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.asked: list[Request] = []

    def post(self, request: Request) -> None:
        """Let a request be carried out with the next `receive`."""
        self.asked.append(request)
        self._desk.take(request)

    def receive(self, seconds: float) -> list[Answer]:
        """Return the answers there are; waiting brings no more."""
        del seconds
        return self._desk.work()


class _Misfit(Exception):
    """Arguments or a result do not fit the function: a real worker reports it by the same code and sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _call(function: RegisteredFunction, inputs: bytes, limit: int, parent: Parent) -> bytes:
    """Call it with values that were written and read again, as on another machine."""
    signature = function.signature
    try:
        args, kwargs = signature.call_form(signature.decode_arguments(inputs))
    except InvalidArguments as error:
        raise _Misfit("InvalidArguments", str(error)) from error
    result = function.function(*args, **kwargs)
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    parent.settle()
    try:
        outputs = signature.encode_result(result, limit)
    except InvalidArguments as error:
        raise _Misfit("InvalidResult", str(error)) from error
    if len(outputs) > limit:
        raise _Misfit("InvalidResult", too_large(function.name, len(outputs), limit))
    return outputs


def _write_error(context: TaskExecutionContext, outcome: AttemptOutcome) -> None:
    error = ExecutionError(outcome.code, outcome.message, ErrorKind.USER, outcome.traceback)
    context.files.write_error(error, recoverable=outcome.retryable)


def _raised(error: BaseException) -> AttemptOutcome:
    if isinstance(error, _Misfit):
        return AttemptOutcome(ended="raised", code=error.code, message=str(error), retryable=False)
    if isinstance(error, RetryAsked):
        return msgspec.structs.replace(_raised(error.__cause__ or Exception(str(error))), asked=error.asked)
    kind = type(error)
    code = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return AttemptOutcome(
        ended="raised",
        code=code,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        retryable=getattr(error, "retryable", True) is not False,
    )


def _went_on(raised: BaseException | None) -> AttemptOutcome:
    """Report a function that was to start over and went on instead."""
    if raised is not None:
        return _raised(raised)
    return AttemptOutcome(ended="raised", code=SWALLOWED, message=WENT_ON, retryable=False)


def _attempt(record: TaskAction, context: TaskExecutionContext, launch: str) -> CurrentAttempt:
    return CurrentAttempt(
        project=record.id.project,
        domain=record.id.domain,
        run=record.id.run,
        action=record.id.action,
        attempt=context.attempt_number,
        launch=launch,
        started=datetime.fromtimestamp(record.attempt.started_at / 1000, UTC),
        checkpoints=context.files.checkpoint_prefix,
        previous_checkpoints=context.previous_checkpoint_prefix,
        carried=record.status.asked_state,
    )


@contextmanager
def _environment(given: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
