"""Celery entry point of the data plane: run one attempt of a user's function (R74).

The supervisor (this process) holds the lease, renews it from a thread, writes outputs and reports; the function runs in the
runner's child, where it can do no harm to either. Everything reported is fenced by the launch: a superseded attempt reports
into the void.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import Celery, Task

from reconciler import metrics
from reconciler.api.action import ActionId, AttemptOutcome, TaskAction
from reconciler.api.errors import (
    BlobExists,
    InvalidInput,
    PluginError,
    ReadFailed,
    SecretUnavailable,
    Unavailable,
)
from reconciler.api.template import Timeouts, template_or_none
from reconciler.api.transition import ErrorKind, ExecutionError
from reconciler.broker.messages import INCARNATION, RUN_ATTEMPT
from reconciler.core.current import CurrentAttempt
from reconciler.core.deadlines import limits_of
from reconciler.core.events import prefix_of
from reconciler.core.retries import hand_back_delay
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function import config_of
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.base import StartRefused
from reconciler.stores.outputs import ActionFiles
from reconciler.wiring import Engine
from worker import flower_events
from worker.attempts.fitness import CannotRun, cannot, check_fit
from worker.attempts.heartbeat import Heartbeat
from worker.attempts.live_log import LiveLog
from worker.attempts.outcomes import describe
from worker.attempts.patience import OUTAGE, patiently
from worker.attempts.secrets import AttemptSecrets, ChildSecrets, check_declared, resolve
from worker.faults import fault_of, storable
from worker.flower_events import LONGEST, LaunchRequest, Row
from worker.process import current_engine
from worker.runner.functions import runner_for
from worker.runner.runner import Call, Ended, NotStarted, Raised, Returned, Runner, Stopped, Unknown

log = structlog.get_logger(__name__)


class _Child:
    """The runner of this process; made after the fork of the pool."""

    runner: Runner | None = None
    secrets = ChildSecrets()
    pid: int = 0
    memory_limit: int = 0


def runner_of(engine: Engine) -> Runner:
    """The runner of this process."""
    if _Child.runner is None or _Child.pid != os.getpid():
        _Child.runner = runner_for(engine.settings, memory_limit=_Child.memory_limit)
        _Child.secrets = ChildSecrets()
        _Child.pid = os.getpid()
    return _Child.runner


def limit_memory(kilobytes: int | None) -> None:
    """Have the children of runners made from now on replaced when they have held more: `--max-memory-per-child`."""
    _Child.memory_limit = kilobytes or 0


def register(app: Celery) -> None:
    """Declare the task on an application."""

    @app.task(  # type: ignore[untyped-decorator]  # Celery has no types
        name=RUN_ATTEMPT, bind=True, Request=LaunchRequest, resultrepr_maxsize=LONGEST
    )
    def run_attempt(self: Task, action: str, launch: str, **_: Any) -> Row:  # noqa: ANN401  # a newer sender's arguments
        """Run one launch of an action, unless it was superseded; tells Flower how it ended."""
        return run_launch(action, launch, str(self.request.get(INCARNATION) or ""))


def run_launch(action: str, launch: str, incarnation: str = "") -> Row:
    """Run one launch with this process's engine.

    A message that names no launch is dropped with a warning: it holds no truth. One that cannot be begun is dropped too: its
    launch stays in the record, and is sent again.
    """
    try:
        attempt = Attempt(current_engine(), ActionId.parse(action), str(launch), incarnation)
    except (InvalidInput, AttributeError) as error:
        log.warning("attempt.bad_message", error=str(error))
        return flower_events.not_told(error, begun=True)
    return attempt.run()


class Attempt:
    """One launch, from the start of its lease to its report."""

    def __init__(self, engine: Engine, action: ActionId, launch: str, incarnation: str = "") -> None:
        self.engine = engine
        self.action = action
        self.launch = launch
        self.incarnation = incarnation
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident() % 100000}"
        self.lease = int(engine.settings.attempt_lease.total_seconds() * 1000)

    def run(self) -> Row:
        """Take the lease, run, report, and drive the next step. Gives what Flower is told.

        A refused launch ends quietly: somebody else has it, or nobody wants it any more. Whatever goes wrong once the
        lease is taken is reported too: silence would cost its time, and hide the reason.
        """
        try:
            taken = self.engine.store.start_attempt(
                self.action,
                self.launch,
                owner=self.owner,
                lease=self._lease_of(None),
                incarnation=self.incarnation,
            )
        except Unavailable as error:
            log.warning("attempt.not_started", action=str(self.action), launch=self.launch, error=str(error))
            return flower_events.not_told(error, begun=False)
        if isinstance(taken, StartRefused):
            log.info("attempt.refused", action=str(self.action), launch=self.launch, why=taken.value)
            return flower_events.refused(taken)
        self.incarnation = taken.metadata.incarnation
        try:
            row = self._attend(taken)
        except Unavailable as error:
            log.warning("attempt.not_reported", action=str(self.action), error=str(error))
            return flower_events.not_told(error, begun=True)
        except Exception as error:  # noqa: BLE001  # logged there
            row = self._report(self._fault(error, AttemptSecrets({})))
        self._drive()
        return row

    def _attend(self, record: TaskAction) -> Row:
        """Run it under a heartbeat, and report."""
        limits = limits_of(template_or_none(record))
        with Heartbeat(self.engine, record, self.launch, self.owner, self._lease_of(limits)) as beat:
            began = time.monotonic()
            try:
                self._check_fit(record, beat)
                outcome = self._outcome(record, limits, beat)
            except CannotRun as reason:
                return self._hand_back(record, str(reason))
            row = self._superseded() if beat.superseded else self._report(outcome)
        with suppress(Exception):  # a number that is missing harms nobody
            metrics.attempted("superseded" if beat.superseded else outcome.ended, time.monotonic() - began)
        return row

    def _check_fit(self, record: TaskAction, beat: Heartbeat) -> None:
        runner = runner_of(self.engine)
        beat.watch(runner)
        try:
            check_fit(self.engine, runner, record, beat)
        finally:
            beat.watch(None)

    def _hand_back(self, record: TaskAction, why: str) -> Row:
        """Another worker may be able to run it, or this one once it is mended."""
        log.warning("attempt.handed_back", action=str(self.action), launch=self.launch, why=why)
        store, why = self.engine.store, storable(why)
        delay = hand_back_delay(record.attempt.hand_backs + 1, self.engine.reconciler.rng)
        taken = self._tell(
            lambda: store.decline_attempt(
                self.action,
                self.launch,
                owner=self.owner,
                why=why,
                delay=delay,
                incarnation=self.incarnation,
            )
        )
        return flower_events.handed_back(why) if taken else self._superseded()

    def _fault(self, error: Exception, secrets: AttemptSecrets) -> AttemptOutcome:
        trace = secrets.mask_text("".join(traceback.format_exception(error)))
        log.error("attempt.fault", action=str(self.action), launch=self.launch, trace=storable(trace))
        return fault_of(error, self.owner, secrets.mask_text(str(error)))

    def _superseded(self) -> Row:
        log.info("attempt.superseded", action=str(self.action), launch=self.launch)
        return flower_events.superseded()

    def _lease_of(self, limits: Timeouts | None) -> int:
        if limits is None or limits.heartbeat is None:
            return self.lease
        return int(limits.heartbeat.total_seconds() * 1000)

    def _outcome(self, record: TaskAction, limits: Timeouts, beat: Heartbeat) -> AttemptOutcome:
        secrets = AttemptSecrets({})
        try:
            refused = self._undeclared(record, beat)
            if refused is not None:
                return refused
            secrets = resolve(record, self.engine.reconciler.secret_manager)
            return self._called(record, limits, beat, secrets)
        except SecretUnavailable as error:
            ended = "stopped" if error.retryable else "raised"
            return AttemptOutcome(ended=ended, code=error.code, message=str(error), retryable=error.retryable)
        except (PluginError, InvalidInput) as error:
            code = getattr(error, "code", "InvalidSpec")
            return AttemptOutcome(ended="stopped", code=code, message=str(error))
        except Unavailable as error:
            return AttemptOutcome(ended="stopped", code=ReadFailed.code, message=str(error))
        except CannotRun:
            raise
        except Exception as error:  # noqa: BLE001  # logged there
            return self._fault(error, secrets)

    def _undeclared(self, record: TaskAction, beat: Heartbeat) -> AttemptOutcome | None:
        """How the call ends when its function cannot be asked for its secrets; None when it gets what it declares.

        Raises:
            SecretUnavailable: the template asks for a secret its function does not declare.
        """
        template = template_or_none(record)
        if template is None or not template.secrets:
            return None
        function = config_of(template.custom).function
        declared = runner_of(self.engine).secrets_of(function, stop=beat.reason, poll=1.0)
        if isinstance(declared, NotStarted | Unknown):
            raise cannot(declared)
        if isinstance(declared, Stopped):
            return describe(declared)
        check_declared(function, template.secrets, declared)
        return None

    def _called(
        self, record: TaskAction, limits: Timeouts, beat: Heartbeat, secrets: AttemptSecrets
    ) -> AttemptOutcome:
        grace = self.engine.settings.abort_grace.total_seconds()
        context = TaskExecutionContext(record, self.engine.reconciler.services, PluginStateManager())
        call = patiently(lambda: self._call(record, context, secrets), beat, grace)
        written = bytearray()
        secrets = _Child.secrets.begin(runner_of(self.engine), secrets)
        files, inline = self._files(record), self.engine.settings.inline_limit
        live = LiveLog(lambda: secrets.mask_so_far(bytes(written)), files.write_log)
        beat.each(live.begin)
        try:
            finished = secrets.mask_end(self._run(call, limits, beat, written))
            text = secrets.mask(_log_of(finished, bytes(written)))
            return patiently(lambda: _written(files, finished, text, live, inline), beat, grace)
        except Unavailable as error:
            return AttemptOutcome(ended="stopped", code="OutputsNotWritten", message=str(error))
        finally:
            live.leave()

    def _files(self, record: TaskAction) -> ActionFiles:
        return ActionFiles(self.engine.blobs, prefix_of(record), limit=self.engine.settings.max_object_size)

    def _call(self, record: TaskAction, context: TaskExecutionContext, secrets: AttemptSecrets) -> Call:
        now = CurrentAttempt(
            project=self.action.project,
            domain=self.action.domain,
            run=self.action.run,
            action=self.action.action,
            attempt=context.attempt_number,
            launch=self.launch,
            started=datetime.fromtimestamp(record.attempt.started_at / 1000, UTC),
            checkpoints=context.files.checkpoint_prefix,
            previous_checkpoints=context.previous_checkpoint_prefix,
        )
        return Call(
            function=config_of(context.shared_template.custom).function,
            inputs=context.read_inputs(),
            env={**context.environment, **secrets.env},
            context=now.to_context(),
        )

    def _run(self, call: Call, limits: Timeouts, beat: Heartbeat, written: bytearray) -> Ended:
        runner = runner_of(self.engine)
        beat.watch(runner)
        try:
            ended = runner.run(
                call,
                stop=beat.reason,
                poll=1.0,
                timeout=limits.running.total_seconds() if limits.running else None,
                grace=self.engine.settings.abort_grace.total_seconds(),
                log=written,
            )
        finally:
            beat.watch(None)
        if isinstance(
            ended, NotStarted | Unknown
        ):  # its child has ended, or was replaced, since it was asked
            raise cannot(ended)
        return ended

    def _report(self, outcome: AttemptOutcome) -> Row:
        store = self.engine.store
        taken = self._tell(
            lambda: store.finish_attempt(
                self.action, self.launch, owner=self.owner, outcome=outcome, incarnation=self.incarnation
            )
        )
        return flower_events.ended(outcome) if taken else self._superseded()

    def _tell(self, tell: Callable[[], bool]) -> bool:
        """Report until the store takes it: a finished attempt is not to be lost to a restart of Redis.

        Raises:
            StoreUnavailable: the store was away for two minutes.
        """
        ends = time.monotonic() + OUTAGE
        wait = 0.2
        while True:
            try:
                taken = tell()
            except Unavailable as error:
                if time.monotonic() >= ends:
                    raise
                log.warning("attempt.report_again", action=str(self.action), error=str(error))
                time.sleep(wait)
                wait = min(wait * 2, 5.0)
            else:
                return taken

    def _drive(self) -> None:
        """Take the next step here instead of sending a message; the due index covers for a failure."""
        try:
            shard = self.engine.store.shard_of(self.action.run_id)
            self.engine.stepper.step(shard, [self.action], drain=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the outcome is stored
            log.warning(
                "attempt.step_left_to_others", action=str(self.action), error=str(error) or repr(error)
            )


def _log_of(ended: Ended, text: bytes) -> bytes:
    """What the function wrote, and at its end, as from any program, the traceback of what it raised."""
    if isinstance(ended, Raised) and ended.traceback:
        gap = b"" if not text or text.endswith(b"\n") else b"\n"
        text += gap + ended.traceback.encode(errors="backslashreplace")
    return text


def _written(files: ActionFiles, ended: Ended, text: bytes, live: LiveLog, inline: int) -> AttemptOutcome:
    """Outputs, error and log go to S3 first; then the outcome that points to them is reported."""
    try:
        if isinstance(ended, Raised):
            error = ExecutionError(ended.code, ended.message, ErrorKind.USER, ended.traceback)
            files.write_error(error, recoverable=ended.retryable)
        live.end()
        stored = files.write_log(text) if text else None
        if isinstance(ended, Returned):
            outputs = files.write_outputs(ended.outputs, inline)
            return AttemptOutcome(
                ended="returned",
                outputs=outputs,
                log_uri=stored.uri if stored else "",
                log_sha256=stored.sha256 if stored else "",
            )
    except BlobExists as error:
        return AttemptOutcome(ended="stopped", code="OutputsExist", message=str(error))
    except InvalidInput as error:
        return AttemptOutcome(ended="raised", code="OutputsTooLarge", message=str(error), retryable=False)
    return describe(ended, stored)
