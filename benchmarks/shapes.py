"""The shapes: how many leaves the join held is the answer, a wrong number is an error."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.client import Client
from reconciler.plugins.sleep import TASK_TYPE

_TIMEOUT = 600
LEAF = ActionSpec(
    task_type=TASK_TYPE,
    task_template=encode_template(
        TaskTemplate(type=TASK_TYPE, interface=Interface(inputs={"duration": "duration"}))
    ),
    inputs=b'{"duration":0}',
)
"""A sleep of 0 s: all of the backend, no user code."""


def fanout(client: Client, n: int) -> int:
    """One run of n leaves and a join."""
    run = client.submit_many([LEAF] * n)
    run.wait(_TIMEOUT)
    return run.counts.phases.get(ActionPhase.SUCCEEDED, 0) - 1


def chain(client: Client, n: int) -> int:
    """So many actions, each submitted when the one before has ended."""
    done = 0
    for _ in range(n):
        record = client.submit(LEAF).wait(_TIMEOUT)
        done += record.phase is ActionPhase.SUCCEEDED
    return done


def calls(client: Client, n: int) -> int:
    """So many no-op Python functions, each called when the result of the one before has been read."""
    from benchmarks import tasks  # noqa: PLC0415  # declares functions: only for the shapes that need them

    tasks.env.client = client
    return sum(tasks.one.delay(index).result(_TIMEOUT) for index in range(n))


def functions(client: Client, n: int) -> int:
    """One run of n no-op Python functions in the attempts worker, results read."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return sum(tasks.one.map(range(n)).result(_TIMEOUT))


def sleeping(client: Client, n: int) -> int:
    """One run of n functions that sleep for 20 ms each, results read."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return sum(tasks.sleeping.map(range(n)).result(_TIMEOUT))


def tree(client: Client, n: int) -> int:
    """One `async` parent in the attempts worker that starts n leaves and joins them."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return tasks.tree.delay(n).result(_TIMEOUT)


def window(client: Client, n: int) -> int:
    """Do the same with a map of n leaves, of which 1,000 are open at a time."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return tasks.tree.delay(n, concurrency=1000).result(_TIMEOUT)


def in_turn(client: Client, n: int) -> int:
    """One parent that awaits n functions, one after the other."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return tasks.in_turn.delay(n).result(_TIMEOUT)


def naps(client: Client, n: int) -> int:
    """One parent that awaits n sleeps of 0 s, one after the other."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return tasks.naps.delay(n).result(_TIMEOUT)


def levels(client: Client, n: int) -> int:
    """So many levels of parents, each of which waits for the next one."""
    from benchmarks import tasks  # noqa: PLC0415  # as above

    tasks.env.client = client
    return tasks.level.delay(n).result(_TIMEOUT)


SHAPES: dict[str, Callable[[Client, int], int]] = {
    "fanout": fanout,
    "calls": calls,
    "chain": chain,
    "functions": functions,
    "in_turn": in_turn,
    "levels": levels,
    "naps": naps,
    "sleeping": sleeping,
    "tree": tree,
    "window": window,
}
