"""Functions for the tests of Flower's pages: they end in every way a page has to show."""

from __future__ import annotations

import select
import time
from datetime import timedelta
from typing import Literal

from reconciler import Cache, NonRetryableError, RetryStrategy, TaskEnvironment, ask, sleep

env = TaskEnvironment("orchard")
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7*7 }}\u202e\u200b\u001b[31m' + "W" * 300
"""What breaks pages and terminals that obey it."""


@env.task
def picks(n: int, pause: float = 0.0) -> int:
    """Take a moment."""
    print(f"picking {n}")
    select.select([], [], [], pause)
    return n * 10**18


@env.task
def naps(seconds: float) -> int:
    """Sleep without a worker."""
    sleep(seconds)
    return 1


@env.task
def plants(n: int) -> int:
    """Start many at once, and wait for them."""
    return len(picks.map(range(n)).result())


@env.task
def harvests(pause: float = 0.0) -> int:
    """Start one task after the other, the later one before the first in the alphabet."""
    says.submit(("first",)).result()
    return picks.submit((1, pause)).result()


@env.task(retries=0, fair_by="customer")
def pays(customer: str) -> str:
    """Take turns with other customers."""
    return customer


@env.task(retries=0)
def fails(why: str) -> int:
    """Fail for good."""
    print(why)
    raise ValueError(why)


@env.task(retries=RetryStrategy(retries=3, backoff=timedelta(minutes=5)))
def rests() -> int:
    """Fail, and rest for long."""
    raise RuntimeError("not yet")


@env.task
def runs(seconds: float) -> str:
    """Run until it is stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        print("still here", flush=True)
        select.select([], [], [], 0.5)
    return "done"


@env.task
def recites(seconds: float) -> str:
    """Write more than a page shows at once, and go on writing."""
    print("verse\n" * 60, flush=True)
    return runs(seconds)


@env.task(resources="press")
def presses(seconds: float) -> int:
    """Need the one press."""
    select.select([], [], [], seconds)
    return 1


@env.task(cache=Cache(version="1", serialize=True))
def once(seconds: float) -> int:
    """Run once for equal calls."""
    select.select([], [], [], seconds)
    return 1


@env.task(retries=0)
def says(text: str) -> str:
    """Say what it was told."""
    print(text)
    if text.startswith("!"):
        raise NonRetryableError(text)
    return text


@env.task(redact=True, retries=0)
def whispers(words: str, fail: bool) -> dict[str, str]:  # noqa: FBT001  # an argument of an action
    """Tell what nobody is to see, in every way a function can."""
    print(f"heard {words}", flush=True)
    if fail:
        raise ValueError(f"cannot keep {words}")
    print(f"replies {words[::-1]}")
    return {"answer": words[::-1]}


@env.task(redact="secret", retries=0)
def mixes(
    words: str,
    count: int,
    sure: bool,  # noqa: FBT001  # an argument of an action
    many: list[int],
    size: Literal["S", "L"] = "S",
    secret: str = "",
) -> str:
    """Take values of several types."""
    print("mixing")
    if not sure:
        raise ValueError(words)
    return f"{words} {count} {many} {size} {secret}"


@env.task
def gathers() -> bool:
    """Start one that sleeps, and one that asks somebody."""
    naps.submit((600.0,))
    return proposes.submit(()).result()


@env.task
def proposes() -> bool:
    """Ask a person."""
    return ask("ladder", prompt="Take the ladder?")
