"""Find which attempts have a page among Flower's own tasks: their events are capped in rate, and kept in memory alone."""

from __future__ import annotations

from typing import Any

from flower.utils.tasks import get_task_by_id

from reconciler.core.documents import Document
from reconciler.core.paths import launch_id

_LAUNCHES = 9
"""Launches of an earlier attempt that are looked for; which was its last is not kept."""


def link_tasks(document: Document, events: Any) -> Document:  # noqa: ANN401  # Flower's
    """Add to each attempt of an action the id of its last launch that Flower knows as a task; None when it knows none.

    Args:
        document: of the action.
        events: what Flower has heard; None where its pages are closed to who asks.
    """
    last, launch = document["attempts"], (document["attempt"] or {}).get("launch")
    for told in document["attempts_told"]:
        number = told["attempt"]
        launches = [launch] if number == last else [launch_id(number, n) for n in range(_LAUNCHES, -1, -1)]
        ids = [f"{document['action']}/{one}" for one in launches if one]
        told["task"] = next((one for one in ids if events and get_task_by_id(events, one)), None)
    return document
