"""Find what an earlier pass has started and the last one did not ask for: a sign that the code differs between passes."""

from __future__ import annotations

from reconciler.api.action import TaskAction
from reconciler.children.desk import Desk
from reconciler.client.client import Client
from reconciler.core.children import first_generation
from reconciler.plugins.suspension import NAMED


def unasked(client: Client, record: TaskAction, desk: Desk | None) -> tuple[str, ...]:
    """Name the first children that were not asked for. Costs nothing if the last pass asked for as many as exist.

    Args:
        client: of the installation.
        record: the action, as it was drawn for that pass.
        desk: of that pass; None: it asked for nothing.

    Raises:
        Unavailable: the store does not answer.
    """
    before, over = record.children.total, record.status.start_over
    names, made = desk.asked() if desk is not None else (set[str](), 0)
    if not before or len(names) - made == before:
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
