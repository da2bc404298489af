"""A run whose submitter was killed half way: what is told of it is so, and the call that is named goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, InvalidSpec, SourceUnusable
from reconciler.api.phase import ActionPhase
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.cli.describe import why_document
from reconciler.client import Run, storing
from reconciler.client.describing import describe
from reconciler.core.documents import Document
from reconciler.core.half_stored import half_stored
from reconciler.core.why import Reason, Surroundings
from reconciler.core.why import why as why_of
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from worker.dashboard.detail import action_page

pytestmark = pytest.mark.rule("R42")
env = TaskEnvironment("halves")
broken: set[int] = set()
MEMBERS = 10
NEW = RunId("default", "development", "new")
ROOT = NEW.action("a0")


class Died(BaseException):
    """The process is gone."""


@env.task()
def square(n: int) -> int:
    """Square a number, but none that is broken."""
    if n in broken:
        raise ValueError(n)
    return n * n


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The engine in memory; submitters store two actions at a time."""
    broken.clear()
    monkeypatch.setattr(storing, "_AT_ONCE", 2)
    made = Lab()
    env.client = made.client
    yield made
    env.client = None


def source(lab: Lab) -> Run[Any]:
    """Return a run of which four members failed: a recover stores six that are taken over, its root, and these."""
    broken.update(range(0, MEMBERS, 3))
    run = square.map(range(MEMBERS), run="source")
    lab.work()
    broken.clear()
    return run


def killed(lab: Lab, call: Any, parts: int) -> None:
    """Do what stores a run in a process that dies after so many parts."""
    create, left = lab.store.create, parts

    def dying(*args: Any, **given: Any) -> Any:  # as any verb
        nonlocal left
        left -= 1
        if left < 0:
            raise Died
        return create(*args, **given)

    with pytest.MonkeyPatch.context() as patch, suppress(Died):
        patch.setattr(lab.store, "create", dying)
        call()


def told(lab: Lab, action: str = "a0") -> Document:
    """What `describe` says of an action; the API and the page say the same."""
    [first, *_] = describe(lab.client, NEW.action(action))
    page = action_page(lab.client, NEW.action(action), read_only=True)
    assert page["why"][0] == why_document(first)
    return why_document(first)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_before_its_root_is_stored(lab: Lab, parts: int) -> None:
    """Neither "never accepted" nor "forgotten": it says how much is there, and what stores the rest. That does."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), parts)
    says = rf"is stored yet: .*part: {2 * parts} actions are, .*`reconciler recover {run.id} --name new` stores it"
    for ask in (
        lambda: describe(lab.client, ROOT),
        lambda: lab.client.get(ROOT),
        lambda: action_page(lab.client, ROOT, read_only=True),
        lambda: lab.client.abort(ROOT),
    ):
        with pytest.raises(ActionNotFound, match=says):
            ask()
    assert told(lab, "m1")["phase"] == "recovered"
    for make in (lab.client.recover, lab.client.rerun):
        with pytest.raises(SourceUnusable, match=r"is stored in part: .*--name new"):
            make(NEW)
    again = lab.client.recover(run.id, name="new")
    lab.work()
    assert again.result() == [n * n for n in range(MEMBERS)]


def test_while_members_are_missing(lab: Lab) -> None:
    """It counts them, says when it fails and what stores the rest; that does, and nothing fails."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), 4)
    lab.settle(limit=timedelta(0))
    why = told(lab)
    assert why["reason"] == Reason.SUBMITTER
    assert "7 of 10 members are stored" in why["why"]
    assert "it fails at " in why["why"]
    assert f"`reconciler recover {run.id} --name new` stores the rest" in why["why"]
    missing = [f"m{n}" for n in range(MEMBERS) if lab.store.get(NEW.action(f"m{n}")) is None]
    assert len(missing) == 3
    with pytest.raises(ActionNotFound, match="is stored yet"):
        lab.client.get(NEW.action(missing[0]))
    again = lab.client.recover(run.id, name="new")
    lab.work()
    assert again.result() == [n * n for n in range(MEMBERS)]


def test_a_group_that_its_function_goes_on_with(lab: Lab) -> None:
    """It names no time and no call: the function is called again, and stores the rest."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), 4)
    record = lab.get(ROOT)
    config = msgspec.json.encode({"expected": MEMBERS, "called_again": True})
    record.spec = msgspec.structs.replace(record.spec, inputs=config)
    why = why_of(record, Surroundings(now=lab.clock()))
    assert why is not None
    assert (why.reason, why.until) == (Reason.SUBMITTER, 0)
    assert why.text.endswith("the function above it stores the rest, and is called again for it")


@pytest.mark.parametrize("inputs", [b"{", b'{"expected":"many"}'])
def test_of_a_group_that_cannot_be_read_nothing_is_missing(lab: Lab, inputs: bytes) -> None:
    """Its plugin says what is wrong with it."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), 4)
    record = lab.get(ROOT)
    assert half_stored(record) is not None
    record.spec = msgspec.structs.replace(record.spec, inputs=inputs)
    assert half_stored(record) is None


