"""Make the call of a launch: what the process of functions is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from reconciler.api.action import TaskAction
from reconciler.api.template import template_or_none
from reconciler.core.current import CurrentAttempt
from reconciler.core.spans import launch_context
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function import config_of
from reconciler.plugins.state import PluginStateManager
from reconciler.wiring import Engine
from worker.attempts.secrets import NO_SECRETS, AttemptSecrets
from worker.runner.messages import Call


def context_of(engine: Engine, record: TaskAction) -> TaskExecutionContext:
    """Return what a plugin would be given of an action as it was drawn."""
    return TaskExecutionContext(record, engine.reconciler.services, PluginStateManager())


def prepared_call(engine: Engine, record: TaskAction, check: Callable[[], None]) -> Call | None:
    """Make the call of a launch before its turn, if nothing has to be fetched for it: neither secrets nor inputs.

    Args:
        engine: of the worker.
        record: as it was drawn.
        check: raises if this worker cannot run it.
    """
    template = template_or_none(record)
    if template is None or template.secrets:
        return None
    context = context_of(engine, record)
    if context.call_spec.inputs is None:
        return None
    check()
    return call_of(engine, context, NO_SECRETS)


def call_of(engine: Engine, context: TaskExecutionContext, secrets: AttemptSecrets) -> Call:
    """Make the call of a launch; its inputs may be read from S3.

    Raises:
        BlobUnavailable: the server of its inputs does not answer.
        PluginError: inputs or specification cannot be used.
    """
    record = context.action
    now = CurrentAttempt(
        project=record.id.project,
        domain=record.id.domain,
        run=record.id.run,
        action=record.id.action,
        attempt=context.attempt_number,
        launch=record.attempt.launch,
        started=datetime.fromtimestamp(record.attempt.started_at / 1000, UTC),
        checkpoints=context.files.checkpoint_prefix,
        previous_checkpoints=context.previous_checkpoint_prefix,
        carried=record.status.asked_state,
    )
    config = config_of(context.shared_template.custom)
    trace = launch_context(record, record.attempt.launch)
    return Call(
        function=config.function,
        inputs=context.read_inputs(),
        env={**context.environment, **({"TRACEPARENT": trace} if trace else {}), **secrets.env},
        context=now.to_context(),
        patience=engine.settings.suspend_after.total_seconds(),
        suspends=config.suspend,
    )
