"""`group`: the parent of a map. Ends when all its children have; the last one to end wakes it, nobody polls."""

from __future__ import annotations

import msgspec

from reconciler.api.errors import BadTaskSpecification
from reconciler.api.reading import read_json
from reconciler.api.transition import Transition, failure, running, success
from reconciler.core.half_stored import SUBMIT_WINDOW
from reconciler.plugins.base import Plugin, PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.group_config import GROUP, GroupConfig
from reconciler.plugins.registry import PluginEntry

TASK_TYPE = GROUP
_LOOK_AGAIN = 60_000


class GroupPlugin(Plugin):
    """Waits for its children; holds no worker."""

    id = TASK_TYPE
    properties = PluginProperties(inline=True)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Succeed or fail with the children.

        Raises:
            BadTaskSpecification: the inputs do not say how many children to expect.
        """
        try:
            config = read_json(ctx.read_inputs(), GroupConfig)
        except msgspec.DecodeError as error:
            raise BadTaskSpecification(
                f"the inputs of a group must say how many children to expect: {error}"
            ) from error
        if config.expected < 0:
            raise BadTaskSpecification(f"a group expects 0 children or more, got {config.expected}")
        children = ctx.children
        missing = config.expected - children.total
        if missing > 0 and config.called_again:
            return Transition(running(0, requeue_at=ctx.now + _LOOK_AGAIN))
        if missing > 0:
            deadline = ctx.action.metadata.creation_timestamp + SUBMIT_WINDOW
            if ctx.now < deadline:
                return Transition(running(0, requeue_at=deadline))
            return Transition(
                failure(
                    "IncompleteSubmission",
                    f"{missing} of {config.expected} children were never stored: the submitter stopped half way. "
                    "Submit, rerun or recover again under a new run name or idempotency key.",
                )
            )
        if children.open > 0:
            return Transition(running(0, requeue_at=ctx.now + _LOOK_AGAIN))
        if children.failed and not config.keep_failures:
            message = f"{children.failed} of {children.total} children did not succeed"
            return Transition(failure("ChildrenFailed", message))
        return Transition(success())


ENTRY = PluginEntry(id=TASK_TYPE, task_types=(TASK_TYPE,), load=GroupPlugin)