@pytest.mark.parametrize(
    ("verb", "anew"),
    [
        ("rerun", "`reconciler rerun {}` under another name"),
        ("recover", "`reconciler recover {}` under another name"),
        ("fork", "`reconciler fork {}` with the same options under another name"),
        ("submit", "the same submission under another run name or idempotency key"),
    ],
)
def test_when_it_is_too_late_for_the_rest(lab: Lab, verb: str, anew: str) -> None:
    """The group has failed: the same call says that another name is needed, and by what command; so does who recovers it."""
    run = source(lab)
    calls: dict[str, Any] = {
        "rerun": lambda: run.rerun(name="new"),
        "recover": lambda: run.recover(name="new"),
        "fork": lambda: run.fork(again=["m1"], name="new"),
        "submit": lambda: square.map(range(MEMBERS), run="new"),
    }
    killed(lab, calls[verb], 4 if verb != "submit" else 2)
    lab.clock.advance(timedelta(minutes=3))
    lab.work()
    assert lab.get(ROOT).status.error_state is not None
    anew = anew.format(run.id)
    with pytest.raises(InvalidSpec) as refused:
        calls[verb]()
    assert "can be stored no more" in str(refused.value)
    for make in (lab.client.recover, lab.client.rerun):
        with pytest.raises(SourceUnusable) as unusable:
            make(NEW)
        assert anew in str(unusable.value)
    assert anew in str(refused.value)


@pytest.mark.rule("R91")
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_to_be_deleted(lab: Lab, *, whole: bool) -> None:
    """It is counted as stored, and stays until nobody can store the rest of it; then it goes, and is not archived."""
    run, history = source(lab), lab.client.history
    killed(lab, lambda: run.recover(name="new"), 2)
    lab.clock.advance(1)
    plan = history.plan_delete_project("default") if whole else history.plan_delete(NEW)
    assert (plan.archived, plan.stored, plan.alive) == (0, 1 + whole, 0)
    assert history.delete(plan).finished_at == 0
    assert lab.store.counts(NEW) is not None
    for _ in range(3):
        lab.clock.advance(timedelta(hours=1))
        collect(lab.store, lab.settings, lab.blobs)
    assert lab.store.counts(NEW) is None
    assert [row.run for row in history.find(Question(project="default", since=FIRST, until=LAST)).rows] == (
        [] if whole else ["source"]
    )
    [trace] = history.deleted()
    assert trace.finished_at


def test_a_fork_and_a_submission_name_their_own_call(lab: Lab) -> None:
    """A fork needs its options again; a submission has no source."""
    run = source(lab)
    killed(lab, lambda: run.fork(again=["m1"], name="new"), 4)
    lab.settle(limit=timedelta(0))
    assert f"`reconciler fork {run.id} --name new` and the same options stores the rest" in told(lab)["why"]
    lab.client.abort(ROOT)
    lab.work()
    killed(lab, lambda: square.map(range(MEMBERS), run="plain"), 2)
    [first, *_] = describe(lab.client, RunId("default", "development", "plain").action("a0"))
    assert first.why is not None
    assert (
        "the same submission, under the same run name or idempotency key, stores the rest" in first.why.text
    )


def test_after_it_failed(lab: Lab) -> None:
    """What was never stored cannot be run again: who tries is told which run to take, and that one still works."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), 4)
    lab.clock.advance(timedelta(minutes=3))
    lab.work()
    error = lab.client.get(ROOT).status.error_state
    assert error is not None
    assert error.code == "IncompleteSubmission"
    assert told(lab)["why"] is None
    for make in (lab.client.recover, lab.client.rerun):
        with pytest.raises(
            SourceUnusable,
            match=rf"3 of the 10 members of .*were never stored.*by `reconciler recover {run.id}` under another",
        ):
            make(NEW)
    again = lab.client.recover(run.id)
    lab.work()
    assert again.result() == [n * n for n in range(MEMBERS)]


def test_when_nobody_goes_on(lab: Lab) -> None:
    """It is archived as what it is: no phase of a root nobody stored; it can be deleted, and its name be used again."""
    run = source(lab)
    killed(lab, lambda: run.recover(name="new"), 2)
    assert lab.client.history.plan_delete(NEW).stored == 1
    for _ in range(3):
        lab.clock.advance(timedelta(hours=1))
        collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []
    question = Question(project="default", since=FIRST, until=LAST, name="new")
    assert [(row.phase, row.actions) for row in lab.client.history.find(question).rows] == [("", 4)]
    with pytest.raises(
        ActionNotFound, match=r"only 4 actions were ever stored of the run .*--name new` makes it anew"
    ):
        lab.client.get(ROOT)
    with pytest.raises(SourceUnusable, match="only 4 actions"):
        lab.client.recover(NEW)
    again = lab.client.recover(run.id, name="new")
    lab.work()
    assert again.result() == [n * n for n in range(MEMBERS)]
    assert lab.client.get(ROOT).phase is ActionPhase.SUCCEEDED
    lab.client.history.delete(lab.client.history.plan_delete(NEW, incarnation=_archived(lab)))
    assert lab.client.history.find(question).rows == []


def _archived(lab: Lab) -> str:
    question = Question(project="default", since=FIRST, until=LAST, name="new")
    [row] = lab.client.history.find(question).rows
    return row.incarnation
