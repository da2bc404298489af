"""A task's verbs for asyncio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from reconciler.client.run import Run
from reconciler.client.threads import awaitable

P = ParamSpec("P")
R = TypeVar("R")


class AsyncTask(Generic[P, R]):
    """The verbs of a task for asyncio: `await thumbnail.aio.delay("cats/1.jpg")` is its `Run`, once it is stored.

    Args:
        delay: `Task.delay`.
        submit: `Task.submit`.
        map: `Task.map`.
    """

    def __init__(
        self,
        delay: Callable[P, Run[R]],
        submit: Callable[..., Run[R]],
        map: Callable[..., Run[list[R]]],  # noqa: A002  # the name of the verb
    ) -> None:
        self.delay = awaitable(delay)
        self.submit = awaitable(submit)
        self.map = awaitable(map)
