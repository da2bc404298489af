"""The outside world of one story: what user functions and plugins do, and a log of what they did."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from reconciler.api.transition import (
    PhaseInfo,
    TaskInfo,
    Transition,
    failure,
    initializing,
    not_ready,
    queued,
    retryable_failure,
    running,
    success,
    system_failure,
    system_retryable_failure,
)
from reconciler.plugins.base import Plugin, PluginProperties, StillStopping
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.managers import Allocation
from reconciler.plugins.registry import PluginEntry
from tests.simulation.plots import Inputs
from worker.runner.runner import Call, Died, Ended, Raised, Returned

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

CANARY = "canary-7e1b52"
"""The only secret of the installation: it must be nowhere once all is over."""
GPU = "gpu"


class Course(msgspec.Struct, frozen=True):
    """What one execution of a function does: `lasts` ms, then `end`; `stubborn` ones have to be killed."""

    lasts: int
    end: str
    stubborn: bool


_ENDS = {
    "good": (("returned", 30), ("killed", 1), ("oom", 0)),
    "flaky": (("returned", 6), ("raised", 5), ("final", 1), ("killed", 1), ("oom", 1)),
    "bad": (("raised", 6), ("final", 1)),
}


class World:
    """Answers for functions and plugins, and remembers.

    Attributes:
        ran: (path, launch) of each execution of a function that returned, with its outputs.
        resources: (path, launch) the scripted plugins have open, and whose clean-up is owed.
    """

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.ran: dict[tuple[str, str], set[bytes]] = {}
        self.resources: dict[tuple[str, str], int] = {}
        self._rounds: dict[tuple[str, str], int] = {}

    # -- functions -------------------------------------------------------------------------------------------------
    def course(self, call: Call) -> Course:
        """What one execution will do."""
        rng = self._sim.rng
        mood = msgspec.json.decode(call.inputs, type=Inputs).mood
        ends, weights = zip(*_ENDS[mood], strict=True)
        lasts = 0 if self._sim.workload.theme.quick else rng.choice((0, 50, 500, 2_000, 8_000, 25_000))
        return Course(lasts, rng.choices(ends, weights)[0], stubborn=rng.random() < 0.2)

    def finished(self, call: Call, course: Course) -> Ended:
        """Return the end of an execution nobody stopped."""
        key = (call.context["action"], call.context["attempt"])
        self._sim.scheduler.note("function", *key, course.end)
        match course.end:
            case "returned":
                number = len(self.ran.setdefault(key, set()))
                text = f"{key[0]}@{key[1]}#{number}" + "." * self._sim.rng.choice((0, 200))
                outputs = msgspec.json.encode({"o0": text})
                self.ran[key].add(outputs)
                return Returned(outputs)
            case "raised" | "final":
                secret = call.env.get("TOKEN", "none")
                return Raised(
                    "ValueError", f"no luck with {secret}", f"Traceback: {secret}", course.end == "raised"
                )
            case _:
                return Died(9, None, course.end == "oom", "the process was killed")

    def get(self, key: str, *, group: str = "", project: str = "", domain: str = "") -> str:
        """Return the canary, whatever secret is asked for."""
        del key, group, project, domain
        return CANARY

    # -- plugins ---------------------------------------------------------------------------------------------------
    def handle(self, ctx: TaskExecutionContext) -> PhaseInfo:
        """Play one round of a scripted plugin."""
        key = (str(ctx.action.id), ctx.launch)
        inputs = msgspec.json.decode(ctx.read_inputs(), type=Inputs)
        if inputs.units:
            answer = ctx.allocate(GPU, inputs.units)
            if answer.allocation is not Allocation.GRANTED:
                return ctx.wait_for(GPU, answer)
        if self._sim.is_current(ctx.action):
            self.resources[key] = 1
        number = self._rounds[key] = self._rounds.get(key, 0) + 1
        ctx.state.put(1, number)
        rng = self._sim.rng
        if inputs.mood == "good" and (number > 4 or rng.random() < 0.4):
            return self._success(ctx)
        weights = _ANSWERS if inputs.mood != "good" else _HARMLESS
        name = rng.choices(list(weights), list(weights.values()))[0]
        return self._answer(ctx, name, number)

    def _success(self, ctx: TaskExecutionContext) -> PhaseInfo:
        key = (str(ctx.action.id), ctx.launch)
        outputs = msgspec.json.encode({"o0": f"{key[0]}@{key[1]}"})
        self.ran.setdefault(key, set()).add(outputs)
        ref = ctx.files.write_outputs(outputs, self._sim.settings.inline_limit)
        return success(TaskInfo(occurred_at=ctx.now, outputs=ref))

    def _answer(self, ctx: TaskExecutionContext, name: str, number: int) -> PhaseInfo:
        rng = self._sim.rng
        coin, fault = rng.random() < 0.5, rng.choice((failure, system_failure))
        again = rng.choice((0, ctx.now + 1, ctx.now + 300, ctx.now + 5_000))
        answers: dict[str, Callable[[], PhaseInfo]] = {
            "not_ready": lambda: not_ready(ctx.now, 0, "preparing"),
            "queued": lambda: queued(ctx.now, number, "in line"),
            "initializing": lambda: initializing(ctx.now, 0, "nearly"),
            "running": lambda: running(number % 3, requeue_at=again),
            "retryable": lambda: retryable_failure("Flaky", "once more", cleanup=coin),
            "system": lambda: system_retryable_failure("Gone", "the node is gone"),
            "permanent": lambda: fault("Broken", "for good", cleanup=coin),
            "success": lambda: self._success(ctx),
        }
        if name == "raises":
            raise OSError("scripted")
        return answers[name]()

    def stop(self, ctx: TaskExecutionContext) -> None:
        """Abort of a scripted plugin."""
        if self._sim.faulty and self._sim.rng.random() < self._sim.faults.cleanup:
            if self._sim.rng.random() < 0.5:
                raise StillStopping(ctx.now + 500)
            raise OSError("scripted: no abort")

    def clean(self, ctx: TaskExecutionContext) -> None:
        """Finalize of a scripted plugin."""
        if self._sim.faulty and self._sim.rng.random() < self._sim.faults.cleanup:
            raise OSError("scripted: no finalize")
        self.resources.pop((str(ctx.action.id), ctx.launch), None)

    def entries(self) -> list[PluginEntry]:
        """Return the scripted plugins, bound to this world."""
        kinds: tuple[type[Tidy | Plain], ...] = (Tidy, Plain)
        return [PluginEntry(id=k.id, task_types=(k.id,), load=partial(k, self)) for k in kinds]


_HARMLESS = {"not_ready": 1, "queued": 1, "initializing": 1, "running": 4}
_ANSWERS = {
    **_HARMLESS,
    "success": 5,
    "retryable": 3,
    "system": 2,
    "permanent": 1,
    "raises": 2,
}


class Tidy(Plugin):
    """A scripted plugin that owes clean-up and is called inside the step."""

    id = "tidy"
    properties = PluginProperties(inline=True)

    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """See `World.handle`."""
        return Transition(self._world.handle(ctx))

    def abort(self, ctx: TaskExecutionContext) -> None:
        """See `World.stop`."""
        self._world.stop(ctx)

    def finalize(self, ctx: TaskExecutionContext) -> None:
        """See `World.clean`."""
        self._world.clean(ctx)


class Plain(Plugin):
    """A scripted plugin without clean-up, called in a thread of its own."""

    id = "plain"

    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """See `World.handle`; nothing stays open."""
        info = self._world.handle(ctx)
        self._world.resources.pop((str(ctx.action.id), ctx.launch), None)
        return Transition(info)
