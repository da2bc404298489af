"""A plugin that answers from a script."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api.transition import PhaseInfo, Transition
from reconciler.plugins.base import Plugin, PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.registry import PluginEntry

Answer = (
    PhaseInfo | Transition | BaseException | Callable[[TaskExecutionContext], "PhaseInfo | Transition"] | None
)


class ScriptedPlugin(Plugin):
    """Each `handle` takes the next answer; the last one is repeated for ever. Exceptions are raised, functions called.

    Attributes:
        handled, aborted, finalized: the contexts of all calls.
        on_abort, on_finalize: answers of these calls in order: an exception is raised, None succeeds.
    """

    properties = PluginProperties(inline=True)

    def __init__(
        self,
        task_type: str,
        *answers: Answer,
        on_abort: list[BaseException | None] | None = None,
        on_finalize: list[BaseException | None] | None = None,
        finalizes: bool = True,
        default: bool = False,
    ) -> None:
        self.id = task_type
        self.task_type = task_type
        self.answers = list(answers)
        self.on_abort = on_abort or []
        self.on_finalize = on_finalize or []
        self.finalizes = finalizes
        self.default = default
        self.handled: list[TaskExecutionContext] = []
        self.aborted: list[TaskExecutionContext] = []
        self.finalized: list[TaskExecutionContext] = []

    @property
    def entry(self) -> PluginEntry:
        """Its registry entry."""
        return PluginEntry(id=self.id, task_types=(self.task_type,), load=lambda: self, default=self.default)

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Return the next answer."""
        answer = self.answers[min(len(self.handled), len(self.answers) - 1)]
        self.handled.append(ctx)
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(ctx)
        return Transition(answer) if isinstance(answer, PhaseInfo) else answer  # type: ignore[return-value]  # a script may answer nonsense

    def abort(self, ctx: TaskExecutionContext) -> None:
        """Succeed, or raise as the script says."""
        self.aborted.append(ctx)
        _next(self.on_abort, len(self.aborted))

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """Succeed, or raise as the script says."""
        self.finalized.append(ctx)
        _next(self.on_finalize, len(self.finalized))


def _next(answers: list[BaseException | None], call: int) -> None:
    answer = answers[min(call, len(answers)) - 1] if answers else None
    if answer is not None:
        raise answer
