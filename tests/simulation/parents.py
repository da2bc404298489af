"""Parents of a story: the product's `Parent` and `Desk`, with a way between them that a seed may cut at each request.

What is seen by a function, and what an earlier pass of it has seen, is compared in `families.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import ActionEnded, ReconcilerError, ResultTimeout
from reconciler.api.schedule import NOW
from reconciler.api.template import (
    Identifier,
    RetryStrategy,
    TaskMetadata,
    TaskTemplate,
    encode_template,
)
from reconciler.children import functions, submitting
from reconciler.children import requests as ask
from reconciler.children.errors import Suspended as SuspendedHere
from reconciler.children.parent import Parent
from reconciler.core.current import CurrentAttempt
from reconciler.core.signature import Signature
from tests.simulation.plots import Inputs, Scene
from worker.runner.asking import Desk, MakeDesk
from worker.runner.messages import Died, Ended, Raised, Returned, Stopped, Suspended
from worker.runner.runner import Call

if TYPE_CHECKING:
    from reconciler.children.handle import ChildRun
    from tests.simulation.simulation import Simulation


LATE = "late"
"""What a parent says of a wait whose time was over."""
_TOLD = {"wait", "step", "ask", "limit", "nap", "race", "stream"}
"""Scenes in which a parent is told something."""
_BY_TIME = {"limit", "nap", "race", "stream"}
"""Those that another attempt may see otherwise."""


def _demo(  # noqa: PLR0917  # what `Inputs` holds
    x: int = 0,
    mood: str = "good",
    units: int = 0,
    label: str = "",
    plot: list[dict[str, Any]] = [],  # noqa: B006  # nobody changes it
    loop: bool = False,  # noqa: FBT001, FBT002  # as above
    turn: int = 0,
) -> str:
    """Declare what the functions of a story take and return."""
    return str((x, mood, units, label, plot, loop, turn))


class _Halted(BaseException):
    """Somebody wants the function to stop."""


class _Gone(BaseException):
    """The process of the function has died."""


class Wire:
    """A `Way` on which the process of the function may die.

    Args:
        sim: the story.
        make: makes the desk.
        halted: why the function is to stop; empty = it is not.
    """

    brings = True
    descriptor = None

    def __init__(self, sim: Simulation, make: MakeDesk, halted: Callable[[], str]) -> None:
        self._sim = sim
        self._halted = halted
        self._told = False
        self._over: BaseException | None = None
        self.winds_up = False
        self._answers: list[ask.Answer] = []
        self.desk: Desk = make(self._tell)

    def _tell(self) -> None:
        self._told = True

    def post(self, request: ask.Request) -> None:
        """See `Way.post`; it may be worked on at once, or when its sender is gone already."""
        self._may_end()
        if isinstance(request, ask.Suspending):
            return
        self.desk.take(request)
        if self._sim.rng.random() < 0.5:
            self._answers += self._worked()
        self._may_end()

    def rest(self, seconds: float) -> None:
        """Let the story go on, while nothing goes on in an event loop."""
        if self._over is not None and self.winds_up:
            return
        self._may_end()
        try:
            self._sim.scheduler.wait_for(lambda: bool(self._halted()), seconds)
        except BaseException as over:
            self._over = over
            raise
        self._may_end()

    def _worked(self) -> list[ask.Answer]:
        """What the desk answers; whoever dies there asks for nothing any more."""
        try:
            return self.desk.work()
        except BaseException as over:
            self._over = over
            raise

    def receive(self, seconds: float) -> list[ask.Answer]:
        """See `Way.receive`."""
        self._may_end()
        found = self._take()
        if found or seconds <= 0:
            return found
        pause = self.desk.pause()
        self._told = False
        self._sim.scheduler.wait_for(
            lambda: self._told or bool(self._halted()), min(seconds, seconds if pause is None else pause)
        )
        self._may_end()
        return self._take()

    def _take(self) -> list[ask.Answer]:
        found, self._answers = self._answers + self._worked(), []
        return found

    def check(self) -> None:
        """Raise again what has ended the call."""
        if self._over is not None:
            raise self._over

    def _may_end(self) -> None:
        self.check()
        reason = self._halted()
        if reason:
            self._over = _Halted(reason)
        elif self._sim.faulty and self._sim.rng.random() < self._sim.faults.died:
            if self._sim.rng.random() < 0.5:
                self._worked()
            self._over = _Gone()
        if self._over is not None:
            raise self._over


class Stage:
    """One call of a parent.

    Args:
        sim: the story.
        call: what is called.
        make: makes its desk.
        halted: why it is to stop.
    """

    def __init__(self, sim: Simulation, call: Call, make: MakeDesk, halted: Callable[[], str]) -> None:
        self._sim = sim
        self._call = call
        inputs = msgspec.json.decode(call.inputs, type=Inputs)
        self._plot, self._turn = inputs.plot, inputs.turn
        self._halted = halted
        self._wire = Wire(sim, make, halted)
        self._attempt = CurrentAttempt.from_context(call.context)
        patience = sim.rng.choice((0.0, 0.0, 0.1, 1.0))
        self.parent = Parent(self._attempt, self._wire, Signature.of(_demo), patience=patience)
        self._runs: list[ChildRun[Any]] = []
        self._seen = sim.families.sight(self._attempt.path, self._attempt.launch)
        self._version = sim.families.version(sim.rng)

    def play(self) -> Ended:
        """Call it; how the call ended."""
        sim = self._sim
        sim.stages[sim.scheduler.current] = self.parent
        try:
            ended = self._played()
        finally:
            self.parent.close()
            self._wire.desk.close()
        sim.scheduler.note("parent", self._attempt.path, self._attempt.launch, type(ended).__name__)
        return ended

    def _played(self) -> Ended:
        try:
            values = self._values()
            self.parent.settle()
        except _Halted as halted:
            self._sim.scheduler.sleep(0.1)
            return Stopped(str(halted), killed=False)
        except _Gone:
            return Died(9, None, False, "the process was killed")  # as it is sent
        except SuspendedHere:
            waits, until = self.parent.waits()
            names = tuple(self._wire.desk.names(waits))
            return Suspended(waits, until, names=names, again=self.parent.again)
        except ActionEnded as error:
            return Raised(type(error).__name__, str(error), "", retryable=True)
        except ReconcilerError as error:
            self._seen.refused(error)
            return Raised(type(error).__name__, str(error), "", retryable=True)
        outputs = msgspec.json.encode({"o0": msgspec.json.encode(values).decode()})
        self._sim.world.ran.setdefault((self._attempt.path, self._attempt.launch), set()).add(outputs)
        return Returned(outputs)

    # -- scenes ------------------------------------------------------------------------------------------------------
    def _values(self) -> list[object]:
        """What came of each scene."""
        return [
            self._told(number, scene, getattr(self, f"_{scene.kind}")(scene))
            for number, scene in enumerate(self._plot)
        ]

    def _told(self, number: int, scene: Scene, found: object) -> object:
        """Compare what a scene has brought with what it brought before."""
        self._sim.families.played[f"{scene.kind} {LATE}" if str(found).endswith(LATE) else scene.kind] += 1
        self._wire.check()
        if str(found).endswith(LATE):
            self.parent.settle()  # who dies before that is kept has told nobody
        if scene.kind in _TOLD:
            failed = isinstance(found, ActionEnded)
            told = f"{type(found).__name__} {found}" if failed else found
            if scene.kind == "step":
                self._seen.kept(self._turn, found)
            # a limit that has not fired may fire in a later pass; one that has, fires again
            if scene.kind in {"wait", "step", "ask", "race"} or str(found).endswith(LATE):
                well = not (failed or scene.kind in _BY_TIME)
                # the time may be over sooner in a later pass: it is told of no more than the one before
                self._seen.saw((self._turn, number), told, well=well, cut=scene.kind == "stream")
            elif self._seen.was(LATE, (self._turn, number)):
                self._seen.saw((self._turn, number), told, well=False)
            if isinstance(found, ActionEnded) and not scene.catches:
                raise found
            return told
        return None

    def _start(self, scene: Scene) -> None:
        spec = self._spec(scene.cast[0])
        self._runs.append(submitting.start(self.parent, spec, submitting.Options(plan=NOW), _decoded))

    def _apart(self, scene: Scene) -> None:
        """Make a run of its own, which nobody waits for; its label is that of no other."""
        label = f"apart {self._attempt.path} {self._seen.life} {self._turn} {scene.cast[0].label}"
        spec = self._spec(msgspec.structs.replace(scene.cast[0], label=label))
        submitting.start(self.parent, spec, submitting.Options(plan=NOW, detached=True), _decoded)

    def _map(self, scene: Scene) -> None:
        specs = [self._spec(one) for one in scene.cast]
        calls = submitting.Calls(
            msgspec.structs.replace(specs[0], inputs=b""), [spec.inputs or b"" for spec in specs]
        )
        group = submitting.Group(
            "demo", keep_failures=True, options=submitting.Options(plan=NOW), concurrency=scene.window or None
        )
        self._runs.append(submitting.start_many(self.parent, calls, group, _decoded))

    def _wait(self, scene: Scene) -> object:
        run = self._runs[scene.of]
        try:
            value = run.result()
        except ActionEnded as ended:
            return ended
        return self._value(run, value)

    def _value(self, run: ChildRun[Any], value: Any) -> object:
        if not isinstance(value, str):
            return list(value)
        self._seen.came(run.action, value)
        return value

    def _limit(self, scene: Scene) -> object:
        try:
            return str(self._runs[scene.of].wait(timeout=scene.seconds))
        except ResultTimeout:
            return LATE

    def _over(self, scene: Scene) -> None:
        """Start over with other inputs."""
        self._sim.families.played["over"] += 1
        functions.continue_as_new(**msgspec.json.decode(msgspec.json.encode(scene.cast[0])))

    def _step(self, scene: Scene) -> object:
        return functions.step(scene.name, self._sim.families.fresh)

    def _sleep(self, scene: Scene) -> None:
        functions.sleep(scene.seconds)

    def _ask(self, scene: Scene) -> object:
        try:
            return functions.ask(scene.name, int, timeout=scene.seconds or None)
        except ActionEnded as ended:
            return ended

    def _abort(self, scene: Scene) -> None:
        self._runs[scene.of].abort()

    def _work(self, scene: Scene) -> None:
        if self._sim.scheduler.wait_for(lambda: bool(self._halted()), scene.seconds):
            raise _Halted(self._halted())

    def _spec(self, inputs: Inputs) -> ActionSpec:
        """Return a child, as this version of the code asks for it."""
        retries = 2 if inputs.mood == "flaky" else 0
        template = TaskTemplate(
            id=Identifier(name="demo", version=self._version),
            type="function",
            metadata=TaskMetadata(retries=RetryStrategy(retries=retries)),
            custom={"function": "demo"},
        )
        return ActionSpec(
            task_type="function",
            short_name="demo",
            task_template=encode_template(template),
            inputs=msgspec.json.encode(inputs),
        )


def _decoded(document: bytes) -> object:
    return msgspec.json.decode(document).get("o0")
