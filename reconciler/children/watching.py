"""Find out which of the actions a function waits for have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.errors import ActionNotFound, ReconcilerError, Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.children.hidden import Hidden
from reconciler.children.requests import End
from reconciler.client.client import Client
from reconciler.client.reading import read_outputs, read_traceback
from reconciler.client.waiting import ended_error, is_over
from reconciler.controller.launches import Follower, Followers
from reconciler.core.status_conditions import terminal_time
from reconciler.stores.base import ANY

_LOOK_ANYWAY = 5.0
"""How often to look without a notification, since one may be lost, seconds."""
_LOOK_AFTER_FORCE = 0.25
_SEVERAL = 3
_READERS = 16
_SHARE = 3
"""The pause after a look, as a multiple of the time it took."""


class Watching:
    """Watches actions for one launch.

    Args:
        client: of the installation.
        told: called, in any thread, when something may have ended.
        hidden: remembers what is given and shown nowhere.
        followers: who is told of ends that this process commits.
    """

    def __init__(
        self, client: Client, told: Callable[[], None], hidden: Hidden, followers: Followers | None = None
    ) -> None:
        self._client = client
        self._told = told
        self._hidden = hidden
        self._open: dict[int, ActionId] = {}
        self._runs: dict[RunId, None] = {}
        self._subscribed = ExitStack()
        self._news = False
        self._next = 0.0
        self._at_latest = 0.0
        self._followers = {} if followers is None else followers
        self._given: dict[ActionId, TaskAction] = {}
        self._born: dict[ActionId, int] = {}
        self._heard = 0
        self._coming: set[ActionId] = set()

    @property
    def heard(self) -> int:
        """Count the ends it was notified of."""
        return self._heard

    def born(self, actions: Sequence[ActionId], heard: int) -> None:
        """Note actions that were stored just now; before that it had been notified so often."""
        self._born.update((action, heard) for action in actions if action.run_id in self._runs)

    def add(self, number: int, action: ActionId) -> None:
        """Watch an action under a number. It is looked at, unless nothing has ended since it was stored."""
        if action.run_id not in self._runs:
            self._subscribed.enter_context(
                self._client.store.subscribe(action.run_id, self._hear, end_of=ANY)
            )
            self._runs[action.run_id] = None
        if not self._open:  # what was heard before concerns nobody any more
            self._news, self._at_latest = False, time.monotonic() + _LOOK_ANYWAY
        self._open[number] = action
        born = self._born.pop(action, None)
        if born is not None:
            self._followers[action] = Follower(
                partial(self._coming.add, action), self._take, partial(self._over, action)
            )
        if born is None or born != self._heard:
            self._next = 0.0
            self._news = True
            self._told()

    def close(self) -> None:
        """Stop watching."""
        self._subscribed.close()
        for action in self._open.values():
            self._followers.pop(action, None)

    def pause(self) -> float | None:
        """Return the seconds until `ended` has something to do; None: not before it is notified."""
        if not self._open:
            return None
        if self._given:
            return 0.0
        due = self._next if self._news and not self._coming else self._at_latest
        return max(0.0, due - time.monotonic())

    def ended(self) -> list[End]:
        """Return the ends since the last call, each at most once.

        Raises:
            Unavailable: a server does not answer.
        """
        if not self._open or (self.pause() or 0.0) > 0:
            return []
        if self._given:
            return self._take_given()
        began = time.monotonic()
        self._news = False
        try:
            return self._look()
        except Unavailable:
            self._news = True
            raise
        finally:
            now = time.monotonic()
            self._next = now + _SHARE * (now - began)

    def _take_given(self) -> list[End]:
        """Return the ends that this process has committed itself: their records need not be read."""
        given = {action: self._given.pop(action) for action in list(self._given)}
        over = [(n, action, given[action]) for n, action in self._open.items() if action in given]
        self._news = self._news or not all(is_over(record) for _, _, record in over)
        try:
            found = ends_of(self._client, [one for one in over if is_over(one[2])], self._hidden)
        except Unavailable:
            self._news = True
            raise
        for end in found:
            del self._open[end.number]
        return found

    def _look(self) -> list[End]:
        numbers, actions = list(self._open), list(self._open.values())
        records = self._client.store.get_many(actions)
        over, by_force = [], False
        for number, action, record in zip(numbers, actions, records, strict=True):
            if record is None or is_over(record):
                over.append((number, action, record))
            elif record.phase.is_terminal():
                by_force = True
        found = ends_of(self._client, over, self._hidden)
        for end in found:
            self._followers.pop(self._open.pop(end.number), None)
        self._at_latest = time.monotonic() + (_LOOK_AFTER_FORCE if by_force else _LOOK_ANYWAY)
        return found

    def _hear(self) -> None:
        self._heard += 1
        self._news = True
        if not self._coming:
            self._told()

    def _take(self, record: TaskAction) -> None:
        """Take the record of an end that this process has committed."""
        self._given[record.id] = record
        if record.id not in self._coming:
            self._told()

    def _over(self, action: ActionId) -> None:
        """Look again at what was notified of meanwhile."""
        self._coming.discard(action)
        self._told()


def ends_of(
    client: Client, over: Sequence[tuple[int, ActionId, TaskAction | None]], hidden: Hidden
) -> list[End]:
    """Read the ends of actions, with outputs or errors, in the given order.

    Raises:
        Unavailable: a server does not answer.
    """
    if sum(_is_far(record) for _, _, record in over) < _SEVERAL:
        return [_end(client, hidden, *one) for one in over]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="reconciler-ends") as pool:
        return list(pool.map(lambda one: _end(client, hidden, *one), over))


def _is_far(record: TaskAction | None) -> bool:
    """Tell whether the outputs lie in S3 alone."""
    ref = record.status.outputs if record is not None else None
    return ref is not None and ref.inline is None


def _end(client: Client, hidden: Hidden, number: int, action: ActionId, record: TaskAction | None) -> End:
    if record is None:
        error: ReconcilerError = ActionNotFound(action)
        return _refused(number, action, error)
    phase, ended = int(record.phase), ended_error(record)
    if ended is not None:
        return End(
            number=number,
            action=str(action),
            phase=phase,
            at=terminal_time(record.status),
            code=ended.code,
            message=ended.message,
            kind=ended.kind,
            traceback=read_traceback(client.blobs, record, client.settings.max_object_size),
            failed=record.children.failed,
        )
    limit = client.settings.max_object_size
    try:
        document = read_outputs(client.blobs, record, limit)
    except Unavailable:
        raise
    except ReconcilerError as refused:
        return _refused(number, action, refused)
    hidden.note(record, document)
    return End(
        number=number,
        action=str(action),
        phase=phase,
        at=terminal_time(record.status),
        document=document,
        failed=record.children.failed,
    )


def _refused(number: int, action: ActionId, error: ReconcilerError) -> End:
    return End(
        number=number,
        action=str(action),
        phase=int(ActionPhase.UNSPECIFIED),
        code=type(error).__name__,
        message=str(error),
    )
