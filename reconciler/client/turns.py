"""Change the priority of actions of a run that have not ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.audit import Who
from reconciler.broker.messages import Messenger
from reconciler.stores.lines import Lines
from reconciler.tickets import announce

_AT_ONCE = 1000
"""Actions per call of the store."""


class Tree(Protocol):
    """Reads of actions that a choice of them needs."""

    def get(self, action: ActionId) -> TaskAction:
        """Read one record."""

    def counts(self, run: RunId) -> object:
        """Count the actions of a run, or say that there is none."""

    def actions(self, run: RunId, parent: str | None = None) -> Iterator[TaskAction]:
        """List the actions of a run, or the children of one."""


def set_priority(
    lines: Lines, messenger: Messenger, look: Callable[[], Iterable[TaskAction]], priority: int, by: Who
) -> int:
    """Give actions of one run another priority; return how many live ones have it now.

    Args:
        lines: of the store.
        messenger: takes tickets for the lines that were opened.
        look: tells all actions that are meant, parents before their children; asked again until none has another one, for
            what was submitted meanwhile below one that was not reached yet inherited the old priority.
        priority: 0 to 9.
        by: who wants it.
    """
    changed = total = _pass(lines, messenger, look(), priority, by)
    while changed:
        late = (action for action in look() if action.metadata.priority != priority)
        changed = _pass(lines, messenger, late, priority, by)
        total += changed
    return total


def _pass(lines: Lines, messenger: Messenger, actions: Iterable[TaskAction], priority: int, by: Who) -> int:
    changed, live = 0, (action for action in actions if not action.phase.is_terminal())
    while part := list(islice(live, _AT_ONCE)):
        ids, incarnation = [action.id for action in part], part[0].metadata.incarnation
        count, opened = lines.prioritize(ids, priority, incarnation=incarnation, by=by)
        announce(lines, messenger, opened)
        changed += count
    return changed


def below(actions: Tree, target: ActionId | RunId) -> Iterator[TaskAction]:
    """List the actions of a run, or one with all below it."""
    if isinstance(target, RunId):
        actions.counts(target)
        yield from actions.actions(target)
        return
    yield actions.get(target)
    parents = [target.action]
    while parents:
        for child in actions.actions(target.run_id, parents.pop()):
            yield child
            if child.children.total:
                parents.append(child.id.action)
