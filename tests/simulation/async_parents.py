"""Parents of a story in an event loop: they wait for several things at once, and give waits up. Its time is virtual."""

from __future__ import annotations

import asyncio
import inspect
import math
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from reconciler.api.errors import ActionEnded
from reconciler.children import functions
from tests.simulation.parents import LATE, Stage
from tests.simulation.plots import Scene

if TYPE_CHECKING:
    from tests.simulation.scheduler import Scheduler


class _Patience(selectors.SelectSelector):
    """Lets the story go on instead of waiting for descriptors."""

    def __init__(self, rest: Callable[[float], None]) -> None:
        super().__init__()
        self._rest = rest

    def select(self, timeout: float | None = None) -> list[Any]:
        """Find nothing ready, ever; callbacks come with the time."""
        if timeout is None or timeout > 0:
            self._rest(math.ceil(1000 * min(1.0 if timeout is None else timeout, 1.0)) / 1000)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, seconds."""

    def __init__(self, scheduler: Scheduler, rest: Callable[[float], None]) -> None:
        super().__init__(_Patience(rest))
        self._scheduler_of_story = scheduler
        self._clock_resolution = 0.0005  # the time of a story goes on in ms
        self.set_exception_handler(lambda *_: None)  # what ends a call is raised where the loop rests

    def time(self) -> float:
        """Return the time of the story."""
        return self._scheduler_of_story.clock.at / 1000


class AsyncStage(Stage):
    """One call of a parent that is an `async def`."""

    def _values(self) -> list[object]:
        loop = VirtualLoop(self._sim.scheduler, self._wire.rest)
        main = loop.create_task(self._all())
        try:
            return loop.run_until_complete(main)
        finally:
            self._wind_up(loop)

    def _wind_up(self, loop: VirtualLoop) -> None:
        """Have all that is left end, as the product does; a process that has died can ask for nothing any more."""
        self._wire.winds_up = True
        left = sorted(asyncio.all_tasks(loop), key=lambda task: int(task.get_name().rpartition("-")[2]))
        for task in left:
            task.cancel()
        try:
            for task in left:
                loop.run_until_complete(asyncio.wait([task]))
                if not task.cancelled():
                    task.exception()
        finally:
            loop.close()

    async def _all(self) -> list[object]:
        return [await self._later(number, scene) for number, scene in enumerate(self._plot)]

    async def _later(self, number: int, scene: Scene) -> object:
        found: object = getattr(self, f"_{scene.kind}")(scene)
        if inspect.isawaitable(found):
            found = await found
        return self._told(number, scene, found)

    # -- scenes ------------------------------------------------------------------------------------------------------
    async def _wait(self, scene: Scene) -> object:
        return await self._awaited(scene.of)

    async def _awaited(self, of: int) -> object:
        run = self._runs[of]
        try:
            value = await run
        except ActionEnded as ended:
            return ended
        return self._value(run, value)

    async def _sleep(self, scene: Scene) -> None:
        await functions.sleep(scene.seconds)

    async def _ask(self, scene: Scene) -> object:
        asked: Any = functions.ask(scene.name, int, timeout=scene.seconds or None)
        try:
            return await asked
        except ActionEnded as ended:
            return ended

    async def _limit(self, scene: Scene) -> object:
        try:
            async with asyncio.timeout(scene.seconds):
                return _text(await self._awaited(scene.of))
        except TimeoutError:
            return LATE

    async def _nap(self, scene: Scene) -> object:
        """Return a sleep with a limit."""
        try:
            async with asyncio.timeout(scene.seconds / 2):
                await functions.sleep(scene.seconds)
        except TimeoutError:
            return LATE
        return "slept"

    async def _race(self, scene: Scene) -> object:
        """Which of two ends first; the other one is given up."""
        tasks = [asyncio.ensure_future(self._awaited(of)) for of in (scene.of, scene.other)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = 0 if tasks[0].done() else 1
        tasks[1 - first].cancel()
        await asyncio.wait(tasks)
        return f"{first} {_text(tasks[first].result())} {tasks[1 - first].cancelled()}"

    async def _stream(self, scene: Scene) -> object:
        """Return results of a map as they come, until the time is over."""
        found: list[object] = []
        try:
            async with asyncio.timeout(scene.seconds):
                async for each in self._runs[scene.of].as_completed(return_exceptions=True):
                    found.append(_text(each))  # noqa: PERF401  # those that came before the limit
        except TimeoutError:
            return f"{found} {LATE}"
        return str(found)


def _text(found: object) -> str:
    return f"{type(found).__name__} {found}"
