"""Groups that start their members themselves: their items are taken in parts and stored as one object."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.api.action import ActionId
from reconciler.api.errors import ReconcilerError
from reconciler.api.phase import ActionPhase
from reconciler.children import requests as ask
from reconciler.children.starting import Starting


class Call(NamedTuple):
    """One map among those of a parent: its request, and how often the same was asked for before."""

    digest: str
    asked: int


class Windows:
    """Starts the groups of one action that start their members themselves.

    Args:
        starting: stores them.
    """

    def __init__(self, starting: Starting) -> None:
        self._starting = starting
        self._found: dict[Call, ActionId] = {}
        self._items: dict[Call, tuple[list[bytes], list[str]]] = {}

    def find(self, request: ask.FindGroup) -> ask.Phase:
        """Tell whether an earlier pass has started a group: then its items need not be sent.

        Raises:
            Unavailable: the store does not answer.
        """
        found = self._starting.find(request)
        if found is None:
            return ask.Phase(request.number, int(ActionPhase.UNSPECIFIED))
        self._found[Call(request.digest, request.asked)] = found.id
        return ask.Phase(request.number, int(found.phase))

    def take(self, request: ask.Items) -> ask.Done:
        """Keep some items until the group is started."""
        inputs, keys = self._items.setdefault(Call(request.digest, request.asked), ([], []))
        inputs += request.inputs
        keys += request.fair_keys
        return ask.Done(request.number)

    def start(self, request: ask.StartGroup) -> ActionId:
        """Store a group, or name the one that was found.

        Raises:
            ReconcilerError: it is refused, or a server does not answer.
        """
        call = Call(request.digest, request.asked)
        if call in self._found:
            return self._found[call]
        inputs, keys = self._items.get(call, ([], []))
        found = self._starting.window(request, inputs, keys)
        if isinstance(found, ReconcilerError):
            raise found
        self._items.pop(call, None)
        return found
