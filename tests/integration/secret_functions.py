"""Functions that betray their secrets, and one that needs a resource; imported by the workers of the tests."""

from __future__ import annotations

import hashlib
import os
import select
import time

from reconciler import Secret, TaskEnvironment

env = TaskEnvironment("vault")
DB = Secret("db-password", env="DB_PASSWORD")
API = Secret("api-key")


@env.task(secrets=[DB, API])
def digest(marker: str) -> str:
    """Print the secrets in every way there is; return what proves that they were right."""
    text = os.environ["DB_PASSWORD"] + os.environ["API_KEY"]
    print(f"{marker} {text} {os.environ['DB_PASSWORD']!r}", flush=True)  # this is the log
    os.write(2, os.environ["API_KEY"].encode())
    return hashlib.sha256(text.encode()).hexdigest()


@env.task(secrets=[DB])
def fail() -> None:
    """Raise with the secret in the message."""
    raise ValueError(f"cannot log in with {os.environ['DB_PASSWORD']}")


@env.task(secrets=[Secret("nowhere")], retries=5)
def lost() -> str:
    """Never run."""
    return "ran"


@env.task()
def spy() -> list[str]:
    """The names of variables that could hold secrets, in a function that declared none."""
    return sorted(name for name in os.environ if name.startswith(("SECRET_", "DB_", "API_")))


@env.task(resources="gpu")
def exclusive(path: str) -> list[float]:
    """Hold the resource for a moment, and fail when somebody else holds it."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL)
    began = time.monotonic()
    select.select([], [], [], 0.2)  # stands for work
    os.close(handle)
    os.unlink(path)  # noqa: PTH108  # as it was opened
    return [began, time.monotonic()]
