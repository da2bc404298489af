"""What clients do with runs that ended: another one is made of one or of many, and some shall not be remembered."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import BlobNotFound
from reconciler.archive.bulk import BulkVerb
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Client
from reconciler.client.submission import key_name

Do = Callable[[Client], Any]


def making(rng: random.Random, names: list[str], new: str, *, changeable: bool) -> tuple[str, Do]:
    """Make another run of one once it has ended, while it is kept, forgotten, or in the archive."""
    verb = rng.choice(("recover", "recover", "rerun", "fork"))
    source, action = ActionId.parse(names[0]).run_id, ActionId.parse(rng.choice(names)).action
    given: dict[str, Any] = {}
    if verb == "fork" and changeable and rng.random() < 0.5:
        given = {"inputs": {action: {"x": 2 + rng.randrange(9)}}}  # another one than any has
    elif verb == "fork":
        given = {"again": (action,)}
    return verb, lambda client: getattr(client, verb)(source, name=new, **given)


def bulking(rng: random.Random, name: str, runs: Collection[str], made: set[str]) -> Do:
    """Make runs of many; whoever comes later goes on with the same.

    Args:
        rng: chooses.
        name: of the bulk.
        runs: those of which any may be among them.
        made: is told the names of the runs that are made.
    """
    verb = rng.choice((BulkVerb.RECOVER, BulkVerb.RERUN))
    return partial(_bulk, name=name, verb=verb, runs=runs, made=made)


def _bulk(client: Client, name: str, verb: BulkVerb, runs: Collection[str], made: set[str]) -> None:
    try:
        bulk = client.bulk.open(name)
    except BlobNotFound:
        question = Question(project=client.settings.project, since=FIRST, until=LAST)
        rows = [row for row in client.bulk.find(verb, question).rows if row.run in runs]
        if not rows:
            return
        bulk = client.bulk.plan(verb, rows, name=name)
    made.update(key_name(f"{bulk.plan.project}/{name} {life}") for life in bulk.plan.runs)
    bulk.carry_out()


def deleting(source: RunId, deleted: set[str]) -> Do:
    """Ask that a run is not remembered; `deleted` is told which lives that were."""

    def delete(client: Client) -> None:
        plan = client.history.plan_delete(source)
        client.history.delete(plan)
        deleted.update(plan.runs)

    return delete
