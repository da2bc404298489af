"""The soft time limit of Celery, by a signal of the process itself, since no pool is there to send it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from celery.exceptions import SoftTimeLimitExceeded


@contextmanager
def soft_limit(seconds: float | None) -> Iterator[None]:
    """Raise `SoftTimeLimitExceeded` in the block after this many seconds, as SIGUSR1 does in a worker of Celery.

    Only the main thread can be interrupted; elsewhere, as in tests, there is no limit.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def tell(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SoftTimeLimitExceeded(seconds)

    before = signal.signal(signal.SIGUSR1, tell)
    main = threading.get_ident()
    timer = threading.Timer(seconds, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        signal.signal(
            signal.SIGUSR1, signal.SIG_IGN
        )  # one that is on its way has nothing to interrupt any more
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)
