"""The Celery command lines of the embedded stack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from reconciler.embedded.ports import LOOPBACK

APP = "worker"
"""The module of the Celery application."""
QUIET = ("-l", "WARNING", "--without-gossip", "--without-mingle")
"""Nobody needs the workers' talk among themselves. Their heartbeats stay: Flower shows by them who is there."""


def worker(
    queue: str, pool: str, concurrency: int, node: str, app: str = APP, schedule: Path | None = None
) -> Sequence[str]:
    """Build the command of a worker.

    Args:
        queue: the queue it consumes.
        pool: `threads` for steps, `prefork` for user code, which must be killable.
        concurrency: tasks at once.
        node: its node name, `NAME@HOST`.
        app: module of the Celery application.
        schedule: file of a beat that runs in a thread of this worker; None where no beat does.
    """
    beat_inside = () if schedule is None else ("-B", "-s", str(schedule))
    return (
        *_celery(app),
        "worker",
        *beat_inside,
        "-Q",
        queue,
        "-P",
        pool,
        "-c",
        str(concurrency),
        "-n",
        node,
        *QUIET,
    )


def beat(schedule: Path) -> Sequence[str]:
    """Build the command of beat; `schedule` is the file in which it keeps its last times."""
    return (*_celery(APP), "beat", "-s", str(schedule), "-l", "WARNING")


def flower(port: int) -> Sequence[str]:
    """Build the command of the Flower web page on this port of the loopback interface.

    It tells of warnings and errors, as the workers do; what Flower does now and then is none.
    """
    return (*_celery(APP, "celery"), "flower", f"--address={LOOPBACK}", f"--port={port}", "--logging=warning")


def _celery(app: str, module: str = "reconciler.embedded.lean") -> Sequence[str]:
    return (sys.executable, "-m", module, "-A", app)
