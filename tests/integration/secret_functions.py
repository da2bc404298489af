"""Functions that betray their secrets, and one that needs a resource; imported by the workers of the tests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import time
from pathlib import Path

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


KEPT: list[str] = []


@env.task(secrets=[API])
def keep() -> int:
    """Remember the secret, as a client in a module does."""
    KEPT.append(os.environ["API_KEY"])
    return os.getpid()


@env.task()
def tell(marker: str) -> int:
    """Print what an earlier call has remembered."""
    print(marker, *KEPT, flush=True)
    return os.getpid()


@env.task()
def tell_by_error() -> None:
    """Raise with what an earlier call has remembered."""
    raise ValueError(f"refused: {KEPT}")


@env.task()
def look_at_parents(value_backwards: str) -> list[str]:
    """Where the processes above this one show a value, and which of them can be opened."""
    value, process, found = value_backwards[::-1].encode(), os.getppid(), []
    while process > 1:
        for name in ("environ", "cmdline"):
            with contextlib.suppress(OSError):
                if value in Path(f"/proc/{process}/{name}").read_bytes():
                    found.append(f"{name} of {process}")
        for name in ("mem", "fd/0"):
            with contextlib.suppress(OSError):
                os.close(os.open(f"/proc/{process}/{name}", os.O_RDONLY))
                found.append(f"{name} of the {'parent' if process == os.getppid() else 'others'}")
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return found


@env.task()
def can_trace() -> bool:
    """Whether this process may look into all others (CAP_SYS_PTRACE)."""
    status = Path("/proc/self/status").read_text()
    return bool(int(status.partition("CapEff:")[2].split()[0], 16) >> 19 & 1)


@env.task()
def hold(megabytes: int) -> int:
    """Hold so much memory for a moment; tells in which process."""
    held = bytearray(megabytes << 20)
    held[::4096] = b"x" * len(held[::4096])
    return os.getpid()


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


@env.task(redact="return")
def account(name: str) -> dict[str, str]:
    """Look up what is shown to nobody."""
    return {"iban": f"DE12-{name}-4711-0815"}


@env.task()
def tells_account(name: str, marker: str) -> None:
    """Print, and raise with, what a child has returned; nothing of it is redacted here."""
    print(marker, "before", flush=True)
    found = account.delay(name).result()["iban"]
    print(marker, found, flush=True)
    raise ValueError(f"no such account: {found}")
