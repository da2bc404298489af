"""The client for asyncio: each verb of `Client` as a coroutine.

What blocks is done by a few threads (`reconciler.client.threads`); waiting for an end is done in the loop, by one connection
for all notifications. A loop that dies loses nothing: what a verb has returned is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import Any, TypeVar, overload

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.client.awaiting import end_of
from reconciler.client.bulk import Bulk, Bulks
from reconciler.client.client import Client
from reconciler.client.handles import Typed
from reconciler.client.history import History
from reconciler.client.identities import NamedAction, NamedRun, action_of
from reconciler.client.run import Run
from reconciler.client.threads import awaitable, in_thread
from reconciler.client.waiting import decode_outputs
from reconciler.client.watching import Watch
from reconciler.settings import Settings

R = TypeVar("R")

_AT_ONCE = 500
"""Actions handed from a thread to the loop together."""


class AsyncHistory:
    """The verbs of `Client.history`, awaited."""

    def __init__(self, history: History) -> None:
        self.find = awaitable(history.find)
        self.plan_delete = awaitable(history.plan_delete)
        self.plan_delete_project = awaitable(history.plan_delete_project)
        self.delete = awaitable(history.delete)
        self.deleted = awaitable(history.deleted)


class AsyncBulks:
    """The verbs of `Client.bulk`, awaited, and those of a `Bulk`."""

    def __init__(self, bulks: Bulks) -> None:
        self.find = awaitable(bulks.find)
        self.plan = awaitable(bulks.plan)
        self.open = awaitable(bulks.open)
        self.planned = awaitable(bulks.planned)
        self.carry_out = awaitable(Bulk.carry_out)
        self.done = awaitable(Bulk.done)


class AsyncClient:
    """A `Client` whose verbs are awaited. May be shared by tasks, and used in one loop after another.

    Attributes:
        plain: the client it stands on, for plain code.
    """

    def __init__(self, client: Client) -> None:
        """Wrap a client; see `from_settings`."""
        self.plain = client
        self.settings = client.settings
        self.submit = awaitable(client.submit)
        self.submit_many = awaitable(client.submit_many)
        self.submit_map = awaitable(client.submit_map)
        self.send = awaitable(client.send)
        self.task = awaitable(client.task)
        self.condition: Callable[..., Awaitable[Run[Any]]] = awaitable(client.condition)
        self.signal = awaitable(client.signal)
        self.signal_by_token = awaitable(client.signal_by_token)
        self.action_of_token = awaitable(client.action_of_token)
        self.get = awaitable(client.get)
        self.counts = awaitable(client.counts)
        self.runs = awaitable(client.runs)
        self.events = awaitable(client.events)
        self.attempts = awaitable(client.attempts)
        self.outputs = awaitable(client.outputs)
        self.outcomes = awaitable(client.outcomes)
        self.abort = awaitable(client.abort)
        self.prioritize = awaitable(client.prioritize)
        self.who = client.who
        self.submitter = awaitable(client.submitter)
        self.rerun = awaitable(client.rerun)
        self.recover = awaitable(client.recover)
        self.fork = awaitable(client.fork)
        self.made_of = awaitable(client.made_of)
        self.made_into = awaitable(client.made_into)
        self.pause_queue = awaitable(client.pause_queue)
        self.resume_queue = awaitable(client.resume_queue)
        self.move_queue = awaitable(client.move_queue)
        self.limit_queue = awaitable(client.limit_queue)
        self.queues = awaitable(client.queues)
        self.history = AsyncHistory(client.history)
        self.bulk = AsyncBulks(client.bulk)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> AsyncClient:
        """Make a client on the servers of the settings; by default those of the environment. Nothing is connected yet.

        Raises:
            InvalidSettings: lists every wrong setting.
        """
        return cls(Client.from_settings(settings))

    @overload
    async def run(self, id: str | RunId | ActionId) -> Run[Any]: ...  # what it is
    @overload
    async def run(self, id: str | RunId | ActionId, task: Typed[R]) -> Run[R]: ...  # as above
    async def run(self, id: str | RunId | ActionId, task: Typed[Any] | None = None) -> Run[Any]:  # noqa: A002  # as above
        """See `Client.run`."""
        if task is None:
            return await in_thread(lambda: self.plain.run(id))
        return await in_thread(lambda: self.plain.run(id, task))

    async def actions(
        self, run: NamedRun, parent: str | None = None, after: str = ""
    ) -> AsyncIterator[TaskAction]:
        """See `Client.actions`; followed by `async for`."""
        found = self.plain.actions(run, parent, after)
        while part := await in_thread(_some, found):
            for action in part:
                yield action

    def watch(self, action: NamedAction, after: int = 0, timeout: float | None = None) -> Watch:
        """See `Client.watch`: nothing to await, but to follow by `async for`."""
        return self.plain.watch(action, after, timeout)

    async def wait(self, action: NamedAction, timeout: float | None = None) -> TaskAction:  # noqa: ASYNC109  # as the plain verb has it
        """See `Client.wait`. Cancelled, only the waiting ends."""
        return await end_of(self.plain, action_of(action, *self.plain.place), timeout)

    async def result(self, action: NamedAction, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109  # whatever the task returned
        """See `Client.result`. Cancelled, only the waiting ends."""
        return decode_outputs(await self.outputs(await self.wait(action, timeout)))


def _some(actions: Iterator[TaskAction]) -> list[TaskAction]:
    return list(islice(actions, _AT_ONCE))
