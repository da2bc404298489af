"""The handle of a child inside a function: the same verbs as a `Run`, without a connection."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Generic, Literal, NoReturn, TypeVar, cast

import msgspec

from reconciler.api.action import ActionId, RunId
from reconciler.api.bounds import check_timeout
from reconciler.api.errors import ActionEnded, InvalidSpec
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import check_priority
from reconciler.api.texts import check_text
from reconciler.children import requests as ask
from reconciler.children.coming import Coming
from reconciler.children.errors import ended_error_of
from reconciler.children.parent import Parent
from reconciler.core.attempts import AttemptView, attempt_view, attempts_of
from reconciler.core.results import Results, raise_first, shown
from reconciler.stores.counts import RunCounts

_AGAIN = "start the task again with delay(), or use the handle of a Client outside of a task"
_OUTSIDE = {
    "watch": "no two passes would see the same; wait for it, or look at its phase or its events()",
    "aio": "await the run itself, its other verbs answer at once",
    "rerun": _AGAIN,
    "recover": _AGAIN,
    "fork": _AGAIN,
}
"""Verbs of a `Run` that a `ChildRun` has not, and what to do instead."""
T_co = TypeVar("T_co", covariant=True)
_MISSING = "ActionNotFound"


class ChildRun(Generic[T_co]):
    """An action that a running function has started, or a group of them; see `Run`."""

    def __init__(
        self,
        parent: Parent,
        number: int,
        decode: Callable[[bytes], Any],
        *,
        members: int | None = None,
        lazy: bool = False,
        return_exceptions: bool = False,
    ) -> None:
        self._parent = parent
        self._number = number
        self._decode = decode
        self._members = members
        self._lazy = lazy
        self._return_exceptions = return_exceptions

    def __repr__(self) -> str:
        return f"<ChildRun {self._number} of {self._parent.attempt.path}>"

    @property
    def action(self) -> ActionId:
        """Its identity, once it is stored."""
        return ActionId.parse(cast("ask.Started", self._parent.answer(self._number)).action)

    @property
    def id(self) -> RunId:
        """Its run: that of the function, unless it is detached."""
        return self.action.run_id

    @property
    def incarnation(self) -> str:
        """Return the incarnation of its run, which tells it from other runs of the same name."""
        return cast("ask.Started", self._parent.answer(self._number)).incarnation

    @property
    def phase(self) -> ActionPhase:
        """Return its phase now. It may differ between passes: base no decision on it that must be repeated."""
        number = self._parent.post(ask.Look(self._parent.number(), self._number))
        return ActionPhase(cast("ask.Phase", self._parent.answer(number)).phase)

    def result(self, timeout: float | None = None) -> T_co:
        """Return what the task returned; for a group, the list of what its members returned, in order.

        Args:
            timeout: seconds; with one the function keeps its worker while it waits. None waits as long as it takes.

        Raises:
            ActionFailed, ActionAborted, ActionTimedOut: it ended otherwise; for a group the first member that did.
            ResultTimeout: it has not ended in time; it goes on.
        """
        return self._value(self._parent.wait(self._number, check_timeout(timeout)))

    def outcomes(self, timeout: float | None = None) -> Sequence[Any | ActionEnded]:
        """Wait for the result or error of each member of a group, in order; of a single action a list of one."""
        end = self._parent.wait(self._number, check_timeout(timeout))
        return self._outcomes(end)

    def as_completed(
        self, *, timeout: float | None = None, indexed: bool = False, return_exceptions: bool | None = None
    ) -> Coming[Any]:
        """Follow the results of a map in the order in which its calls end, by `for` or `async for`.

        Args:
            timeout: None; a time limit is not taken inside a task.
            indexed: yield `(index, result)`, with the index of the item.
            return_exceptions: yield the error of a failed call instead of raising it; by default as the map was submitted.

        Raises:
            InvalidSpec: it is no map, or a time limit was given.
            ActionFailed, ActionAborted, ActionTimedOut: a call ended otherwise; raised when its turn comes.
        """
        if timeout is not None:
            raise InvalidSpec(
                "inside a task as_completed takes no timeout, as each pass would see other results before it: limit "
                "the calls themselves, as with @env.task(timeout=…)"
            )
        if self._members is None:
            raise InvalidSpec("this is no map, so nothing of it comes one by one: wait for its result()")
        errors = self._return_exceptions if return_exceptions is None else return_exceptions
        show = partial(shown, indexed=indexed, return_exceptions=errors)
        return Coming(self._parent, self._number, self._members, self._outcome, show)

    def wait(self, timeout: float | None = None) -> ActionPhase:
        """Wait until it has ended, however it ended; return its phase.

        Raises:
            ResultTimeout: it has not ended in time; it goes on.
        """
        return ActionPhase(self._parent.wait(self._number, check_timeout(timeout)).phase)

    def abort(self, reason: str = "its parent has aborted it") -> None:
        """Store the request to abort it and all below it.

        Raises:
            InvalidSpec: the reason is no text.
        """
        check_text("the reason of an abort", reason)
        self._parent.answer(self._parent.post(ask.Abort(self._parent.number(), self._number, reason)))

    def events(self) -> list[ActionEvent]:
        """Return its events so far. They may differ between passes, as `phase` may."""
        return msgspec.msgpack.decode(self._told("events"), type=list[ActionEvent])

    def attempts(self) -> list[AttemptView]:
        """Return its attempts so far, read from its events. They may differ between passes, as `phase` may."""
        return attempts_of(self.events()) or [attempt_view(1, ())]

    @property
    def counts(self) -> RunCounts:
        """Count the actions of its run (of the function's run, unless it is detached) in each phase; see `Run.counts`."""
        return msgspec.msgpack.decode(self._told("counts"), type=RunCounts)

    def prioritize(self, priority: int) -> int:
        """Give the action and all below it another priority, 0 to 9; return how many were changed.

        Raises:
            InvalidSpec: it is no such number.
        """
        return msgspec.msgpack.decode(self._told("prioritize", check_priority(priority)), type=int)

    def _told(self, what: Literal["events", "counts", "prioritize"], value: int = 0) -> bytes:
        number = self._parent.post(ask.Tell(self._parent.number(), self._number, what, value))
        return cast("ask.Told", self._parent.answer(number)).document

    def __getattr__(self, name: str) -> NoReturn:
        if name in _OUTSIDE:
            raise AttributeError(f"what a task has started has no {name} inside the task: {_OUTSIDE[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._awaited().__await__()

    async def _awaited(self) -> T_co:
        return self._value(await self._parent.wait_async(self._number))

    def _value(self, end: ask.End) -> T_co:
        if self._members is None:
            error = ended_error_of(end)
            if error is not None:
                raise error
            return cast("T_co", self._decode(end.document or b"{}"))
        found = self._outcomes(end)
        if self._return_exceptions:
            return cast("T_co", found)
        if isinstance(found, Results):
            found = found.raising()
        error = ended_error_of(end)
        # read in parts, and all of it well: each part is looked through when it is read
        if not (self._lazy and error is None and not end.failed):
            raise_first(found)
            if self._lazy and error is not None:
                raise error  # for a reason of its own
        return cast("T_co", found)

    def _outcomes(self, end: ask.End) -> Sequence[Any | ActionEnded]:
        error = ended_error_of(end)
        if self._members is None:
            return [error or self._decode(end.document or b"{}")]
        if self._lazy:
            return Results(self._members, partial(self._some, error))
        ends = self._parent.outcomes(self._number)
        if error is not None and any(one.code == _MISSING for one in ends):
            raise error  # it ended before all members were stored, and says why
        return [self._outcome(one) for one in ends]

    def _some(self, error: ActionEnded | None, first: int, end: int) -> list[Any | ActionEnded]:
        """Read the results of some members; for a member that was never started, the error of the group."""
        ends = self._parent.outcomes(self._number, first, end)
        return [error if error is not None and one.code == _MISSING else self._outcome(one) for one in ends]

    def _outcome(self, end: ask.End) -> Any | ActionEnded:  # noqa: ANN401  # whatever the task returned
        return ended_error_of(end) or self._decode(end.document or b"{}")
