"""One launch in the worker that drew it: run the function of its action, and write its outcome (R74).

The supervisor (this process) has the lease renewed, writes outputs and reports; the function runs in the runner's child,
where it can do no harm to either. Everything reported is fenced by the launch: a superseded attempt reports into the void.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property

import structlog
from msgspec.structs import replace

from reconciler import metrics
from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.api.errors import (
    BlobExists,
    InvalidInput,
    PluginError,
    ReadFailed,
    ReconcilerError,
    SecretUnavailable,
    Unavailable,
)
from reconciler.api.template import Timeouts, template_or_none
from reconciler.api.transition import ErrorKind, ExecutionError
from reconciler.children.desk import Desk
from reconciler.children.driving import Driver, Slot
from reconciler.children.starting_over import start_over
from reconciler.children.unasked import unasked
from reconciler.client import Client
from reconciler.core.deadlines import limits_of, running_left
from reconciler.core.events import prefix_of
from reconciler.core.redaction import redaction_of, texts_of
from reconciler.plugins.function import config_of
from reconciler.stores.outputs import ActionFiles
from reconciler.wiring import Engine
from worker.attempts import runners
from worker.attempts.calls import call_of, context_of, prepared_call
from worker.attempts.fitness import CannotRun, cannot, check_fit, check_unfit
from worker.attempts.heartbeat import Heartbeat
from worker.attempts.live_log import LiveLog
from worker.attempts.outcomes import describe
from worker.attempts.progress import progress_of
from worker.attempts.retry import retry_outages
from worker.attempts.secrets import NO_SECRETS, check_declared, resolve
from worker.faults import fault_of, storable
from worker.runner.ahead import CallsAhead
from worker.runner.runner import (
    Call,
    Ended,
    NotStarted,
    Raised,
    Returned,
    Runner,
    Stopped,
    Suspended,
    Unfit,
    Unknown,
)

log = structlog.get_logger(__name__)


class Attempt:
    """One drawn launch.

    Attributes:
        record: the action, as it was drawn.
        beat: its lease.
        seconds: how long its call took.
        outcome: how it ended; None until that is known and written.
        taken: whether the store has taken its outcome.
        stepped: whether the step that follows was taken with it.
    """

    def __init__(
        self, engine: Engine, record: TaskAction, owner: str, *, drawn: float, slot: Slot | None = None
    ) -> None:
        """Prepare; begin nothing.

        Args:
            engine: of the worker.
            record: as it was drawn.
            owner: of its lease.
            drawn: when that was, by `time.monotonic`: one time for all of a batch, as the record has it.
            slot: where tickets are taken while the function waits, if anywhere.
        """
        self._slot = slot
        self.engine = engine
        self.record = record
        self.owner = owner
        self.seconds = 0.0
        self._drawn = self._began = drawn
        self.outcome: AttemptOutcome | None = None
        self.taken = self.stepped = False
        self._ended: Ended | None = None
        self._text = b""
        self._prepared: Call | None = None
        self._secrets = NO_SECRETS
        self._runs_it: Runner | None = None
        self._live: LiveLog | None = None
        self._made: Desk | None = None
        self.limits = Timeouts()
        try:
            self.limits = limits_of(template_or_none(record))
        except Exception as error:  # noqa: BLE001  # its neighbours in the batch shall not know
            self.outcome = self.fault(error)
        self.beat = Heartbeat(engine, record, owner, self._lease())
        self.beat.progress = self._progress

    def _lease(self) -> int:
        """Compute the length of its lease, ms: the task's own `heartbeat`, else that of the settings."""
        limit = self.limits.heartbeat or self.engine.settings.attempt_lease
        return int(limit.total_seconds() * 1000)

    @property
    def launch(self) -> str:
        """Return the name of the launch."""
        return self.record.attempt.launch

    def call(self) -> None:
        """Run the function to its end.

        Raises:
            CannotRun: this worker cannot; nothing was begun.
        """
        self._began = began = time.monotonic()
        self.beat.begun = True
        try:
            if self.outcome is None and not self.is_given(self._runner.ahead):
                self._check_fit()
                self.outcome = self._undeclared()
            if self.outcome is None:
                self._called()
        except CannotRun:
            raise
        except SecretUnavailable as error:
            self.outcome = AttemptOutcome(
                ended="raised", code=error.code, message=str(error), retryable=False
            )
        except (PluginError, InvalidInput) as error:
            code = getattr(error, "code", "InvalidSpec")
            self.outcome = AttemptOutcome(ended="stopped", code=code, message=str(error))
        except Unavailable as error:
            self.outcome = AttemptOutcome(ended="stopped", code=ReadFailed.code, message=str(error))
        except Exception as error:  # noqa: BLE001  # logged there
            self.outcome = self.fault(error)
        finally:
            self.seconds = time.monotonic() - began

    def prepare(self) -> Call | None:
        """Prepare its call before its turn. None: that has to wait, because there is something to fetch or to say first."""
        if self.beat.reason():
            return None
        if self._prepared is None and self.outcome is None:
            with suppress(Exception):  # its turn tells
                self._prepared = prepared_call(self.engine, self.record, self._check_fit)
        return self._prepared

    def object(self) -> tuple[str, bytes] | None:
        """Make the object of its outputs, URI and bytes; None when there are none, or they are too large for one object."""
        if self.outcome is not None or not isinstance(self._ended, Returned):
            return None
        limit = self.engine.settings.max_object_size
        return (
            None if 0 < limit < len(self._ended.outputs) else (self._files.outputs_uri, self._ended.outputs)
        )

    def has_text(self) -> bool:
        """Tell whether it has a log."""
        return bool(self._text)

    def write(self, written: str = "") -> AttemptOutcome:
        """Write what is kept of the attempt, and return its outcome.

        Args:
            written: where its outputs lie in S3 already; empty: nowhere.
        """
        if self.outcome is None:
            grace = self.engine.settings.abort_grace.total_seconds()
            try:
                if written and not self._text:
                    self.outcome = self._write(written)  # no request is left
                else:
                    self.outcome = retry_outages(lambda: self._write(written), self.beat, grace)
            except Unavailable as error:
                self.outcome = AttemptOutcome(ended="stopped", code="OutputsNotWritten", message=str(error))
            except Exception as error:  # noqa: BLE001  # logged there
                self.outcome = self.fault(error)
        return self.outcome

    def told(self) -> AttemptOutcome:
        """Return its outcome as it is reported, with the time at which its own call began, if there was one."""
        outcome = self.write()
        return outcome if self._ended is None else replace(outcome, began=self.times()[0])

    def measure(self) -> None:
        """Count the attempt; a missing number harms nobody."""
        with suppress(Exception):
            ended = self.outcome.ended if self.outcome and not self.beat.superseded else "superseded"
            metrics.attempted(ended, self.seconds)

    def times(self) -> tuple[int, int]:
        """Return when its call began, and the time now, by the store's clock as far as it is known here (ms)."""
        began, now = self._began - self._drawn, time.monotonic() - self._drawn
        drawn = self.record.attempt.started_at
        return drawn + int(began * 1000), drawn + int(now * 1000)

    def fault(self, error: Exception) -> AttemptOutcome:
        """Make the outcome of a fault of the installation: it is logged, and not counted against the function."""
        trace = self._secrets.mask_text("".join(traceback.format_exception(error)))
        log.error("attempt.fault", action=str(self.record.id), launch=self.launch, trace=storable(trace))
        return fault_of(error, self.owner, self._secrets.mask_text(str(error)))

    @property
    def _runner(self) -> Runner:
        """The runner of the thread in which its call is prepared and made."""
        if self._runs_it is None:
            self._runs_it = runners.runner_of(self.engine)
        return self._runs_it

    @cached_property
    def _files(self) -> ActionFiles:
        return ActionFiles(
            self.engine.blobs, prefix_of(self.record), limit=self.engine.settings.max_object_size
        )

    def _check_fit(self) -> None:
        self.beat.watch(self._runner)
        try:
            check_fit(self.engine, self._runner, self.record, self.beat)
        finally:
            self.beat.watch(None)

    def is_given(self, ahead: CallsAhead | None) -> bool:
        """Tell whether the child was given its call before its turn."""
        return ahead is not None and self._prepared is not None and self._prepared in ahead

    def _undeclared(self) -> AttemptOutcome | None:
        """Return how the call ends if its function cannot be asked for its secrets; None if it gets what it declares.

        Raises:
            SecretUnavailable: the template asks for a secret its function does not declare.
        """
        template = template_or_none(self.record)
        if template is None or not template.secrets:
            return None
        function = config_of(template.custom).function
        declared = self._runner.secrets_of(function, stop=self.beat.reason, poll=1.0)
        if isinstance(declared, NotStarted | Unknown):
            raise cannot(declared)
        if isinstance(declared, Stopped):
            return describe(declared)
        check_declared(function, template.secrets, declared)
        return None

    def _called(self) -> None:
        """Run the call; its result is written later."""
        grace = self.engine.settings.abort_grace.total_seconds()
        secrets = self._secrets = resolve(self.record, self.engine.reconciler.secret_manager)
        call = self._prepared
        if call is None:
            context = context_of(self.engine, self.record)
            if context.call_spec.inputs is not None:
                call = call_of(self.engine, context, secrets)
            else:
                call = retry_outages(lambda: call_of(self.engine, context, secrets), self.beat, grace)
        written, redaction = bytearray(), redaction_of(self.record)
        runner = self._runner
        secrets = runners.child_secrets().begin(runner, secrets)
        self._secrets = secrets = secrets.with_texts(texts_of(redaction, call.inputs))
        live = self._live = LiveLog(lambda: self._so_far(bytes(written)), self._files.write_log)
        if not redaction.outputs:  # what is returned is known at the end: a log before could tell it
            self.beat.each(live.begin)
        try:
            ended = self._run(runner, call, written)
            own = texts_of(redaction, ended.outputs, outputs=True) if isinstance(ended, Returned) else []
            self._secrets = secrets = secrets.with_texts([*own, *self._given()])
            self._ended = secrets.mask_end(ended)
            self._text = secrets.mask(_log_of(self._ended, bytes(written)))
        finally:
            live.leave()

    def _given(self) -> list[str]:
        """Return the redacted texts that children gave."""
        return self._made.hidden.texts if self._made is not None else []

    def _so_far(self, written: bytes) -> bytes:
        """Return the log so far; nothing more once a child gave redacted texts: the rest is masked at the end."""
        return b"" if self._given() else self._secrets.mask_so_far(written)

    def _run(self, runner: Runner, call: Call, written: bytearray) -> Ended:
        beat = self.beat
        beat.watch(runner)
        try:
            ended = runner.run(
                call,
                stop=beat.reason,
                poll=1.0,
                timeout=running_left(self.record.status, self.limits),
                grace=self.engine.settings.abort_grace.total_seconds(),
                log=written,
                desk=self._desk,
            )
        finally:
            beat.watch(None)
        if isinstance(
            ended, NotStarted | Unknown
        ):  # its child has ended, or was replaced, since it was asked
            raise cannot(ended)
        if isinstance(ended, Unfit):
            check_unfit(runner, self.record, beat, self._secrets.mask_text(ended.message))
        return ended

    def _desk(self, told: Callable[[], None]) -> Desk:
        """Make the desk that serves the function's requests, when the first one comes."""
        template = template_or_none(self.record)
        assert template is not None  # or nothing would run
        config = config_of(template.custom)
        queue = (config.queue or self.engine.settings.attempts_queue) if config.suspend else ""
        drive = Driver(self.engine.stepper, self.engine.messenger, self._slot)
        self._made = Desk(self._client(), self.record, self.owner, told, queue, drive=drive)
        return self._made

    def _progress(self) -> bytes:
        said = self._made.said if self._made is not None else None
        return progress_of(said, self._secrets) if said is not None else b""

    def _client(self) -> Client:
        engine = self.engine
        return Client(engine.store, engine.blobs, engine.messenger, engine.settings)

    def _unasked(self) -> tuple[str, ...]:
        """List what the last pass of a function with children never asked for; nothing while the store is away."""
        with suppress(ReconcilerError):
            return unasked(self._client(), self.record, self._made) if self.record.children.total else ()
        return ()

    def _write(self, written: str) -> AttemptOutcome:
        """Write outputs, error and log to S3; only then the outcome that points to them is reported."""
        ended, files = self._ended, self._files
        assert ended is not None
        try:
            if isinstance(ended, Raised):
                error = ExecutionError(ended.code, ended.message, ErrorKind.USER, ended.traceback)
                files.write_error(error, recoverable=ended.retryable)
            if self._live is not None:
                self._live.end()
            stored = files.write_log(self._text) if self._text else None
            if isinstance(ended, Returned):
                inline = self.engine.settings.inline_limit
                ref = (
                    files.reference(ended.outputs, inline, written)
                    if written
                    else files.write_outputs(ended.outputs, inline)
                )
                return AttemptOutcome(
                    ended="returned",
                    outputs=ref,
                    log_uri=stored.uri if stored else "",
                    log_sha256=stored.sha256 if stored else "",
                    unasked=self._unasked(),
                )
        except BlobExists as error:
            return AttemptOutcome(ended="stopped", code="OutputsExist", message=str(error))
        except InvalidInput as error:
            return AttemptOutcome(ended="raised", code="OutputsTooLarge", message=str(error), retryable=False)
        outcome = describe(ended, stored)
        if isinstance(ended, Suspended) and ended.again is not None:
            return replace(outcome, start_over=start_over(self._client(), self.record, ended.again))
        return replace(outcome, unasked=self._unasked()) if isinstance(ended, Raised) else outcome


def _log_of(ended: Ended, text: bytes) -> bytes:
    """Join what the function wrote and, at its end, the traceback of what it raised, as any program prints it."""
    if isinstance(ended, Raised) and ended.traceback:
        gap = b"" if not text or text.endswith(b"\n") else b"\n"
        text += gap + ended.traceback.encode(errors="backslashreplace")
    return text
