"""Waits that can never end are refused, and the circle is named."""

from __future__ import annotations

import pytest

from reconciler import TaskEnvironment, sleep
from reconciler.api.attempt import SUSPENDED, AttemptOutcome
from reconciler.api.errors import ActionFailed, EndlessWait, ResultTimeout
from reconciler.stores.base import Finished
from reconciler.testing import Lab

env = TaskEnvironment("endless")


@env.task()
def waits_for(run: str) -> int:
    """Wait for a run by its name."""
    return int(env.client.run(run).result())


@env.task()
async def awaits(run: str) -> int:
    """Wait for a run by its name, in an event loop."""
    return int(await env.client.run(run))


@env.task()
def starts(run: str, how: str) -> int:
    """Start a child that waits for its parent."""
    return (waits_for if how == "plain" else awaits).delay(run).result()


@env.task()
def maps(run: str) -> int:
    """Start a member of a group that waits for its group's parent."""
    return waits_for.map([run]).result()[0]


@env.task()
def gives_up() -> str:
    """Wait for itself, for a while."""
    try:
        env.client.run("lab").result(timeout=0.01)
    except ResultTimeout:
        return "gave up"
    return ""


@env.task()
def ping(turns: int) -> str:
    """Wait for a run of its own that waits for this one."""
    if turns:
        sleep(turns)
    try:
        return pong.submit((turns,), run="pong", detached=True).result()
    except EndlessWait as error:
        return str(error)


@env.task()
def pong(turns: int) -> str:
    """Wait for the run that has started this one."""
    try:
        return ping.submit((turns,), run="ping", detached=True).result()
    except EndlessWait as error:
        return str(error)


@env.task()
def own() -> str:
    """Find itself under the name of a run of its own, and wait."""
    return own.submit((), run="own", detached=True).result()


@env.task()
def root() -> str:
    """Have a child wait for a run that waits for this one."""
    return middle.delay().result()


@env.task()
def middle() -> str:
    """Wait for a run of its own."""
    return far.submit((), run="far", detached=True).result()


@env.task()
def far() -> str:
    """Wait for the root of another run."""
    return root.submit((), run="root", detached=True).result()


@pytest.fixture
def lab() -> Lab:
    """An installation whose tasks are those above."""
    lab = Lab()
    env.client = lab.client
    return lab


@pytest.mark.rule("R88")
@pytest.mark.parametrize("how", ["plain", "in a loop"])
def test_nobody_waits_for_an_action_above_it(lab: Lab, how: str) -> None:
    """By a handle of the client, in plain code and in an event loop: the child fails, and says who waits for whom."""
    run = starts.submit(("tree", how), run="tree")
    lab.work()
    with pytest.raises(ActionFailed, match="never end") as caught:
        run.result()
    assert f"would wait for {run.action}, which waits for " in str(caught.value)


@pytest.mark.rule("R88")
def test_nor_does_a_member_of_a_group(lab: Lab) -> None:
    """The group is between the two."""
    run = maps.submit(("tree",), run="tree")
    lab.work()
    with pytest.raises(ActionFailed, match="never end"):
        run.result()


def test_who_gives_up_after_a_time_may_wait(lab: Lab) -> None:
    """Such a wait ends."""
    run = gives_up.submit((), run="lab")
    lab.work()
    assert run.result() == "gave up"


@pytest.mark.rule("R88")
@pytest.mark.parametrize("turns", [0, 5])
def test_two_runs_that_wait_for_each_other_are_told_so(lab: Lab, turns: int) -> None:
    """Whichever of them notices: the other gets its answer."""
    run = ping.submit((turns,), run="ping")
    lab.work()
    assert "never end" in run.result()
    assert run.result() == lab.client.run("pong", pong).result()


@pytest.mark.rule("R88")
def test_a_task_does_not_wait_for_itself(lab: Lab) -> None:
    """Found under the name of a run, it is the same action."""
    run = own.submit((), run="own")
    lab.work()
    with pytest.raises(ActionFailed, match="never end"):
        run.result()


@pytest.mark.rule("R88")
def test_a_circle_over_children_and_runs_is_seen(lab: Lab) -> None:
    """A root waits for its child, which waits for another run, which waits for the root."""
    run = root.submit((), run="root")
    lab.work()
    with pytest.raises(ActionFailed, match="never end"):
        run.result()


@pytest.mark.rule("R88")
def test_two_that_began_to_wait_at_once_are_told_so(lab: Lab) -> None:
    """Neither was known to wait when the other one began to: one of them is called again, and breaks the circle."""
    runs = [ping.submit((0,), run="ping"), pong.submit((0,), run="pong")]
    lab.step()
    for run, other in zip(runs, reversed(runs), strict=True):
        turn = lab.store.turn(run.action)
        shard = lab.store.shard_of(run.id)
        (drawn,) = lab.store.draw(shard, turn.line, owner="w", limit=1, lease=30_000).actions
        waits = AttemptOutcome(ended=SUSPENDED, waits=(str(other.action),), waits_for=1)
        lab.store.finish_attempts(shard, "w", [Finished(drawn.id, drawn.attempt.launch, waits)])
    lab.work()
    assert "never end" in runs[0].result()
    assert runs[0].result() == runs[1].result()
