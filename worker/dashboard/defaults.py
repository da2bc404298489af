"""Defaults of `celery -A worker flower`: read-only and on this machine alone, unless there is a login.

Flower's own defaults let anybody who reaches its port stop workers. What is said on the command line or in `FLOWER_*`
variables wins over what stands here.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence

MAX_TASKS = "10000"
"""Tasks Flower remembers: it needs 6.5 KB for each."""


def prepare_flower(argv: Sequence[str], environ: MutableMapping[str, str]) -> bool:
    """Set the defaults through Flower's environment variables if this process is about to become Flower; tell whether.

    Args:
        argv: command line of the process.
        environ: its environment, changed in place.
    """
    if "flower" not in argv:
        return False
    given = {**_variables(environ), **dict(_options(argv))}
    environ.setdefault("FLOWER_MAX_TASKS", MAX_TASKS)
    if not is_login(given.get("basic_auth", "").split(","), given.get("auth", "")):
        environ.setdefault("FLOWER_READ_ONLY", "true")
        environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
    return True


def is_login(basic_auth: Sequence[str], auth: str) -> bool:
    """Tell whether these options of Flower require a login.

    `auth_provider` alone keeps out nobody, and neither does a user without a password.

    Args:
        basic_auth: `user:password` of each who is let in.
        auth: whose mail addresses OAuth lets in, as a pattern.
    """
    users = [entry for entry in basic_auth if entry]
    return bool(auth) or bool(users and all(entry.partition(":")[2] for entry in users))


def _variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    return {name: environ.get(f"FLOWER_{name.upper()}", "") for name in ("basic_auth", "auth")}


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find options of the command line, which Tornado only reads as `--name=value`."""
    for argument in argv:
        if argument.startswith("-"):
            name, _, value = argument.lstrip("-").partition("=")
            yield name.replace("-", "_"), value
