"""Ten thousands of calls wait, and workers are killed: who is next begins at once all the same."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import order_functions
import pytest
from harm_support import percentile, until

from reconciler.api.action import RunId
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.rule("R81")]
WORKERS = 4
KILLS = 10
CALLS = 40
_numbers = itertools.count()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four attempts workers of one slot."""
    here = Path(__file__).parent
    with (
        Stack(
            tmp_path_factory.mktemp("order"),
            imports=["order_functions"],
            attempts=WORKERS,
            attempts_concurrency=1,
            cwd=here,
        ) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.servers.env().items():
            patch.setenv(name, value)
        client = Client.from_settings(Settings.from_env(running.env()))
        patch.setattr(order_functions.env, "client", client)
        yield running


def crowd(count: int) -> Run[list[int]]:
    """So many calls, which stand in line."""
    run = order_functions.short.map(range(count))
    until(lambda: in_line() > count * 0.7, 120, what="the line")
    return run


def in_line() -> int:
    """Count how many launches wait."""
    return sum(order_functions.env.client.store.launches_waiting().values())


def in_shard_of(run: RunId) -> str:
    """Return a name for a run that lies in the shard of another one."""
    store = order_functions.env.client.store
    names = (f"{run.run[:20]}-{next(_numbers)}" for _ in itertools.count())
    wanted = store.shard_of(run)
    return next(name for name in names if store.shard_of(msgspec.structs.replace(run, run=name)) == wanted)


def delays(one: Callable[[], Run[float]], ends: Callable[[], bool]) -> list[float]:
    """Return seconds from the submission to the begin of calls, one after the other."""
    found = []
    while not ends():
        submitted = time.time()
        found.append(one().result(timeout=60) - submitted)
    return found


def small() -> Run[float]:
    """Return a call of another customer."""
    return order_functions.began.delay(customer="small")


def shown(what: str, found: list[float]) -> None:
    """Print how long they waited."""
    print(
        f"{what}: {len(found)} calls began after {1000 * percentile(found, 0.5):.0f} ms (median), "
        f"{1000 * percentile(found, 0.9):.0f} ms (p90), {1000 * max(found):.0f} ms (longest)"
    )


@pytest.mark.usefixtures("stack")
def test_the_highest_priority_of_ten_thousand_is_next() -> None:
    """Each begins within 0.5 s, while some slot becomes free every few milliseconds."""
    run = crowd(10_000)
    count = itertools.count()
    found = delays(lambda: order_functions.began.submit(priority=9), lambda: next(count) == CALLS)
    waiting = in_line()
    run.abort("measured")
    shown(f"priority 9, {waiting} still in line", found)
    assert waiting > 1000
    assert percentile(found, 0.9) < 0.5


@pytest.mark.usefixtures("stack")
def test_one_call_in_the_shard_of_fifty_thousand_that_are_decided() -> None:
    """A call does not wait for the steps of those that came before it in its shard, while these are taken by and by."""
    count = 50_000
    run = order_functions.short.map(range(count))

    def one() -> Run[float]:
        return order_functions.began.submit(kwargs={"customer": "small"}, run=in_shard_of(run.id))

    before = in_line()
    found = delays(one, lambda: in_line() > count * 0.9)
    run.abort("measured")
    shown(f"in the shard of 50,000, of which {before} had been decided", found)
    assert before < count * 0.8
    assert percentile(found, 0.9) < 1.0


def test_one_call_beside_fifty_thousand_while_workers_die(stack: Stack) -> None:
    """Another customer's one call begins within 1 s, though every worker is killed again and again."""
    run = crowd(50_000)
    over = threading.Event()
    calm = itertools.count()
    shown("beside 50,000", delays(small, lambda: next(calm) == CALLS))

    def kill() -> None:
        try:
            for number in range(KILLS):
                name = f"attempts-{number % WORKERS + 1}"
                stack.processes[name].kill()
                stack.start_workers()
        finally:
            over.set()

    killing = threading.Thread(target=kill)
    killing.start()
    found = delays(small, over.is_set)
    killing.join()
    waiting = in_line()
    run.abort("measured")
    shown(f"{KILLS} workers killed, {waiting} still in line", found)
    assert waiting > 1000
    assert percentile(found, 0.9) < 1.0
