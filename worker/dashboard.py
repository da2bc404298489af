"""Defaults of `celery -A worker flower`: read-only and on this machine alone, unless there is a login.

Flower's own defaults let anybody who reaches its port stop workers. What is said on the command line or in `FLOWER_*`
variables wins over what stands here.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

_LOGINS = ("basic_auth", "auth", "auth_provider")
MAX_TASKS = "10000"
"""Tasks Flower remembers: it needs 6.5 KB for each."""


def prepare_flower(argv: Sequence[str], environ: MutableMapping[str, str]) -> bool:
    """Set the defaults through Flower's environment variables, when this process is about to become Flower: gives whether.

    Args:
        argv: command line of the process.
        environ: its environment, changed in place.
    """
    if "flower" not in argv:
        return False
    options = {arg.lstrip("-").partition("=")[0].replace("-", "_") for arg in argv if arg.startswith("--")}
    login = any(name in options or f"FLOWER_{name.upper()}" in environ for name in _LOGINS)
    environ.setdefault("FLOWER_MAX_TASKS", MAX_TASKS)
    if not login:
        environ.setdefault("FLOWER_READ_ONLY", "true")
        environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
    return True
