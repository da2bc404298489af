"""Functions for test_flower_waiting.py: each waits for something else. While a file says so, it cannot be imported."""

from __future__ import annotations

import asyncio
import os
import select
from datetime import timedelta
from pathlib import Path

from reconciler import Cache, RetryStrategy, TaskEnvironment, ask, continue_as_new, sleep

env = TaskEnvironment("well")

_DRY = Path(os.environ.get("WELL_IS_DRY", "/nowhere"))
if _DRY.exists():
    raise ImportError("the well is dry")


@env.task
def runs(seconds: float) -> int:
    """Run until it is stopped."""
    select.select([], [], [], seconds)
    return 1


@env.task(retries=RetryStrategy(retries=3, backoff=timedelta(minutes=5)))
def rests() -> int:
    """Fail, and rest for long."""
    raise RuntimeError("not yet")


@env.task(resources="bucket")
def holds(seconds: float) -> int:
    """Need the one bucket."""
    select.select([], [], [], seconds)
    return 1


@env.task(cache=Cache(version="1", serialize=True))
def once(seconds: float) -> int:
    """Run once for equal calls."""
    select.select([], [], [], seconds)
    return 1


@env.task
def loops(start: int) -> int:
    """Start over for ever."""
    continue_as_new(start + 1)


@env.task
async def hurries() -> str:
    """Wait for a person, for an hour at most."""
    waits = [asyncio.ensure_future(ask("draw_more", bool)), asyncio.ensure_future(sleep(3600))]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    return "enough"


@env.task(queue="desert")
def deserted() -> int:
    """Be where no worker is."""
    return 1


@env.task(queue="closed")
def closed() -> int:
    """Be in a queue somebody paused."""
    return 1


@env.task(queue="dry", retries=3)
def draws(seconds: float) -> int:
    """Run on the worker that is broken, or frozen; a process that still lives when the well is dry ends."""
    if _DRY.exists():
        os._exit(3)
    select.select([], [], [], seconds)
    return 1
