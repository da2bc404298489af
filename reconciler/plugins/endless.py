"""Find waits that can never end: those whose chain of causes leads back to the waiting action.

What an action waits for is known while it is suspended; a function that waits in place, or whose wait is not said yet, hides
its part of a circle until then.
"""

from __future__ import annotations

from collections import deque

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import EndlessWait
from reconciler.core.children import GROUPS
from reconciler.stores.base import Store

_MOST = 200
"""Actions looked at for one wait, at most: whoever waits for more is not known to wait for itself."""


def refuse_endless(store: Store, waiter: ActionId, target: ActionId) -> None:
    """Refuse a wait of one action for another that can never end, as far as that is known.

    Raises:
        EndlessWait: names the circle.
    """
    way = way_back(store, waiter, target)
    if way:
        raise EndlessWait([waiter, *way, *([waiter] if way[-1] != waiter else [])])


def way_back(store: Store, waiter: ActionId, target: ActionId) -> list[ActionId]:
    """List the actions from `target` on, each waiting for the next, up to the waiter or one above it; empty if none.

    Whatever an action waits for above itself ends, if at all, by aborting it: nothing comes of that wait either.
    """
    above = _above(store, waiter)
    ways: dict[ActionId, list[ActionId]] = {target: [target]}
    todo = deque([target])
    while todo:
        action = todo.popleft()
        if action in above:
            return ways[action]
        record = store.get(action)
        for other in _waited_for(store, record) if record is not None else ():
            if other not in ways and len(ways) < _MOST:
                ways[other] = [*ways[action], other]
                todo.append(other)
    return []


def _above(store: Store, action: ActionId) -> set[ActionId]:
    """List the action and all actions above it."""
    found = {action}
    record = store.get(action)
    while record is not None and (parent := record.spec.parent_action_name):
        above = action.run_id.action(parent)
        found.add(above)
        record = store.get(above)
    return found


def _waited_for(store: Store, record: TaskAction) -> list[ActionId]:
    """Return what a suspended action or a group waits for; nothing for an action that goes on by itself."""
    run = record.id.run_id
    if record.phase.is_terminal():
        return []
    if record.spec.task_type in GROUPS:
        page = store.list_actions(run, parent=record.id.action, limit=_MOST)
        return [member.id for member in page.actions if not member.phase.is_terminal()]
    outcome = record.attempt.outcome
    if not record.attempt.suspended or outcome is None:
        return []
    return [ActionId.parse(name) if "/" in name else run.action(name) for name in outcome.waits]
