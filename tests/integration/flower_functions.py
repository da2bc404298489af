"""Functions that end in every way Flower has to tell apart, for test_flower.py."""

from __future__ import annotations

import os
import select
import signal
from datetime import timedelta

from reconciler import NonRetryableError, RetryStrategy, Secret, TaskEnvironment, Timeouts, current_attempt

env = TaskEnvironment("garden")


@env.task
def returns(x: int) -> int:
    """Return."""
    return x + 1


@env.task(retries=0)
def raises(why: str) -> int:
    """Fail for good."""
    raise ValueError(why)


@env.task(retries=1)
def raises_once() -> int:
    """Fail in the first attempt, not in the second."""
    if current_attempt().attempt == 1:
        raise RuntimeError("once is enough")
    return 2


@env.task
def refuses() -> int:
    """Fail so that no retry can help."""
    raise NonRetryableError("never again")


@env.task
def waits() -> int:
    """Wait for somebody to stop it."""
    select.select([], [], [])
    return 0


@env.task(timeout=Timeouts(running=timedelta(seconds=1)))
def too_long() -> int:
    """Run longer than it may."""
    select.select([], [], [])
    return 0


@env.task(timeout=Timeouts(overall=timedelta(seconds=2)))
def too_late() -> int:
    """Take longer than its action may."""
    select.select([], [], [])
    return 0


@env.task(retries=0)
def exits() -> int:
    """End its process."""
    os._exit(3)


@env.task(retries=0)
def crashes() -> int:
    """Have its process killed by the kernel."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


@env.task(retries=RetryStrategy(retries=0), secrets=[Secret("flower-bird", env="BIRD")])
def tells_secret() -> int:
    """Raise what it must not tell."""
    raise ValueError(f"the bird sings {os.environ['BIRD']}")


@env.task(retries=0)
def killed_once() -> int:
    """Have its process killed from outside in the first launch: the platform's failure, launched again."""
    if current_attempt().launch == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return 3


@env.task(retries=0)
def leaves() -> int:
    """Leave by an exception that is no error."""
    raise SystemExit(4)


@env.task(retries=0)
def answers_nonsense() -> int:
    """Return what no JSON can carry."""
    return object()  # type: ignore[return-value]  # the mistake that is told


@env.task(retries=0)
def raises_group() -> int:
    """Fail in several ways at once."""
    raise ExceptionGroup("two at once", [ValueError("one"), KeyError("two")])


@env.task(retries=0)
async def awaits() -> int:
    """Fail in a coroutine."""
    raise LookupError("nobody came")


@env.task(cache="auto")
def cached(x: int) -> int:
    """Run once for equal arguments."""
    return x + 1
