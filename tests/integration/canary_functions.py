"""Functions that handle a secret carelessly, imported by the workers of the canary test."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from reconciler import Secret, TaskEnvironment

env = TaskEnvironment("mine")
BIRD = Secret("bird")
MARKER = "marker-that-is-no-secret"


@env.task(secrets=[BIRD])
def use() -> str:
    """Print the secret and return something else."""
    print(MARKER, os.environ["BIRD"], repr(os.environ["BIRD"]))
    sys.stderr.write(os.environ["BIRD"])
    return MARKER


@env.task(secrets=[BIRD])
def fail() -> None:
    """Raise with the secret in the message."""
    raise ValueError(f"{MARKER}: cannot log in with {os.environ['BIRD']}")


@env.task(secrets=[BIRD])
def die() -> None:
    """End the process right after the secret was printed."""
    print(MARKER, os.environ["BIRD"], flush=True)
    os._exit(3)


@env.task(secrets=[BIRD], retries=1)
def linger(path: str) -> str:
    """Print the secret and take long, the first time."""
    print(MARKER, os.environ["BIRD"], flush=True)
    if not Path(path).exists():
        Path(path).touch()
        threading.Event().wait(60)
    return MARKER
