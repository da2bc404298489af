"""Ends a worker whose pool cannot start its processes: a pool alone would start them again for ever."""

from __future__ import annotations

import os
import threading

from celery.worker import state


class PoolStarts:
    """Made before the pool forks. A process that cannot begin reports it by a pipe, and its worker ends with that status."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._heard, self._told = os.pipe()
        threading.Thread(target=self._listen, name="reconciler-pool-starts", daemon=True).start()

    def failed(self, status: int) -> None:
        """Note the failure, called in the process that cannot begin."""
        os.write(self._told, bytes([status]))

    def _listen(self) -> None:
        heard = os.read(self._heard, 1)
        if not heard or os.getpid() != self._pid:
            return
        if not state.active_requests:
            os._exit(heard[0])
        state.should_stop = heard[0]  # what the other processes run is finished first
