"""Tasks that the tests of the command line submit."""

from __future__ import annotations

import threading
from pathlib import Path

from reconciler import Cache, TaskEnvironment

print("cli_functions is imported")  # what modules print must not get between the output

env = TaskEnvironment("shop")


@env.task()
def greet(name: str, times: int = 1) -> str:
    """Answer, and leave a log of bytes that could steer a terminal."""
    print(f"greeting {name}")  # this is the log
    print("\x1b[31mred\x1b[0m \x1b]0;title\x07")  # as above
    return " ".join([f"hello {name}"] * times)


@env.task()
def fail(why: str) -> int:
    """Fail for good."""
    raise ValueError(why)


@env.task()
def rest(seconds: float, until: str = "") -> float:
    """Be busy with nothing, for so long and until there is such a file, which may take a minute."""
    tick = threading.Event()
    tick.wait(seconds)
    for _ in range(3000 if until else 0):
        if Path(until).exists():
            break
        tick.wait(0.02)
    return seconds


@env.task(cache=Cache(version="1"))
def rests(count: int) -> float:
    """Start calls that are busy with nothing, and wait for all."""
    return sum(call.result() for call in [rest.delay(index / 1000) for index in range(count)])


@env.task()
def needs(mark: str) -> str:
    """Succeed once there is such a file."""
    if not Path(mark).exists():
        raise ValueError("it is missing")
    return mark
