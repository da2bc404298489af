"""Breaks the consumer of a Celery worker from inside, when the test asks for it; Python imports this file at start.

kombu 5.7 survives every broken line we could make, so the fault is made in kombu itself: a file named `deaf` in the
folder `FAULTS` keeps it from asking for messages, as a reconnect that forgot to (celery#8030); one named `hung` stops
its event loop.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from kombu.transport.redis import MultiChannelPoller

_register = MultiChannelPoller._register_BRPOP
_FOLDER = Path(os.environ["FAULTS"])


def _faulty(self: MultiChannelPoller, channel: Any) -> None:
    if (_FOLDER / "hung").exists():
        threading.Event().wait()
    if not (_FOLDER / "deaf").exists():
        _register(self, channel)


MultiChannelPoller._register_BRPOP = _faulty
