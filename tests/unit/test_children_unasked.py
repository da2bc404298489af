"""What an earlier pass of a function has started and the last one never asked for: named on the record, ended with it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler import TaskEnvironment, sleep
from reconciler.api.errors import ActionFailed, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.stores.base import CreateReport
from reconciler.testing import Lab

env = TaskEnvironment("unasked")
passes: list[str] = []


@env.task()
def naps(hours: int) -> int:
    """Sleep."""
    sleep(3600 * hours)
    return hours


@env.task(retries=1)
def changes_its_mind(kind: str) -> int:
    """Ask in each pass for another child, as code does that decides by chance."""
    passes.append(kind)
    if len(passes) == 1:
        run = naps.delay(900)
        if kind == "fails once":
            run.action  # noqa: B018  # waits until it is stored
            raise ValueError("not yet")
        naps.delay(1).result()
    if kind == "raises":
        raise TypeError("no more")
    return naps.delay(1).result() if kind == "asks" else 0


@env.task()
def keeps_its_mind() -> int:
    """Ask for the same in each pass."""
    runs = [naps.delay(hours) for hours in (900, 1, 2)]
    return runs[1].result() + runs[2].result()


@env.task(retries=1)
def tries_again() -> int:
    """Ask in the second attempt for what has failed in the first."""
    return fails_once.delay().result()


@env.task()
def fails_once() -> int:
    """Raise the first time."""
    passes.append("fails")
    if len(passes) == 1:
        raise ValueError("not yet")
    return 1


@env.task()
def asks_for_another() -> int:
    """Ask in the second pass for another one than in the first, and for the same."""
    passes.append("another")
    naps.delay(900 if len(passes) == 1 else 2)
    return naps.delay(1).result()


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    passes.clear()
    return lab


@pytest.mark.rule("R86")
@pytest.mark.parametrize("kind", ["asks", "asks for nothing", "fails once"])
def test_what_was_never_asked_for_again_is_named_and_ends(lab: Lab, kind: str) -> None:
    """Also when the last pass asks for nothing at all, and when it is one of another attempt."""
    run = changes_its_mind.delay(kind)
    lab.work()
    assert run.result() == (1 if kind == "asks" else 0)
    record, children = lab.get(run.action), list(lab.client.actions(run.id, parent="a0"))
    left = {child.id.action for child in children if child.phase is ActionPhase.ABORTED}
    assert len(left) == 1
    assert left <= set(record.status.unasked)
    assert len(record.status.unasked) == len(children) - (kind == "asks")


@pytest.mark.rule("R86")
def test_a_last_pass_that_raises_names_them_too(lab: Lab) -> None:
    """Whatever its end is."""
    run = changes_its_mind.delay("raises")
    lab.work()
    with pytest.raises(ActionFailed, match="no more"):
        run.result()
    assert len(lab.get(run.action).status.unasked) == 2


@pytest.mark.rule("R86")
def test_what_is_asked_for_and_not_awaited_is_not_named(lab: Lab) -> None:
    """It ends with its parent, which has asked for it."""
    run = keeps_its_mind.delay()
    lab.work()
    assert run.result() == 3
    assert lab.get(run.action).status.unasked == ()
    phases = [child.phase for child in lab.client.actions(run.id, parent="a0")]
    assert sorted(phases) == [ActionPhase.SUCCEEDED, ActionPhase.SUCCEEDED, ActionPhase.ABORTED]


@pytest.mark.rule("R86")
def test_another_attempt_of_a_child_is_not_named(lab: Lab) -> None:
    """What has failed in an earlier attempt is asked for under a name of the new one."""
    run = tries_again.delay()
    lab.work()
    assert run.result() == 1
    assert len(list(lab.client.actions(run.id, parent="a0"))) == 2
    assert lab.get(run.action).status.unasked == ()


@pytest.mark.rule("R86")
def test_a_creation_that_was_sent_twice_hides_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has made what the last pass asked for anew, and its answer was lost: it is there when it is sent again."""
    create, lost = lab.store.create, []

    def loses_one_answer(*args: Any, **options: Any) -> CreateReport:
        report = create(*args, **options)
        if len(passes) == 2 and not lost:
            lost.append(report)
            raise StoreUnavailable("the answer was lost")
        return report

    monkeypatch.setattr(lab.store, "create", loses_one_answer)
    run = asks_for_another.delay()
    lab.work()
    assert run.result() == 1
    assert lost
    assert len(lab.get(run.action).status.unasked) == 1
