"""Every field that the API of the pages sends is in its OpenAPI document, whatever an action is, and however far."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jsonschema
import msgspec
import pytest

from reconciler import Cache, RetryStrategy, TaskEnvironment
from reconciler.api.action import ActionId
from reconciler.client import Run
from reconciler.core.documents import Document
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.dashboard import detail, overview, search
from worker.dashboard.handlers import HERE
from worker.dashboard.links import link_tasks
from worker.dashboard.wanted import read_wanted

OPENAPI: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())
env = TaskEnvironment("documented")


@env.task(retries=RetryStrategy(retries=2, backoff=timedelta(minutes=1)))
def fails(why: str) -> int:
    """Fail, and rest."""
    raise ValueError(why)


@env.task(retries=0)
def breaks(n: int) -> int:
    """Fail for good."""
    raise ValueError(n)


@env.task(cache=Cache(version="1"))
def once(n: int, big: int = 2**70) -> int:
    """Run once for equal calls."""
    return n + big


@env.task(redact=True)
def whispers(words: str) -> str:
    """Tell nobody."""
    return words


@env.task(retries=0)
def tree(n: int) -> int:
    """Have children that fail."""
    return sum(breaks.map(range(n)).result())


@pytest.fixture
def lab() -> Lab:
    """A lab that runs these functions."""
    lab = Lab()
    env.client = lab.client
    return lab


def _waits(_: Lab) -> Run[Any]:
    run = once.delay(1)
    run.prioritize(7)
    return run


def _rests(lab: Lab) -> Run[Any]:
    run = fails.submit(("no stock",), labels={"shop": "north"}, countdown=1, expires=timedelta(hours=1))
    lab.work(limit=timedelta(seconds=5))
    return run


def _cached(lab: Lab) -> Run[Any]:
    once.delay(1)
    lab.work()
    run = once.delay(1)
    lab.work()
    return run


def _failed(lab: Lab) -> Run[Any]:
    run = tree.delay(3)
    lab.work()
    return run


def _redacted(lab: Lab) -> Run[Any]:
    run = whispers.delay("hush")
    lab.work()
    return run


def _asks(lab: Lab) -> Run[Any]:
    run = lab.client.condition("ship", "int", prompt="# How *many*?", description="By [post](https://x.org)")
    lab.step()
    return run


def _answered(lab: Lab) -> Run[Any]:
    run = _asks(lab)
    lab.client.signal(run.action, 7, by="ada")
    lab.work()
    return run


def _aborted(lab: Lab) -> Run[Any]:
    run = _asks(lab)
    run.abort("enough")
    lab.work()
    return run


def _recovered(lab: Lab) -> Run[Any]:
    run = _failed(lab).recover()
    lab.work()
    return run


def _archived(lab: Lab) -> Run[Any]:
    run = _recovered(lab)
    lab.clock.advance(timedelta(hours=3))
    collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.get(run.action).archived
    return run


STATES: tuple[Callable[[Lab], Run[Any]], ...] = (
    *(_waits, _rests, _cached, _failed, _redacted, _asks, _answered, _aborted, _recovered, _archived),
)


def closed(schema: Any) -> Any:
    """Return a schema in which an object has no fields beside those it names."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(one) for name, one in schema.items()}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made and "type" in made:
        made["additionalProperties"] = False
    return made


CLOSED = closed(copy.deepcopy(OPENAPI))


def check(path: str, answer: Document) -> None:
    """Check an answer: it has what is documented as always there, and nothing that is not documented."""
    schema = CLOSED["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(
        msgspec.json.decode(msgspec.json.encode(answer)), {**schema, "components": CLOSED["components"]}
    )


@pytest.mark.parametrize("made", STATES, ids=lambda made: made.__name__.strip("_"))
def test_what_is_sent_is_documented(lab: Lab, made: Callable[[Lab], Run[Any]]) -> None:
    """A page of an action, of its run, and lists in which it stands."""
    run = made(lab)
    one, whole = "/actions/{project}/{domain}/{run}/{action}", "/runs/{project}/{domain}/{run}"
    actions: list[ActionId] = [record.id for record in lab.client.actions(run.id)]
    for action in actions:
        for read_only in (True, False):
            check(one, link_tasks(detail.action_page(lab.client, action, read_only=read_only), None))
        check(f"{one}/log", detail.log_document(lab.client, action, 0))
    check(whole, detail.run_document(lab.client, run.id, read_only=False))
    check(f"{whole}/actions", detail.rows_document(lab.client, run.id, ""))
    check("/runs", search.search_runs(lab.client, read_wanted({})))
    check("/phases", search.phases_document(lab.client, read_wanted({})))
    check("/waiting", overview.waiting_document(lab.client, read_only=False))
    if lab.client.get(run.action).spec.inputs:
        check(f"{one}/editable", detail.editable_document(lab.client, run.action))


def test_each_documented_field_of_an_action_is_sent(lab: Lab) -> None:
    """And none is left in the document that no page has any more."""
    page = link_tasks(detail.action_page(lab.client, _failed(lab).action, read_only=False), None)
    documented = OPENAPI["components"]["schemas"]["ActionPage"]
    assert set(page) == set(documented["properties"]) == set(documented["required"])
    assert set(page["events_told"][0]) == set(documented["properties"]["events_told"]["items"]["properties"])
    assert set(page["attempts_told"][0]) == set(
        documented["properties"]["attempts_told"]["items"]["properties"]
    )
