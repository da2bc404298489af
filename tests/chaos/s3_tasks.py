"""Functions with inputs and outputs too large for a record, imported by the workers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from chaos_tasks import trace

from reconciler.core.cachepolicy import Cache
from reconciler.environment import TaskEnvironment

env = TaskEnvironment("objects")
SIZE = 6000
"""Characters of an input or output that lies in S3 alone; up to 4096 bytes would ride in the record."""


def answer(question: str) -> str:
    """What `reply` makes of a question: as long, and of no other question."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    return (digest * (len(question) // len(digest) + 1))[: len(question)]


@env.task(retries=1)
def reply(question: str, tally: str) -> str:
    """Leave a trace of this execution and answer."""
    trace(tally, question[:20])
    return answer(question)


@env.task(retries=1, cache=Cache(version="1"))
def remembered(question: str, tally: str) -> str:
    """Leave a trace of this execution and give an answer that is in the cache from then on."""
    trace(tally, question[:20])
    return answer(question)


@env.task(cache=Cache(version="1", serialize=True))
def remembered_unless(question: str, tally: str, obstacle: str) -> str:
    """Leave a trace; fail while a file is there."""
    trace(tally, question[:20])
    if Path(obstacle).exists():
        raise ValueError("there is an obstacle")
    return answer(question)


@env.task(retries=1)
def produce(size: int, tally: str) -> str:
    """Leave a trace with the process that supervises this execution, and return so many characters."""
    trace(tally, str(os.getppid()))
    return "x" * size
