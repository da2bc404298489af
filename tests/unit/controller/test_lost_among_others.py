"""A worker is lost that had drawn several launches: one at most was running, so none of them pays for it (R27)."""

from __future__ import annotations

import pytest

from reconciler.api.action import TaskAction
from reconciler.environment import TaskEnvironment
from reconciler.testing import Lab

LEASE = 6_000


def noop(number: int) -> int:
    """Return what it is given."""
    return number


def drawn(lab: Lab, limit: int) -> list[TaskAction]:
    """Return launches a worker draws from the only line there is."""
    pick = lab.store.pick("attempts")
    return lab.store.draw(pick.shard, pick.line, owner="lost", limit=limit, lease=LEASE).actions


@pytest.mark.rule("R27")
@pytest.mark.parametrize(("limit", "together", "failures"), [(3, 3, 0), (1, 0, 1)])
def test_only_who_was_drawn_alone_pays(limit: int, together: int, failures: int) -> None:
    """Drawn with others, a lost launch is launched again without a failure; drawn alone, it counts one."""
    lab = Lab()
    env = TaskEnvironment("lost", client=lab.client)
    env.task(noop).map(range(12))
    lab.step()
    lost = drawn(lab, limit)
    assert [one.attempt.drawn_with for one in lost] == [together] * limit
    lab.clock.advance(LEASE + 1_000)
    lab.step()
    lab.step()
    after = [lab.get(one.id) for one in lost]
    assert [one.status.system_failures for one in after] == [failures] * limit
    assert [one.status.total_system_failures for one in after] == [failures] * limit
    assert {one.attempt.launch for one in after} == {"1-1"}
    lab.work()
    ended = [lab.get(one.id) for one in lost]
    assert [str(one.phase) for one in ended] == ["succeeded"] * limit
