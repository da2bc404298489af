"""Find out which members of the maps a function follows have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from reconciler.api.action import ActionId
from reconciler.api.errors import Unavailable
from reconciler.children.hidden import Hidden
from reconciler.children.requests import Ends, Follow
from reconciler.children.watching import ends_of
from reconciler.client.client import Client
from reconciler.client.waiting import is_over

_AT_ONCE = 500
_LOOK_ANYWAY = 5.0
"""How often to look without a notification, since one may be lost, seconds."""
_SHARE = 3
"""The pause after a look, as a multiple of the time it took."""


class Following:
    """Follows the maps of one launch.

    Args:
        client: of the installation.
        told: called, in any thread, when members may have ended.
        hidden: remembers what is given and shown nowhere.
    """

    def __init__(self, client: Client, told: Callable[[], None], hidden: Hidden) -> None:
        self._client = client
        self._told = told
        self._hidden = hidden
        self._open: dict[int, tuple[ActionId, int]] = {}
        self._places: dict[int, tuple[ActionId, int]] = {}
        self._subscribed = ExitStack()
        self._hears = False
        self._news = False
        self._next = self._at_latest = 0.0

    def add(self, request: Follow, group: ActionId) -> Ends:
        """Return the ends so far; if there are none, follow the group until there are some.

        Raises:
            Unavailable: a server does not answer.
        """
        if not self._hears:
            self._subscribed.enter_context(self._client.store.subscribe(group.run_id, self._hear))
            self._hears = True
        self._places[request.number] = (group, request.after)
        found = self._look(request.number, group, request.after)
        if found is None:
            self._open[request.number] = (group, request.after)
            self._hear()
        return found or Ends(request.number, [], last=False)

    def name(self, number: int) -> str:
        """Name what a suspended function waits for: the group, and how many ends of its members it knows; or nothing."""
        group, after = self._places.get(number, (None, 0))
        return f"{group.action}#{after}" if group is not None else ""

    def close(self) -> None:
        """Stop following."""
        self._subscribed.close()

    def pause(self) -> float | None:
        """Return the seconds until `ended` has something to do; None: not before it is notified."""
        if not self._open:
            return None
        return max(0.0, (self._next if self._news else self._at_latest) - time.monotonic())

    def ended(self) -> list[Ends]:
        """Return the ends since the last call.

        Raises:
            Unavailable: a server does not answer.
        """
        if not self._open or (self.pause() or 0.0) > 0:
            return []
        began, self._news = time.monotonic(), False
        try:
            looks = [self._look(number, *place) for number, place in self._open.items()]
        except Unavailable:
            self._news = True
            raise
        finally:
            now = time.monotonic()
            self._next, self._at_latest = now + _SHARE * (now - began), now + _LOOK_ANYWAY
        found = [one for one in looks if one is not None]
        for one in found:
            del self._open[one.number]
        return found

    def _look(self, number: int, group: ActionId, after: int) -> Ends | None:
        store, run = self._client.store, group.run_id
        record = store.get(group)  # before the list: what ended before it is in the list
        names = [run.action(name) for name in store.ended_children(group, after, _AT_ONCE)]
        if names:
            over = zip(names, store.get_many(names), strict=True)
            ends = ends_of(self._client, [(number, name, one) for name, one in over], self._hidden)
            return Ends(number, ends, last=False)
        return Ends(number, [], last=True) if record is None or is_over(record) else None

    def _hear(self) -> None:
        self._news = True
        self._told()
