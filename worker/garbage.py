"""Run the garbage collector of a worker's process seldom, and never over objects that stay.

What a step makes goes by reference counts; cycles are rare. With Python's own thresholds a steps worker spent an eighth of
its CPU on looking for them, most of it at what Celery and its libraries keep for good. (The process of functions has
a way of its own: `worker/runner/garbage.py`.)
"""

from __future__ import annotations

import gc
from typing import Final

from worker.runner.kernel import give_back_memory

_YOUNG: Final = 10_000
"""Objects made, less those gone, until the young ones are looked at: some batches of a step, and some MB."""


def keep_what_is_there() -> None:
    """Treat all existing objects as permanent, and look at younger ones seldom. Processes forked later do so too."""
    gc.collect()
    gc.freeze()
    give_back_memory()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
