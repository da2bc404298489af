"""Plain Celery on the Redis server of a stack, in another database of it: what a call takes without us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from celery import Celery

_DATABASE = 7
_START = 60


def _url() -> str:
    return urlsplit(os.environ["RECONCILER_REDIS_URL"])._replace(path=f"/{_DATABASE}").geturl()


app = Celery("plain", broker=_url(), backend=_url())
app.conf.update(task_acks_late=True, worker_hijack_root_logger=False)


@app.task(name="plain.one")  # type: ignore[untyped-decorator]  # Celery has no types
def one(index: int) -> int:
    """Count one."""
    return 1 if index >= 0 else 0


@contextmanager
def worker() -> Iterator[None]:
    """Run a worker of two processes, which has done one task."""
    options = ("-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "-l", "ERROR")
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.plain", "worker", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            one.delay(0).get(timeout=_START)
            yield
        finally:
            process.terminate()
