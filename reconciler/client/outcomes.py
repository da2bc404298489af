"""Tell how the members of a group have ended: all together, or in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import ActionEnded, ActionNotFound
from reconciler.client.actions import Actions
from reconciler.client.waiting import ended_error
from reconciler.core.children import member_name


class Outcomes:
    """Reads results and errors of the members of a group.

    Args:
        actions: of the installation.
        record: the group, which has ended.
        members: how many it has.
        decode: reads the outputs of one.
    """

    def __init__(
        self, actions: Actions, record: TaskAction, members: int, decode: Callable[[bytes], Any]
    ) -> None:
        self._actions = actions
        self._record = record
        self._members = members
        self._decode = decode
        self._error = ended_error(record)

    def all(self) -> list[Any | ActionEnded]:
        """Return the results or errors of all members, in order.

        Raises:
            ActionEnded: it ended before all members were stored, and says why.
            ActionNotFound: members are stored no more.
        """
        if self._error is not None and self._record.children.total < self._members:
            raise self._error
        try:
            return list(self._actions.outcomes(self._names(0, self._members), self._decode))
        except ActionNotFound:
            if self._error is None:
                raise
            raise self._error from None

    def some(self, first: int, end: int) -> list[Any | ActionEnded]:
        """Return those of some members, in order; for a member that was never started, the error of the group.

        Raises:
            ActionNotFound: members are stored no more.
        """
        names = self._names(first, end)
        try:
            return list(self._actions.outcomes(names, self._decode))
        except ActionNotFound:
            if self._error is None:
                raise
        return self._one_by_one(names, self._error)

    def _one_by_one(self, names: Sequence[ActionId], error: ActionEnded) -> list[Any | ActionEnded]:
        if self._record.archived:
            there = [self._is_archived(name) for name in names]
        else:
            there = [record is not None for record in self._actions.store.get_many(names)]
        found = iter(
            self._actions.outcomes(
                [name for name, is_there in zip(names, there, strict=True) if is_there], self._decode
            )
        )
        return [next(found) if is_there else error for is_there in there]

    def _is_archived(self, name: ActionId) -> bool:
        try:
            return self._actions.get(name) is not None
        except ActionNotFound:
            return False

    def _names(self, first: int, end: int) -> list[ActionId]:
        run, group = self._record.id.run_id, self._record.id.action
        return [run.action(member_name(group, index)) for index in range(first, end)]
