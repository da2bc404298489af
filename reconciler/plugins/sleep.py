"""`core-sleep`: waits without holding a worker (R73). The start time lies in plugin state (R73)."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.bounds import LONGEST
from reconciler.api.errors import ReadFailed
from reconciler.api.reading import read_json
from reconciler.api.transition import PhaseInfo, Transition, failure, running, success
from reconciler.plugins.base import Plugin, PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry

TASK_TYPE = "core-sleep"


class _Started(msgspec.Struct, frozen=True):
    at: int


class SleepPlugin(Plugin):
    """Needs exactly one input of type duration and no outputs; seconds as a number, or an ISO 8601 duration."""

    id = TASK_TYPE
    properties = PluginProperties(inline=True)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Succeed once the duration has passed since the first call.

        Raises:
            BadTaskSpecification: the template cannot be read.
            ReadFailed: the inputs cannot be read, or what lies there is no JSON object.
        """
        wanted = _duration(ctx)
        if isinstance(wanted, PhaseInfo):
            return Transition(wanted)
        if wanted == 0:
            return Transition(success())
        started = ctx.state.get(_Started)
        if started is None:
            started = _Started(ctx.now)
            ctx.state.put(1, started)
        until = started.at + wanted
        return Transition(success() if ctx.now >= until else running(0, requeue_at=until))


def _duration(ctx: TaskExecutionContext) -> int | PhaseInfo:
    """Read how many milliseconds to wait, or the failure that says what is wrong with the task."""
    interface = ctx.shared_template.interface
    declared = list(interface.inputs.items()) if interface else []
    if interface is None or len(declared) != 1 or declared[0][1] != "duration" or interface.outputs:
        return failure(
            "BadTaskSpecification", "core-sleep needs exactly one input of type duration and no outputs"
        )
    name = declared[0][0]
    values = _inputs(ctx)
    if isinstance(values, PhaseInfo):
        return values
    if name not in values:
        return failure("BadTaskSpecification", f"the inputs hold no {name!r}")
    try:
        duration = _seconds(values[name])
    except (msgspec.DecodeError, OverflowError, ValueError) as error:
        return failure("BadTaskSpecification", f"input {name!r} is no duration: {error}")
    if duration < 0:
        text = f"must not be negative, got {duration:g} s"
    elif duration > LONGEST.total_seconds():
        text = f"must be at most {LONGEST.days} days, got {duration / 86400:g}"
    else:
        return round(duration * 1000)
    return failure("BadTaskSpecification", f"input {name!r} {text}")


def _inputs(ctx: TaskExecutionContext) -> dict[str, object] | PhaseInfo:
    try:
        return read_json(ctx.read_inputs(), dict[str, object])
    except msgspec.DecodeError as error:
        text = f'the inputs are no JSON object: {error}. Write them as {{"duration": 5}}.'
        spec = ctx.call_spec
        if spec.inputs is not None or spec.inputs_digest:  # the next look would find the same
            return failure("BadTaskSpecification", text)
        raise ReadFailed(text) from error


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return timedelta(seconds=value).total_seconds()
    return msgspec.convert(value, timedelta, strict=False).total_seconds()


ENTRY = PluginEntry(id=TASK_TYPE, task_types=(TASK_TYPE,), load=SleepPlugin)
