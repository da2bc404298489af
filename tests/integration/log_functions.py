"""Functions that write while somebody reads, for test_cli_logs.py. They go on when a file is there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from reconciler import RetryStrategy, Secret, TaskEnvironment, current_attempt

env = TaskEnvironment("scribe")


def _await(path: str) -> None:
    tick = threading.Event()
    while not Path(path).exists():
        tick.wait(0.02)


@env.task
def tells(go_on: str) -> int:
    """Write, wait, write."""
    print("begin", flush=True)
    _await(go_on)
    print("end")
    return 1


@env.task(retries=RetryStrategy(retries=1))
def fails_once(go_on: str) -> int:
    """Write in each attempt; the second one waits."""
    number = current_attempt().attempt
    print(f"attempt {number} here", flush=True)
    if number == 1:
        raise ValueError("once")
    _await(go_on)
    return 2


@env.task(secrets=[Secret("scribe-key", env="KEY")])
def tells_secret(go_on: str) -> int:
    """Write a secret in two halves, and wait between them."""
    key = os.environ["KEY"]
    print("the key is", key[:9], sep=" ", end="", flush=True)
    _await(go_on)
    print(key[9:], "said", flush=True)
    return 3


@env.task
def tells_unless(number: int, broken: str) -> int:
    """Say its number, but fail with the second one as long as there is a file."""
    print(f"number {number}", flush=True)
    if number == 1 and Path(broken).exists():
        raise ValueError(number)
    return number
