"""An indexed queue of work done in threads: a repeated request gets the work that is under way or done (R52)."""

from __future__ import annotations

import enum
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger(__name__)

_FIRST_PAUSE = 0.1


class WorkStatus(enum.Enum):
    """The state of a piece of work."""

    NOT_DONE = "NotDone"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class WorkItem(Generic[T]):
    """One piece of work.

    Attributes:
        status: how far it is; once it has ended, `result` and `error` are complete.
        result: what the work returned; None while it is not done, and when it failed.
        error: of the last try; None when none has failed.
        done: set at the end, well or not.
    """

    __slots__ = ("done", "error", "result", "status")

    def __init__(self) -> None:
        self.status = WorkStatus.NOT_DONE
        self.result: T | None = None
        self.error: Exception | None = None
        self.done = threading.Event()

    def end(self, status: WorkStatus) -> None:
        """Note how the work ended."""
        self.status = status
        self.done.set()


class WorkQueue(Generic[T]):
    """Runs work in threads, each piece once as long as its result is remembered.

    Args:
        name: of its threads.
        workers: how many; they are started when they are first needed.
        tries: how often a piece that fails is tried in all.
        index: how many pieces are remembered; the one not asked for longest is forgotten first.
    """

    def __init__(self, name: str, *, workers: int, tries: int, index: int) -> None:
        self._name, self._workers, self._tries, self._limit = name, workers, tries, index
        self._index: OrderedDict[str, WorkItem[T]] = OrderedDict()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closing = threading.Event()

    def add(self, name: str, work: Callable[[], T]) -> WorkItem[T]:
        """Return the piece with that name: the remembered one, or a new one that runs when a thread is free.

        Raises:
            RuntimeError: the queue is closed, and the piece is a new one.
        """
        with self._lock:
            known = self._index.get(name)
            if known is not None:
                self._index.move_to_end(name)
                return known
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix=self._name)
            item = WorkItem[T]()
            self._threads.submit(self._run, item, work)
            self._index[name] = item
            while len(self._index) > self._limit:
                self._index.popitem(last=False)
            return item

    def close(self) -> None:
        """Begin nothing more; return when what runs has ended. What has not begun stays undone."""
        self._closing.set()
        with self._lock:
            if self._threads is not None:
                self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, item: WorkItem[T], work: Callable[[], T]) -> None:
        for left in reversed(range(self._tries)):
            try:
                item.result = work()
            except Exception as error:  # noqa: BLE001  # whatever goes wrong belongs to whoever asked
                item.error = error
                log.warning("work.failed", queue=self._name, left=left, error=str(error))
            else:
                item.end(WorkStatus.SUCCEEDED)
                return
            pause = _FIRST_PAUSE * 2 ** (self._tries - left - 1)
            if left and self._closing.wait(pause):
                break
        item.end(WorkStatus.FAILED)
