"""`echo`: copies its single input to its single output, after an optional delay (R73)."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from reconciler.api.errors import BadTaskSpecification
from reconciler.api.transition import TaskInfo, Transition, running, success
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry

TASK_TYPE = "echo"
INLINE_OUTPUTS = 4096


class _Started(msgspec.Struct, frozen=True):
    at: int


class EchoPlugin(Plugin):
    """The plugin for tests and first steps. Inputs and outputs must be as many, and at most one each."""

    id = TASK_TYPE

    def __init__(self, delay: timedelta = timedelta(0)) -> None:
        self._delay = int(delay.total_seconds() * 1000)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Wait for the delay, then write the output.

        Raises:
            BadTaskSpecification: the interface or the inputs do not fit.
        """
        interface = ctx.shared_template.interface
        names = (list(interface.inputs), list(interface.outputs)) if interface else ([], [])
        if len(names[0]) != len(names[1]) or len(names[0]) > 1:
            raise BadTaskSpecification(f"echo needs as many inputs as outputs, at most one each; got {names}")
        if self._delay:
            started = ctx.state.get(_Started) or _Started(ctx.now)
            if ctx.now < started.at + self._delay:
                ctx.state.put(1, started)
                return Transition(running(0, requeue_at=started.at + self._delay))
        if not names[0]:
            return Transition(success())
        values = msgspec.json.decode(ctx.read_inputs(), type=dict[str, msgspec.Raw])
        if names[0][0] not in values:
            raise BadTaskSpecification(f"the inputs hold no {names[0][0]!r}, which echo was to copy")
        document = msgspec.json.encode({names[1][0]: values[names[0][0]]})
        ref = ctx.files.write_outputs(document, INLINE_OUTPUTS)
        return Transition(success(TaskInfo(occurred_at=ctx.now, outputs=ref)))


ENTRY = PluginEntry(id=TASK_TYPE, task_types=(TASK_TYPE,), load=EchoPlugin)
