"""Check that a task which starts tasks does the same in each pass: suspended at every wait, called twice each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from reconciler.api.action import ActionId, AttemptOutcome, TaskAction
from reconciler.api.errors import InvalidArguments
from reconciler.api.phase import ActionPhase
from reconciler.children import requests as ask
from reconciler.core.functions import RegisteredFunction
from reconciler.plugins.context import TaskExecutionContext
from reconciler.task import Task
from reconciler.testing.lab import Lab
from reconciler.testing.playing import Answer, Passes, Player
from reconciler.testing.worker import LabWorker, Pass

_REMEDY = (
    "Decide on the time, on random numbers, on the order of a set and on what the world says inside a step, which keeps "
    "what it returned; docs/composing.md tells what replays."
)
_NO_TASK = (
    "check_replay wants a task and its arguments, and was given {}. Declare the function with @env.task of a "
    "TaskEnvironment, then write check_replay(album, keys), without calling it yourself."
)
_LONGEST = 120


class ReplayDiffers(AssertionError):
    """A pass of a task did not do what the pass before it did.

    Attributes:
        differences: a sentence each.
    """

    def __init__(self, task: str, differences: list[str]) -> None:
        self.differences = differences
        super().__init__("\n".join([f"{task} differs between its passes:", *differences, _REMEDY]))


class Replayed(NamedTuple):
    """A task whose passes are all alike, and its result.

    Attributes:
        result: what it returned.
        passes: how often it was called until its end, the second call of each pass not counted.
    """

    result: Any
    passes: int


def check_replay(
    task: Task[Any, Any],
    *args: Any,  # noqa: ANN401  # arguments of the task
    answers: Mapping[str, Answer] | None = None,
    **kwargs: Any,  # noqa: ANN401  # as above
) -> Replayed:
    """Play a task in a lab of its own, suspended wherever it waits, and call it twice in each pass.

    Both calls of a pass must ask for the same things, in whatever order, and end the same way; and each pass must ask for
    all that the one before it has asked for. Its own effects happen in each call; the tasks it starts run once each.

    Args:
        task: the task.
        *args: its positional arguments.
        answers: what is answered to its questions, by their name; those without one are answered by True, 1, 1.0 or "yes".
        **kwargs: its keyword arguments.

    Raises:
        ReplayDiffers: a pass differs; the message says how.
        NeverEnds: it goes on for ever, or something it waits for does.
        InvalidArguments: no task was given, or arguments that do not fit it, or an answer to what was never asked.
        ActionFailed, ActionAborted, ActionTimedOut: the task ended otherwise than by success, in the same way in each pass.
    """
    if not isinstance(task, Task):
        raise InvalidArguments(_NO_TASK.format(f"{task!r:.100}"))
    lab = Lab()
    with _client_of(task, lab):
        run = task.submit(args, kwargs)
        lab.worker = checked = _Checked(lab, task.name, run.action)
        player = Player(lab, run.action, answers or {})
        player.play()
        if player.asked or run.phase is ActionPhase.SUCCEEDED:
            player.check_answers()
        return Replayed(run.result(timeout=0), checked.passes)


@contextmanager
def _client_of(task: Task[Any, Any], lab: Lab) -> Iterator[None]:
    env: Any = task.env
    before = env._client  # noqa: SLF001  # asking for it would make one
    env.client = lab.client
    try:
        yield
    finally:
        env._client = before  # noqa: SLF001  # as above


class _Checked(LabWorker):
    """Calls the function of one action twice in each pass, and compares."""

    def __init__(self, lab: Lab, task: str, action: ActionId) -> None:
        super().__init__(lab)
        self._task = task
        self._action = action
        self._before: dict[str, str] = {}
        self._history: object = None
        self._all = Passes()
        self.passes = 0

    def one_pass(
        self, record: TaskAction, context: TaskExecutionContext, function: RegisteredFunction
    ) -> Pass:
        """Call it twice.

        Raises:
            ReplayDiffers: the calls differ, or the pass from the one before it.
            NeverEnds: an action has had too many passes.
        """
        first = super().one_pass(record, context, function)
        self._all.count(record)
        if record.id != self._action:
            return first
        self.passes += 1
        second = super().one_pass(record, context, function)
        history = (record.status.attempts, record.status.start_over)
        before = self._before if history == self._history else {}
        told = _differences(self.passes, before, first, second)
        if told:
            raise ReplayDiffers(self._task, told)
        self._before, self._history = _things(first), history
        return first


def _differences(number: int, before: Mapping[str, str], first: Pass, second: Pass) -> list[str]:
    one, two = _things(first), _things(second)
    told = [
        f"pass {number} did not ask for {before[key]}, which the pass before it has asked for"
        for key in before
        if key not in one
    ]
    told += [
        f"pass {number} asked for {one[key]}; called a second time, it did not"
        for key in one
        if key not in two
    ]
    told += [
        f"pass {number}, called a second time, asked for {two[key]}; the first time it did not"
        for key in two
        if key not in one
    ]
    ends = _end(first), _end(second)
    if not told and ends[0] != ends[1]:
        told.append(f"pass {number} {ends[0]}; called a second time, it {ends[1]}")
    return told


def _end(ended: Pass) -> str:
    outcome = ended.outcome
    if outcome is None:
        return f"returned {_cut(ended.result)}"
    if outcome.ended == "raised":
        return f"raised [{outcome.code}] {outcome.message}"
    return _suspension(outcome)


def _suspension(outcome: AttemptOutcome) -> str:
    over = outcome.start_over
    if over is not None:
        return f"started over with {_cut(over.inputs or over.sha256.encode())}"
    waits = ", ".join(sorted(outcome.waits)) or "a time"
    return f"waited for {waits}{f' until {outcome.until}' if outcome.until else ''}"


def _things(ended: Pass) -> dict[str, str]:
    """Name what a pass has asked for, so that people can tell the things apart."""
    found: dict[str, str] = {}
    for request in ended.asked:
        key, text = _thing(request)
        if text:
            found[key] = text
    return found


def _thing(request: ask.Request) -> tuple[str, str]:
    match request:
        case ask.Start():
            spec = request.spec
            text = f"{spec.short_name or spec.task_type}({_cut(spec.inputs or b'')})"
            return f"{text} {spec.inputs!r} {request.asked} {request.detached}", _nth(text, request.asked)
        case ask.StartGroup():
            text = f"a map of {request.total} {request.stem}"
            return f"{text} {request.digest} {request.asked}", _nth(text, request.asked)
        case ask.Question():
            text = f"the question {request.texts['name']!r}"
            return f"{sorted(request.texts.items())} {request.key} {request.asked}", _nth(text, request.asked)
        case ask.Keep():
            return request.name, f"the {request.name.partition('/')[0]} {request.name.partition('/')[2]!r}"
        case _:
            return "", ""


def _nth(text: str, asked: int) -> str:
    return f"{text} once more ({asked + 1})" if asked else text


def _cut(data: bytes) -> str:
    text = data.decode(errors="replace")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
