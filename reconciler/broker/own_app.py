"""A Celery application with only the tasks it declares itself, whatever else its process imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import Celery

from reconciler.api.errors import InvalidSpec

_CELERYS: Final = "celery."


class OwnApp(Celery):  # type: ignore[misc]  # Celery has no types
    """Takes no task of another application, and gives none away.

    Celery shares tasks between all applications of a process, so a worker of ours would consume, and a client keep, what a
    plugin or a program has imported.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # as Celery
        self._declared: set[str] = set()
        super().__init__(*args, **options)

    def task(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as Celery
        """Declare a task of this application, by its name.

        Raises:
            InvalidSpec: it has none: somebody takes this application for one of his own.
        """
        if "name" not in options:
            raise InvalidSpec(
                "the application of celery-reconciler runs no tasks of yours: declare functions with @env.task of a "
                "TaskEnvironment, and Celery tasks at an application of your own (`app = Celery(...)`)"
            )
        self._declared.add(options["name"])
        return super().task(*args, **{"shared": False, **options})

    def _task_from_fun(
        self,
        fun: Callable[..., Any],
        name: str | None = None,
        *args: Any,  # noqa: ANN401  # as Celery
        **options: Any,  # noqa: ANN401  # as above
    ) -> Any:  # noqa: ANN401  # a task of Celery
        """Register a task, if it is declared here. Both ways of sharing end here."""
        if name in self._declared or (name or "").startswith(_CELERYS):
            return super()._task_from_fun(fun, name, *args, **options)
        return None
