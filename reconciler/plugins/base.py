"""Define what a plugin is: a way to run an attempt (R68)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.api.transition import Transition

if TYPE_CHECKING:
    from reconciler.plugins.context import TaskExecutionContext


class StillStopping(ReconcilerError):
    """Raised by `abort` when the attempt was asked to stop and has not yet. Not a failure: abort is called again.

    For at most `RECONCILER_CLEANUP_PATIENCE`; then clean-up is given up with a warning, and the action goes on (R41).

    Attributes:
        retry_at: when to ask again (ms since the epoch, UTC).
    """

    def __init__(self, retry_at: int, what: str = "the attempt") -> None:
        self.retry_at = retry_at
        super().__init__(f"{what} was asked to stop and has not ended yet")


class PluginProperties(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a plugin that the engine must know.

    Attributes:
        generated_name_max_length: longest name its resources may have; 0 = any; else at least 8 (R68).
        inline: `handle` does no input or output and takes microseconds, so a step calls it directly. Otherwise handles
            of one step run concurrently in threads, and a slow one does not hold up its batch.
    """

    generated_name_max_length: int = 0
    inline: bool = False


class Plugin:
    """Base of all plugins.

    `handle` is called many times for one attempt and must return at once: launch on the first call, observe on the later
    ones. It may be called again with the same state when the write that followed was lost, so it is idempotent. A plugin
    keeps nothing in memory between calls; its state lies in the record (`ctx.state`, R73).
    """

    id: str = ""
    properties: PluginProperties = PluginProperties()

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Launch or observe the attempt, and say in which phase it is.

        Raises:
            Exception: any exception counts as a system error (R26).
        """
        raise NotImplementedError

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Stop the attempt. Idempotent; called before a retry, after a system failure and for an abort.

        Raises:
            StillStopping: asked, but not yet over.
        """

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """Release everything the attempt holds. Idempotent; called after each attempt and after the end (R37)."""


def owes_finalize(plugin: Plugin) -> bool:
    """Tell whether a plugin has anything to finalize; if not, the end of an action needs no further round."""
    return type(plugin).finalize is not Plugin.finalize
