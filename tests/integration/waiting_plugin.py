"""A plugin of a user, for test_flower_waiting.py: it waits for a thing of its own, and says so."""

from __future__ import annotations

from reconciler.api.transition import Transition, initializing
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry


class Kiln(Plugin):
    """Never gets warm."""

    id = "kiln"

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Say what it waits for: whatever the action was given."""
        return Transition(initializing(ctx.now, 1, f"the kiln warms up: {ctx.read_inputs().decode()}"))


ENTRY = PluginEntry(id="kiln", task_types=("kiln",), load=Kiln)
