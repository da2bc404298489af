"""`Run[T]`: the handle of a submission. Holds names, no state: two handles of one run are as good as one.

Its verbs block; in an event loop `await run` is its result, `run.aio` has the same verbs to be awaited, and `run.watch()`
is followed by `async for`.

It belongs to that run alone: once the run is forgotten nothing is found, even if its name has been used again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from reconciler.api.action import ActionId, ActionSpec, RunId, TaskAction
from reconciler.api.attempt import Progress
from reconciler.api.errors import ActionEnded, InvalidName, InvalidSpec
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.client.actions import ABORT_REASON, Actions
from reconciler.client.awaiting import end_of
from reconciler.client.completing import AsCompleted, Ends
from reconciler.client.incarnation import OneIncarnation
from reconciler.client.outcomes import Outcomes
from reconciler.client.threads import awaitable, in_thread
from reconciler.client.waiting import raise_unless_succeeded
from reconciler.client.watching import Watch
from reconciler.core.attempts import AttemptView
from reconciler.core.children import ROOT
from reconciler.core.results import Results, raise_first, shown
from reconciler.stores.base import AbortOutcome
from reconciler.stores.counts import RunCounts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Maker(Protocol):
    """Makes runs of runs, as `Client` does."""

    rerun: Callable[..., Run[Any]]
    recover: Callable[..., Run[Any]]
    fork: Callable[..., Run[Any]]


class Run(Generic[T_co]):
    """A submitted action, or a group of them, and its result of type `T`.

    Attributes:
        id: the run.
        action: its root action, or the action this handle was made for.
        incarnation: tells the run from other runs of its name.
    """

    def __init__(
        self,
        client: Actions,
        action: ActionId,
        decode: Callable[[bytes], Any],
        *,
        members: int | None = None,
        incarnation: str = "",
        fresh: bool = True,
        lazy: bool = False,
        return_exceptions: bool = False,
    ) -> None:
        self._client = OneIncarnation(client, action, incarnation)
        self._makes = cast("Maker", client)  # whoever gives handles away can make runs: it is a Client
        self.incarnation = incarnation
        self._decode = decode
        self._members = members
        self._lazy = lazy
        self._return_exceptions = return_exceptions
        self._fresh = fresh
        self.action = action
        self.id: RunId = action.run_id

    def __repr__(self) -> str:
        return f"<Run {self.action}>"

    @property
    def phase(self) -> ActionPhase:
        """Tell where the action is now.

        Raises:
            ActionNotFound: it has been collected; every other method then raises this, too.
        """
        return self._client.get(self.action).phase

    @property
    def progress(self) -> Progress | None:
        """Tell how far its function says it is, as by `update_state` of a Celery task; None when it says nothing."""
        return self._client.get(self.action).attempt.progress

    @property
    def counts(self) -> RunCounts:
        """Count the actions of the run in each phase. Its root counts, and each map with a bound or inside a task."""
        return self._client.counts(self.id)

    @property
    def aio(self) -> AsyncRun[T_co]:
        """The same verbs for asyncio."""
        return AsyncRun(self)

    def __await__(self) -> Generator[Any, Any, T_co]:
        """Wait for the result in an event loop, as `result` does. Cancelling ends only the wait: the action goes on.

        Raises:
            ActionFailed, ActionAborted, ActionTimedOut: as `result`.
        """
        return self.aio.result().__await__()

    def wait(self, timeout: float | None = None, progress: Callable[[], None] | None = None) -> TaskAction:
        """Wait until the action has ended, however it ended, and return its record; see `Client.wait`."""
        return self._client.wait(self.action, timeout, progress, fresh=self._first_look())

    def _first_look(self) -> bool:
        fresh, self._fresh = self._fresh, False
        return fresh

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the end, and return what the task returned; for a group, the list of what its members returned, in order.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            ActionFailed, ActionAborted, ActionTimedOut: it ended otherwise; for a group the first member that did.
            ResultTimeout: it has not ended in time; it goes on.
        """
        return self._value(self.wait(timeout))

    def _value(self, record: TaskAction) -> T_co:
        if self._members is None:
            return cast("T_co", self._decode(self._client.outputs(record)))
        found = self._outcomes(record)
        if self._return_exceptions:
            return cast("T_co", found)
        if isinstance(found, Results):
            found = found.raising()
        # read in parts, and all of it well: each part is looked through when it is read
        if not (self._lazy and record.phase.has_outputs() and not record.children.failed):
            raise_first(found)
            if self._lazy:
                raise_unless_succeeded(record)  # for a reason of its own
        return cast("T_co", found)

    def outcomes(self, timeout: float | None = None) -> Sequence[Any | ActionEnded]:
        """Return the result or error of each member of a group, in order; an error is an instance of `ActionEnded`.

        Where outputs are gone or were changed in S3 the error is `ActionFailed` with the code `BlobNotFound` or
        `BlobCorrupt`. For a map with `concurrency` they are read in parts, as they are asked for.

        Raises:
            ResultTimeout: the group has not ended in time.
        """
        return self._outcomes(self.wait(timeout))

    def _outcomes(self, record: TaskAction) -> Sequence[Any | ActionEnded]:
        if self._members is None:
            return list(self._client.outcomes([record.id], self._decode))
        members = Outcomes(self._client, record, self._members, self._decode)
        return Results(self._members, members.some) if self._lazy else members.all()

    def as_completed(
        self, *, indexed: bool = False, return_exceptions: bool | None = None, timeout: float | None = None
    ) -> AsCompleted[Any]:
        """Follow the results of a map in the order in which its calls end, by `for` or `async for`.

        Args:
            indexed: yield `(index, result)`, with the index of the item.
            return_exceptions: yield the error of a failed call instead of raising it; by default as the map was submitted.
            timeout: seconds in all; None: as long as it takes.

        Raises:
            InvalidSpec: it is no map.
            ActionFailed, ActionAborted, ActionTimedOut: a call ended otherwise; raised when its turn comes.
            ResultTimeout: they have not all ended in time; they go on.
        """
        if self._members is None:
            raise InvalidSpec(
                f"{self.action} is no map, so nothing of it comes one by one: wait for its result()"
            )
        errors = self._return_exceptions if return_exceptions is None else return_exceptions
        ends = Ends(self._client, self.action, self._members, self._decode)
        return AsCompleted(ends, partial(shown, indexed=indexed, return_exceptions=errors), timeout)

    def watch(self, after: int = 0, timeout: float | None = None) -> Watch:
        """Yield events as they come, ending with the terminal one, for `for` and `async for`; see `Client.watch`."""
        return self._client.watch(self.action, after, timeout)

    def events(self) -> list[ActionEvent]:
        """Read the events so far."""
        return self._client.events(self.action)

    def attempts(self) -> list[AttemptView]:
        """List the attempts so far; see `Client.attempts`."""
        return self._client.attempts(self.action)

    def abort(self, reason: str = ABORT_REASON) -> AbortOutcome:
        """Store the request to abort the action and all its descendants; see `Client.abort`."""
        return self._client.abort(self.action, reason)

    def prioritize(self, priority: int) -> int:
        """Give the action and all below it another priority, 0 to 9; see `Client.prioritize`."""
        return self._client.prioritize(self.action, priority)

    def rerun(self, *, name: str = "", idempotency_key: str = "") -> Run[T_co]:
        """Run all of it again, once it has ended, as a new run; see `Client.rerun`."""
        return self._remade(self._makes.rerun, name=name, idempotency_key=idempotency_key)

    def recover(self, *, name: str = "", idempotency_key: str = "") -> Run[T_co]:
        """Go on from what succeeded, once it has ended, as a new run; see `Client.recover`."""
        return self._remade(self._makes.recover, name=name, idempotency_key=idempotency_key)

    def fork(
        self,
        *,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        specs: Mapping[str, ActionSpec] | None = None,
        again: Collection[str] = (),
        name: str = "",
        idempotency_key: str = "",
    ) -> Run[T_co]:
        """Recover it with changes, once it has ended, as a new run; see `Client.fork`."""
        changes: dict[str, Any] = {"inputs": inputs, "specs": specs, "again": again}
        return self._remade(self._makes.fork, name=name, idempotency_key=idempotency_key, **changes)

    def _remade(self, make: Callable[..., Run[Any]], **options: Any) -> Run[T_co]:  # noqa: ANN401  # those of `make`
        made = make(whole_run(self), incarnation=self.incarnation, decode=self._decode, **options)
        made._return_exceptions = self._return_exceptions  # noqa: SLF001  # another one of this class
        return made


