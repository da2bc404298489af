"""Functions that start functions, for `test_trees`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from reconciler import NonRetryableError, TaskEnvironment, ask, continue_as_new, current_attempt, sleep, step

env = TaskEnvironment("trees")


@env.task()
def double(number: int, book: str = "") -> int:
    """Note the call in a file, if one is given."""
    if book:
        with Path(book).open("a") as file:
            file.write(f"{number}\n")
    return 2 * number


@env.task()
def level(number: int) -> int:
    """Wait for a child that does the same, until there is none."""
    return 0 if number == 0 else level.delay(number - 1).result() + 1


def make_token(book: str) -> str:
    """Note that it was made."""
    with Path(book).open("a") as file:
        file.write("token\n")
    return f"token {os.getpid()}"


@env.task(retries=2)
async def album(pictures: list[int], book: str) -> int:
    """Do all of it: a child, a map, a value, a wait, a person, many at once."""
    first = await double.delay(100)
    sizes = await double.map(pictures)
    token = await step("upload token", make_token, book)
    await sleep(timedelta(seconds=2))
    if not await ask("publish", bool, prompt=f"{len(sizes)} pictures with {token}?"):
        raise NonRetryableError("declined")
    more = await asyncio.gather(*(double.delay(number) for number in range(3)))
    return first + sum(sizes) + sum(more)


@env.task(timeout=4)
def works_in_passes(turns: int) -> int:
    """Work, wait without a worker, then start over."""
    threading.Event().wait(0.9)
    sleep(timedelta(seconds=1.2))
    if turns > 1:
        continue_as_new(turns - 1)
    return turns


@env.task()
def only_starts_over(turns: int) -> int:
    """Do nothing else."""
    if turns > 1:
        continue_as_new(turns - 1)
    return turns


@env.task()
async def windowed(count: int, book: str) -> int:
    """Add what many return, of which few are open at a time."""
    return sum(await double.map(range(count), book=book, concurrency=8))


@env.task()
async def as_they_come(count: int, book: str) -> list[int]:
    """Take results as they come, and keep the first one in mind over a suspension."""
    found = []
    async for each in double.map(range(count), book=book, concurrency=4).as_completed():
        found.append(each)
        if len(found) == 2:
            await sleep(timedelta(seconds=2))
    return found


@env.task()
def nightly(count: int, book: str) -> int:
    """Start many, then wait for one after the other."""
    runs = [double.delay(number, book) for number in range(count)]
    return sum(run.result() for run in runs)


@env.task()
def breaks(number: int) -> int:
    """Raise."""
    raise ValueError(f"bad {number}")


@env.task()
def catches() -> str:
    """Say what a child raised, and where."""
    try:
        breaks.delay(3).result()
    except Exception as error:  # noqa: BLE001  # what it is, is what the test asks
        return f"{type(error).__name__} {error} {error.__cause__}"
    return ""


@env.task()
def swallows() -> None:
    """Keep the suspension from passing, and go on."""
    while True:
        with suppress(BaseException):
            sleep(60)


@env.task(resources="gpu=1")
def on_gpu(depth: int) -> int:
    """Hold the only unit, and wait for a child that needs it."""
    return 1 if depth == 0 else on_gpu.delay(depth - 1).result() + 1


@env.task()
async def patient() -> str:
    """Wait for a person, and abort what waits when the time is up."""
    child = sleepy.delay()
    try:
        await asyncio.wait_for(child, 0.5)
    except TimeoutError:
        return str(child.action)
    return ""


@env.task()
def sleepy() -> None:
    """Wait for long."""
    sleep(3600)


@env.task()
def fickle(book: str) -> int:
    """Start something in the first pass alone, as code does that decides by chance."""
    file = Path(book)
    if not file.exists():
        file.touch()
        sleepy.delay()
    sleep(1.5)  # longer than it waits in place: another pass
    return double.delay(4).result()


@env.task()
async def counts(turns: int, book: str, total: int = 0) -> int:
    """Ask for the same things in each turn, and start over with what came of them."""
    await step("token", make_token, book)
    total += await double.delay(1)
    if turns > 1:
        continue_as_new(turns - 1, book, total)
    return total


@env.task()
def keeps_starting_over_from_passing(how: str) -> int:
    """Start over, and go on: to the end, or for ever."""
    with suppress(BaseException):
        continue_as_new(how)
    while how == "for ever":
        with suppress(BaseException):
            sleep(1)
    return 99


@env.task()
def waits_above(run: str) -> int:
    """Wait for the run this is part of."""
    return int(env.client.run(run).result())


@env.task()
def starts_a_circle() -> int:
    """Wait for a child that waits for this."""
    attempt = current_attempt()
    assert attempt is not None
    return waits_above.delay(attempt.run).result()


@env.task()
async def gives_up(way: str, book: str) -> str:
    """Wait with a limit, note what came of it, then do something without a worker; one of them dies once."""
    found = "none"
    with suppress(TimeoutError):
        async with asyncio.timeout(0.7):
            if way == "results":
                found = str([each async for each in dozing.map([3, 4], concurrency=1).as_completed()])
            elif way == "map":
                found = str(list(await dozing.map([3, 4])))
            else:
                found = str(await dozing.delay(3))
    return await noted(found, book, dies=way == "child")


@env.task()
async def first_wins(book: str) -> str:
    """Wait for the first of two, cancel the other."""
    tasks = [asyncio.ensure_future(awaited(run)) for run in (double.delay(1), dozing.delay(60))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[1].cancel()
    found = str(await tasks[0])
    await asyncio.wait(tasks[1:])
    return await noted(f"{found} {tasks[1].cancelled()}", book)


@env.task()
def gives_up_plainly(book: str) -> str:
    """Wait with a limit in a plain function."""
    run = dozing.delay(2)
    try:
        found = str(run.result(timeout=0.3))
    except TimeoutError as error:
        found = type(error).__name__
    note(found, book)
    sleep(1.5)
    step("die", die_once, book)
    return f"{found} {run.result()}"


async def awaited(run: Awaitable[int]) -> int:
    """Await a run."""
    return await run


async def noted(found: str, book: str, *, dies: bool = False) -> str:
    """Note what was seen, be suspended, then die once, if told to."""
    note(found, book)
    await double.delay(5)
    await sleep(1.5)
    if dies:
        await step("die", die_once, book)
    return found


def note(found: str, book: str) -> None:
    """Write a line into the file."""
    with Path(book).open("a") as file:
        file.write(f"{found}\n")


def die_once(book: str) -> None:
    """Be killed, the first time."""
    try:
        Path(f"{book}.dead").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)


@env.task()
def dozing(seconds: int) -> int:
    """Wait without a worker."""
    sleep(seconds)
    return seconds


@env.task()
def where(number: int) -> int:
    """Tell the process it runs in."""
    del number
    return os.getpid()


@env.task()
async def one_after_the_other(count: int) -> list[int]:
    """Await so many; the processes they ran in, and the own one at last."""
    return [*[await where.delay(number) for number in range(count)], os.getpid()]


@env.task()
def length(text: str) -> int:
    """Count the characters."""
    return len(text)


@env.task()
def hands_over(size: int) -> list[str]:
    """Hand over so much, and tell what comes of it."""
    told: list[str] = []
    for call in (
        lambda: length.delay("x" * size),
        lambda: length.map(["x" * size]),
        lambda: step("long", str.ljust, "", size),
    ):
        try:
            call()
        except Exception as error:  # noqa: BLE001  # it is told
            told.append(f"{type(error).__name__}: {error}")
    assert length.delay("short").result() == 5
    return told


@env.task()
def starts_over_with(size: int, text: str = "") -> int:
    """Start over with so much."""
    if not text:
        continue_as_new(size, "x" * size)
    return len(text)
