"""Why an action waits: each reason is made to happen in a lab, and its sentence is read."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler import Cache, RetryStrategy, Task, TaskEnvironment, ask, sleep
from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, TaskAction
from reconciler.api.hand_back import LACKS
from reconciler.api.phase import ActionPhase
from reconciler.api.resource import QuotaLease
from reconciler.api.start_over import StartOver
from reconciler.api.status import ActionStatus
from reconciler.api.template import Interface
from reconciler.api.transition import running
from reconciler.client.describing import describe, why_waiting
from reconciler.core.line import Line
from reconciler.core.why import Reason, Surroundings, Why, why
from reconciler.core.why import told as last_word
from reconciler.stores.memory.catalog import MemoryCatalog
from reconciler.testing import Lab, ScriptedPlugin

env = TaskEnvironment("whys")
MINUTE = 60_000


@env.task
def plain(n: int = 0) -> int:
    """Return what was given."""
    return n


@env.task(resources="gpu")
def train(n: int = 0) -> int:
    """Need a unit."""
    return n


@env.task(cache=Cache(version="1", serialize=True))
def once(n: int = 0) -> int:
    """Run once for equal calls."""
    return n


@env.task(retries=RetryStrategy(retries=2, backoff=timedelta(minutes=1)))
def fails() -> int:
    """Fail."""
    raise ValueError("no stock")


@env.task
def naps() -> None:
    """Sleep for ten minutes."""
    sleep(600)


@env.task
async def gathers() -> None:
    """Wait for one that sleeps, and for one that asks."""
    await asyncio.gather(naps.delay(), asks.delay())


@env.task
def asks() -> bool:
    """Ask a person."""
    return ask("ship", prompt="Ship?")


@env.task
async def hurries() -> str:
    """Wait for a child that sleeps for ten minutes, or for two minutes."""
    child, limit = asyncio.ensure_future(naps.delay()), asyncio.ensure_future(sleep(120))
    await asyncio.wait([child, limit], return_when=asyncio.FIRST_COMPLETED)
    return "enough"


@env.task
async def visits(timed: bool) -> str:  # noqa: FBT001  # an argument of an action
    """Wait for a run of its own that sleeps for ten minutes, or for two minutes."""
    waits = [
        asyncio.ensure_future(naps.submit((), detached=True)),
        *([asyncio.ensure_future(sleep(120))] if timed else []),
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    return "enough"


@env.task(suspend=False)
def keeps() -> int:
    """Keep its worker while it waits."""
    return plain.delay().result()


@pytest.fixture
def lab() -> Lab:
    """An installation with one gpu and a cache, whose one worker knows all functions."""
    lab = Lab(catalog=MemoryCatalog(), quotas=("gpu=1",))
    env.client = lab.client
    tell(
        lab, "whys.plain", "whys.train", "whys.once", "whys.fails", "whys.naps", "whys.hurries", "whys.visits"
    )
    return lab


def tell(lab: Lab, *functions: str, worker: str = "w", life: int = 10**9) -> None:
    """Say what a worker knows."""
    lab.store.tell_functions(worker, "attempts", dict.fromkeys(functions, "1"), life)


def told(lab: Lab, action: ActionId) -> Why:
    """Why an action waits."""
    found = why_waiting(lab.client, lab.get(action))
    assert found is not None
    return found


def draw(lab: Lab, action: ActionId) -> None:
    """Take the launch of an action, as a worker does."""
    turn = lab.store.turn(action)
    lab.store.draw(lab.store.shard_of(action.run_id), turn.line, owner="w@host", limit=1, lease=30_000)


def test_a_new_action_waits_for_a_step(lab: Lab) -> None:
    """Nobody has looked; after a while that is a fault of the installation, with a remedy."""
    run = plain.delay()
    found = told(lab, run.action)
    assert (found.reason, found.text) == (Reason.STEP, "is new, and the next step looks at it")
    lab.clock.advance(timedelta(minutes=1))
    assert told(lab, run.action).text.startswith(
        "is due since 1m, and no step has looked at it: `reconciler doctor`"
    )


def test_a_planned_one_says_when_it_begins(lab: Lab) -> None:
    """Also after a step has seen it."""
    run = plain.submit((1,), countdown=60)
    lab.step()
    found = told(lab, run.action)
    assert (found.reason, found.until) == (Reason.PLANNED, lab.clock() + MINUTE)
    assert found.text.endswith("(in 1m)")


def test_a_launch_says_its_place_in_line(lab: Lab) -> None:
    """How many stand before it, how many wait, and how many workers there are."""
    run = plain.map([1, 2, 3])
    lab.step()
    found = [told(lab, run.id.action(f"m{n}")) for n in range(3)]
    assert {one.reason for one in found} == {Reason.LINE}
    assert (
        'queue "attempts": none before it in its own line (priority 5, fair key default, whys.plain, runs of its shard), '
        "3 wait in all lines of the queue, which take turns, higher priorities first; 1 worker"
        in found[0].text
    )
    assert "2 before it" in found[2].text
    assert found[2].text.endswith("; 1 worker consumes it; a worker takes one when a slot is free")


def test_it_says_that_no_worker_lives(lab: Lab) -> None:
    """With what to do."""
    tell(lab, life=0)
    run = plain.delay()
    lab.step()
    found = told(lab, run.action)
    assert found.reason is Reason.NO_WORKER
    assert 'no living worker consumes queue "attempts": start one' in found.text


def test_it_says_that_no_worker_knows_the_function(lab: Lab) -> None:
    """However many live."""
    tell(lab, "other.function")
    run = plain.delay()
    lab.step()
    found = told(lab, run.action)
    assert found.reason is Reason.UNKNOWN_FUNCTION
    assert 'the one living worker of queue "attempts" does not know the function' in found.text
    assert "RECONCILER_IMPORTS" in found.text


def test_it_says_that_a_worker_handed_it_back(lab: Lab) -> None:
    """Why, and when it is offered again."""
    run = plain.delay()
    lab.step()
    draw(lab, run.action)
    lab.store.decline_attempt(run.action, "1", owner="w@host", why="it has no room", delay=MINUTE)
    found = told(lab, run.action)
    assert (found.reason, found.until) == (Reason.HANDED_BACK, lab.clock() + MINUTE)
    assert "it has no room; it is offered again at 20" in found.text
    lab.clock.advance(2 * MINUTE)
    found = told(lab, run.action)
    assert found.text.endswith("; it is offered again at the next step")
    lab.step()
    assert "it is offered again at" not in told(lab, run.action).text


def test_it_says_that_no_worker_has_a_secret(lab: Lab) -> None:
    """As the table of remedies has it, and never that it is offered again in the past."""
    run = plain.delay()
    lab.step()
    for launched in range(4):
        draw(lab, run.action)
        lab.store.decline_attempt(
            run.action, "1", owner="w@host", why="no such variable", delay=MINUTE, lacks="TOKEN"
        )
        for _ in range(4):
            found = told(lab, run.action)
            assert found.text.startswith(
                'no worker has the secret "TOKEN" it needs (no such variable); it is offered again'
            )
            assert not found.until or found.until >= lab.clock() or found.text.endswith("at the next step"), (
                launched
            )
            if lab.get(run.action).attempt.in_line:
                break
            lab.clock.advance(timedelta(seconds=40))
            lab.step()


def test_it_says_that_its_queue_is_paused(lab: Lab) -> None:
    """With the command that lets it go on."""
    lab.client.pause_queue("attempts")
    run = plain.delay()
    lab.step()
    found = told(lab, run.action)
    assert found.reason is Reason.PAUSED_QUEUE
    assert "`reconciler queue resume attempts`" in found.text
    assert "no living worker" not in found.text
    tell(lab, life=0)
    assert told(lab, run.action).text.endswith("; and no living worker consumes it: start one")


def test_a_moved_launch_names_its_new_queue(lab: Lab) -> None:
    """Where it stands counts, not what its task says."""
    run = plain.delay()
    lab.step()
    lab.client.move_queue("attempts", "spare")
    assert 'no living worker consumes queue "spare"' in told(lab, run.action).text


def test_one_that_runs_says_where(lab: Lab) -> None:
    """And one whose worker fell silent says that."""
    run = plain.delay()
    lab.step()
    draw(lab, run.action)
    found = told(lab, run.action)
    assert (found.reason, found.other) == (Reason.RUNNING, "w@host")
    lab.clock.advance(timedelta(seconds=40))
    silent = told(lab, run.action)
    assert silent.reason is Reason.SILENT
    assert "its lease ran out 10s ago" in silent.text


def test_a_retry_says_until_when_it_rests(lab: Lab) -> None:
    """And why the attempt before failed."""
    run = fails.delay()
    lab.work(limit=timedelta(seconds=5))
    found = told(lab, run.action)
    assert found.reason is Reason.BACK_OFF
    assert found.until > lab.clock()
    assert "attempt 1 failed with [ValueError] no stock" in found.text


def test_a_quota_is_named(lab: Lab) -> None:
    """With how much it wants and since when."""
    first, second = train.delay(1), train.delay(2)
    lab.step()
    lab.clock.advance(timedelta(seconds=7))
    found = told(lab, second.action if lab.get(first.action).attempt.launch else first.action)
    assert found.reason is Reason.QUOTA
    assert 'waits for 1 unit of the resource "gpu" since' in found.text
    assert "(7s): " in found.text


def test_who_holds_a_quota_is_named_and_described(lab: Lab) -> None:
    """As far as who asks sees its project; the chain goes on with what the holder waits for."""
    first, second = train.delay(1), train.delay(2)
    lab.step()
    holds, waits = (first, second) if lab.get(first.action).attempt.launch else (second, first)
    found = told(lab, waits.action)
    assert found.text.endswith(f"; none before it in line, none behind it; held by {holds.action}")
    assert found.other == str(holds.action)
    chain = describe(lab.client, waits.action)
    assert [one.record.id for one in chain] == [waits.action, holds.action]
    hidden = describe(lab.client, waits.action, sees=lambda _: False)
    assert [one.record.id for one in hidden] == [waits.action]
    assert hidden[0].why is not None
    assert hidden[0].why.text.endswith("; held by 1 action of another project")


def test_the_place_in_line_for_a_quota_is_told(lab: Lab) -> None:
    """How many wait before it and behind it."""
    runs = [train.delay(number) for number in range(4)]
    lab.step()
    lines = [
        found.text.split("; ")[2]
        for run in runs
        if (found := why_waiting(lab.client, lab.get(run.action))) and found.reason is Reason.QUOTA
    ]
    assert sorted(lines) == [
        "1 before it in line, 1 behind it",
        "2 before it in line, none behind it",
        "none before it in line, 2 behind it",
    ]


@pytest.mark.parametrize(
    ("holders", "told"),
    [
        (("a",), "; held by a"),
        (("a", "b", "c"), "; held by a, b and c"),
        (("a", "b", "c", "d"), "; held by a, b, c and 1 other"),
        (("a", "", ""), "; held by a and 2 others"),
        (("", ""), "; held by 2 actions of other projects"),
        ((), ""),
    ],
)
def test_many_holders_are_counted(holders: tuple[str, ...], told: str) -> None:
    """A sentence names three; who is hidden is counted."""
    lease = QuotaLease("gpu", "t", 1, held=False)
    record = TaskAction(
        ActionId("p", "d", "r", "a0"), ActionSpec(task_type="f"), status=ActionStatus(quota_leases=(lease,))
    )
    found = why(record, Surroundings(now=1, holders=holders))
    assert found is not None
    assert found.text == f'waits for 1 unit of the resource "gpu"{told}'


def test_the_holder_of_a_reservation_is_named_and_described(lab: Lab) -> None:
    """The chain goes on with what the holder waits for."""
    first = once.delay(1)
    lab.step()
    second = once.delay(1)
    lab.step()
    found = told(lab, second.action)
    assert (found.reason, found.other) == (Reason.RESERVATION, str(first.action))
    assert f"waits for the result of {first.action}, which is queued" in found.text
    chain = describe(lab.client, second.action)
    assert [one.record.id for one in chain] == [second.action, first.action]
    assert chain[1].why is not None
    assert chain[1].why.reason is Reason.LINE


def test_a_group_counts_its_children(lab: Lab) -> None:
    """And the chain goes on with the first one that is open."""
    run = plain.map([1, 2, 3])
    lab.step()
    lab.client.abort(run.id.action("m0"))
    for _ in range(3):
        lab.step()
    found = told(lab, run.action)
    assert found.reason is Reason.CHILDREN
    assert found.text.startswith("waits for its children: 1 of 3 have ended, 1 of them failed")
    assert [one.record.id.action for one in describe(lab.client, run.action)] == ["a0", "m1"]


def test_children_and_a_time_are_both_told(lab: Lab) -> None:
    """A function that waits for whatever comes first says how many have ended, and when it goes on at the latest."""
    run = hurries.delay()
    lab.work(limit=timedelta(seconds=5))
    record, found = lab.get(run.action), told(lab, run.action)
    assert record.attempt.suspended
    assert found.reason is Reason.CHILDREN
    wanted = r"waits for its children: 0 of 1 have ended; it goes on at 20\S+Z \(in .+\) at the latest"
    assert re.fullmatch(wanted, found.text)
    assert found.until == record.attempt.outcome.until  # type: ignore[union-attr]  # it is suspended


@pytest.mark.parametrize("timed", [False, True])
def test_an_action_of_another_run_is_named(lab: Lab, timed: bool) -> None:  # noqa: FBT001  # pytest gives it by name
    """A function that waits for a run of its own says which, with the time at which it goes on at the latest."""
    run = visits.submit((timed,))
    lab.work(limit=timedelta(seconds=5))
    record, found = lab.get(run.action), told(lab, run.action)
    assert record.attempt.suspended
    latest = r"; it goes on at 20\S+Z \(in .+\) at the latest" if timed else ""
    assert re.fullmatch(rf"waits for the end of {found.other}, and keeps no worker{latest}", found.text)
    assert lab.get(ActionId.parse(found.other)).id.run != run.id.run
    assert [str(one.record.id) for one in describe(lab.client, run.action)] == [str(run.action), found.other]


def test_a_map_counts_what_it_has_not_started(lab: Lab) -> None:
    """Beside those that were."""
    run = plain.map(range(10), concurrency=4)
    for _ in range(3):
        lab.step()
    assert told(lab, run.action).text.startswith(
        "waits for its children: 0 of 4 have ended; 6 more are started as these end"
    )
    lab.client.abort(run.id.action("m0"))
    for _ in range(3):
        lab.step()
    assert "1 of them failed" in told(lab, run.action).text
    assert "more are started" not in told(lab, run.action).text


def test_a_condition_waits_for_a_person(lab: Lab) -> None:
    """It says what is asked, and until when."""
    run = lab.client.condition("ship", "int", prompt="How many?", timeout=3600)
    lab.step()
    found = told(lab, run.action)
    assert found.reason is Reason.PERSON
    assert found.text.startswith("waits for a person to answer with a whole number: How many?; until ")
    assert found.text.endswith("(in 1h)")


def test_an_abort_says_who_asked_and_what_holds_it_up(lab: Lab) -> None:
    """The worker is named that has to stop."""
    run = plain.delay()
    lab.step()
    draw(lab, run.action)
    lab.client.abort(run.action, "no need", "ada")
    found = told(lab, run.action)
    assert found.reason is Reason.ABORT
    assert "is being aborted by ada since" in found.text
    assert found.text.endswith(": no need; worker w@host is asked to stop")


def test_another_plugin_says_what_it_says(lab: Lab) -> None:
    """And when it is looked at again."""
    run = lab.submit(
        "core-sleep", inputs={"duration": 60}, interface=Interface(inputs={"duration": "duration"})
    )
    lab.step()
    found = told(lab, run)
    assert found.reason is Reason.PLUGIN
    assert "its plugin for core-sleep says it is running" in found.text


def test_a_function_that_sleeps_says_until_when(lab: Lab) -> None:
    """In plain words, and not as its plugin has it."""
    run = naps.delay()
    lab.work(limit=timedelta(seconds=5))
    record, found = lab.get(run.action), told(lab, run.action)
    assert record.attempt.suspended
    assert re.fullmatch(r"sleeps until 20\S+Z \(in .+\), and keeps no worker", found.text)
    assert found.until == record.attempt.outcome.until  # type: ignore[union-attr]  # it is suspended


def test_what_has_ended_waits_for_nothing(lab: Lab) -> None:
    """Whatever it waited for."""
    run = plain.delay()
    lab.work()
    assert lab.get(run.action).phase is ActionPhase.SUCCEEDED
    assert why_waiting(lab.client, lab.get(run.action)) is None
    assert [one.why for one in describe(lab.client, run.action)] == [None]


def test_a_question_far_below_is_found(lab: Lab) -> None:
    """Whoever looks at an action above it is led to it, although other children were started before."""
    run = gathers.delay()
    lab.work(limit=timedelta(seconds=5))
    chain = describe(lab.client, run.action)
    assert [one.why.reason for one in chain if one.why] == [Reason.CHILDREN, Reason.CHILDREN, Reason.PERSON]
    assert chain[-1].record.spec.action_type == "condition"
    lab.client.signal(chain[-1].record.id, value=True)
    lab.work(limit=timedelta(seconds=5))
    assert [one.record.spec.short_name for one in describe(lab.client, run.action)] == [
        "whys.gathers",
        "whys.naps",
    ]


@pytest.mark.parametrize("function", [keeps, plain])
def test_children_that_get_no_worker_because_parents_keep_them(lab: Lab, function: Task[[], int]) -> None:
    """Both sides say so: the parent that runs and waits, and the child that stands in line below it."""
    run = function.submit((), run="r")
    lab.step()
    turn, shard = lab.store.turn(run.action), lab.store.shard_of(run.id)
    lab.store.draw(shard, turn.line, owner="w", limit=1, lease=MINUTE)
    spec = plain.spec((), {}, run="r")
    child = lab.client.submit(
        msgspec.structs.replace(spec, action_name="c", parent_action_name=run.action.action)
    )
    lab.step()
    above, below = describe(lab.client, run.action)
    assert below.record.id == child.action
    assert above.why is not None
    assert below.why is not None
    assert "1 of its 1 children have not ended" in above.why.text
    assert ("it keeps its worker while it waits for them" in above.why.text) is (function is keeps)
    assert ("a0, which waits for it, keeps a worker meanwhile" in below.why.text) is (function is keeps)


def around(**given: Any) -> Surroundings:
    """What is read beside a record, at 100 s."""
    return Surroundings(now=100_000, **given)


def test_an_ended_action_waits_for_nothing(lab: Lab) -> None:
    """There is no sentence for it, and nothing that a step has written."""
    action = plain.delay().action
    lab.work()
    record = lab.get(action)
    assert record.phase is ActionPhase.SUCCEEDED
    assert (why(record, around()), last_word(record)) == (None, "")


def test_an_abort_waits_for_children(lab: Lab) -> None:
    """Where no worker is asked to stop, what is below has to end first."""
    run = plain.map([1, 2])
    lab.step()
    run.abort("enough")
    found = told(lab, run.action)
    assert found.reason is Reason.ABORT
    assert "2 children have to end first" in found.text
    lone = plain.delay()
    lone.abort("enough")
    assert told(lab, lone.action).text.endswith(": enough")


def test_an_outcome_that_no_step_has_seen_is_no_wait_for_a_worker(lab: Lab) -> None:
    """The launch has ended, so the next step is what is waited for, and its last word is told."""
    action = plain.delay().action
    lab.step()
    record = lab.get(action)
    record.attempt = msgspec.structs.replace(record.attempt, outcome=AttemptOutcome(ended="returned"))
    found = why(record, around())
    assert found is not None
    assert (found.reason, found.text) == (Reason.STEP, last_word(record))


def test_a_launch_in_no_line_and_a_plugin_looked_at_too_late_wait_for_a_step(lab: Lab) -> None:
    """Neither queue nor plugin is to blame then."""
    action = plain.delay().action
    lab.step()
    found = why(lab.get(action), around(queue=""))
    assert found is not None
    assert found.reason is Reason.STEP
    lab = Lab([ScriptedPlugin("slow", running(0))])
    slow = lab.submit("slow")
    lab.step()
    record = lab.get(slow)
    assert record.phase is ActionPhase.RUNNING
    late = why(record, around(due=10_000))
    assert late is not None
    assert "no step has looked at it" in late.text


@pytest.mark.parametrize("rest", [0, MINUTE])
def test_a_start_that_begins_at_once_gives_no_reason_to_wait(lab: Lab, rest: int) -> None:
    """Only one that follows several short ones does."""
    action = plain.delay().action
    lab.step()
    record = lab.get(action)
    over = StartOver(number=1, at=100_000, begins=100_000 + rest, fast=5)
    record.attempt = msgspec.structs.replace(
        record.attempt, outcome=AttemptOutcome(ended="started over", start_over=over)
    )
    found = why(record, around())
    assert found is not None
    assert (found.reason, found.until) == (Reason.STARTS_OVER, over.begins)
    assert ("because the last 5 starts" in found.text) is bool(rest)


def test_one_that_lacked_a_secret_stands_in_line_again(lab: Lab) -> None:
    """The step keeps the remedy, which no line has: a worker may have the secret by now, or may not."""
    action = plain.delay().action
    lab.step()
    record = lab.get(action)
    lacks = f'{LACKS}"TOKEN" it needs'
    [condition] = [each for each in record.status.conditions if each.message == last_word(record)]
    condition = msgspec.structs.replace(condition, message=lacks)
    record.status = msgspec.structs.replace(record.status, conditions=(condition,))
    found = why(
        record,
        around(queue="attempts", workers=1, line=Line("attempts", 5, alone=False, fair="", function="plain")),
    )
    assert found == Why(Reason.HANDED_BACK, f"{lacks}; it is offered again, and stands in line")


def test_several_workers_that_do_not_know_it_are_counted(lab: Lab) -> None:
    """One of them is told of in the singular, elsewhere."""
    action = plain.delay().action
    lab.step()
    found = why(lab.get(action), around(queue="attempts", workers=3, known=False, function="plain"))
    assert found is not None
    assert found.reason is Reason.UNKNOWN_FUNCTION
    assert found.text.startswith('none of the 3 living workers of queue "attempts" knows the function')
