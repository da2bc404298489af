"""Celery on Redis as its own documentation advises for tasks that must not get lost; the same function as ours runs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from celery import Celery, signals

QUEUE = "plain"
VISIBILITY = 8
"""Seconds; Celery's default is an hour. Shorter than ours would be unfair to nobody: it is when lost messages return."""

app = Celery("plain", broker=os.environ.get("PLAIN_BROKER", "redis://127.0.0.1:1/0"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
)


@app.task(name="plain.timed")
def timed(index: int, seconds: float, tally: str) -> None:
    """As `chaos_tasks.timed`."""
    handle = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(handle, f"{index} {time.time()}\n".encode())
    os.close(handle)
    threading.Event().wait(seconds)


@signals.worker_ready.connect
def _say_ready(**_: object) -> None:
    Path(os.environ["PLAIN_READY"]).touch()
