"""Functions that tell when they began; imported by the workers of `test_order_at_scale`."""

from __future__ import annotations

import threading
import time

from reconciler.environment import TaskEnvironment

env = TaskEnvironment("order")


@env.task(fair_by="customer")
def short(index: int, customer: str = "large") -> int:
    """Take 10 ms."""
    del customer
    threading.Event().wait(0.01)
    return index


@env.task(fair_by="customer")
def began(customer: str = "large") -> float:
    """Tell the time, seconds since the epoch."""
    del customer
    return time.time()