def whole_run(handle: Run[Any]) -> RunId:
    """Return the run of a handle, which only that of a root stands for.

    Raises:
        InvalidName: it is the handle of an action below the root.
        ActionNotFound: the run is not stored any more.
    """
    action, client = handle.action, handle._client  # noqa: SLF001  # same module
    if action.action != ROOT and client.get(action).spec.parent_action_name:
        raise InvalidName(
            f"{action} is no run, and no action is made again alone: take the handle of the run {handle.id}, or fork "
            "it with again=[…]"
        )
    return handle.id


class AsyncRun(Generic[T]):
    """The verbs of a `Run` for asyncio. Waiting takes no thread, however many wait.

    Cancelling an await ends only the waiting: the action goes on, and can be waited for again.

    Args:
        run: the handle.
    """

    def __init__(self, run: Run[T]) -> None:
        self.run = run
        self.events = awaitable(run.events)
        self.attempts = awaitable(run.attempts)
        self.abort = awaitable(run.abort)
        self.prioritize = awaitable(run.prioritize)
        self.rerun = awaitable(run.rerun)
        self.recover = awaitable(run.recover)
        self.fork = awaitable(run.fork)

    async def phase(self) -> ActionPhase:
        """See `Run.phase`."""
        return await in_thread(lambda: self.run.phase)

    async def progress(self) -> Progress | None:
        """See `Run.progress`."""
        return await in_thread(lambda: self.run.progress)

    async def counts(self) -> RunCounts:
        """See `Run.counts`."""
        return await in_thread(lambda: self.run.counts)

    async def wait(self, timeout: float | None = None) -> TaskAction:  # noqa: ASYNC109  # as the plain verb has it
        """See `Run.wait`."""
        run = self.run
        return await end_of(run._client, run.action, timeout, fresh=run._first_look())  # noqa: SLF001  # one handle in two dresses

    async def result(self, timeout: float | None = None) -> T:  # noqa: ASYNC109  # as the plain verb has it
        """See `Run.result`."""
        return await in_thread(self.run._value, await self.wait(timeout))  # noqa: SLF001  # as above

    async def outcomes(self, timeout: float | None = None) -> Sequence[Any | ActionEnded]:  # noqa: ASYNC109  # as the plain verb has it
        """See `Run.outcomes`."""
        return await in_thread(self.run._outcomes, await self.wait(timeout))  # noqa: SLF001  # as above

    def as_completed(
        self, *, indexed: bool = False, return_exceptions: bool | None = None, timeout: float | None = None
    ) -> AsCompleted[Any]:
        """See `Run.as_completed`: nothing to await, but to follow by `async for`."""
        return self.run.as_completed(indexed=indexed, return_exceptions=return_exceptions, timeout=timeout)

    def watch(self, after: int = 0, timeout: float | None = None) -> Watch:
        """See `Run.watch`: nothing to await, but to follow by `async for`."""
        return self.run.watch(after, timeout)
