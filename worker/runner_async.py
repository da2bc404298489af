"""Runs a coroutine function in the child. A module of its own because importing asyncio costs 30 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class AsyncCall:
    """One coroutine, run to its end in a fresh event loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[object] | None = None

    def run(self) -> object:
        """Run it; tasks it leaves behind are cancelled."""
        return asyncio.run(self._main())

    def cancel(self) -> bool:
        """From a signal handler: cancel the coroutine if it waits, so that its loop winds up in order.

        Returns:
            False: it is computing right now, and only an exception raised on the spot can end that.
        """
        task = self._task
        if task is None or asyncio.current_task(task.get_loop()) is task:
            return False
        task.get_loop().call_soon_threadsafe(task.cancel)
        return True

    async def _main(self) -> object:
        self._task = asyncio.current_task()
        try:
            return await self._coroutine
        finally:
            self._task = None
