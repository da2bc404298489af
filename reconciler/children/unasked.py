"""Find what an earlier pass has started and the last one did not ask for: a sign that the code differs between passes."""

from __future__ import annotations

from reconciler.api.action import TaskAction
from reconciler.children.desk import Desk
from reconciler.client.client import Client
from reconciler.core.children import first_generation
from reconciler.plugins.suspension import NAMED


def unasked(client: Client, record: TaskAction, desk: Desk | None) -> tuple[str, ...]:
    """Name the first children that were not asked for. Costs one look if the last pass asked for as many as exist.

    How many exist is asked anew: when the answer to a creation was lost, and it was sent again, nobody knows what was new.

    Args:
        client: of the installation.
        record: the action, as it was drawn for that pass.
        desk: of that pass; None: it asked for nothing.

    Raises:
        Unavailable: the store does not answer.
    """
    names, over = desk.asked() if desk is not None else set[str](), record.status.start_over
    there = client.store.get(record.id) if record.children.total else None
    if there is None or len(names) == there.children.total:
        return ()
    asked = {first_generation(name) for name in names}
    since = over.at if over is not None else 0
    found: list[str] = []
    for child in client.actions(record.id.run_id, parent=record.id.action):
        earlier = child.metadata.creation_timestamp <= since  # of before it started over
        if first_generation(child.id.action) not in asked and not earlier:
            found.append(child.id.action)
            if len(found) == NAMED:
                break
    return tuple(found)
