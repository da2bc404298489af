"""The product's Celery application in a process that can be killed at each crash point: `celery -A crashing_worker`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from crash_points import WHOLE, Trap, arm

from worker.app import app
from worker.runner.runner import Runner

__all__ = ["app"]

_TRAPS = Path(os.environ["CHAOS_TRAPS"])
_MAIN = os.getpid()


def _victims() -> Iterable[int]:
    """Return the worker of a pool's child, if it is to die first."""
    return [_MAIN] if os.getpid() != _MAIN and (_TRAPS / WHOLE).exists() else []


arm(Trap(_TRAPS, "steps" if "steps" in sys.argv else "attempts", _victims), Runner)
