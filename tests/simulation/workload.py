"""What clients do in one story: submissions of every kind, aborts, signals, and the same again."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import (
    Identifier,
    Interface,
    RetryStrategy,
    SecretRef,
    TaskMetadata,
    TaskTemplate,
    Timeouts,
    encode_template,
)
from reconciler.client import Client
from reconciler.plugins import group
from tests.simulation import pasts
from tests.simulation.faults import (
    FAVOURITES,
    OF_ATTEMPTS,
    OF_CACHE,
    OF_CROWD,
    OF_FAMILIES,
    OF_PACKS,
    OF_STEPS,
)
from tests.simulation.plots import Inputs, drawn_impatient, drawn_plot
from tests.simulation.world import GPU

Do = Callable[[Client], Any]


class Theme(msgspec.Struct, frozen=True):
    """What one story is mostly about.

    Attributes:
        kinds: weights of naps, tasks, groups, late children, conditions and functions that start others.
        maps: weight of maps that start their members some at a time.
        cached, functions, greedy: shares of the tasks that are cached, that are functions, that need a quota.
        alike: all tasks are the same serialized call.
        aborted: share of the submissions somebody aborts.
        again: share of those whose name is used again, often after the run was forgotten.
        remade: share of those of which another run is made later: all again, or what did not succeed.
        deleted: share of those that somebody asks to have deleted from the archive.
        bulks: share of those after which a run is made of each of many.
        secrets: share of the functions that read one, and so are drawn alone.
        crowd: most tasks of a group: of a long line several are drawn together.
        quick: functions take no time, so those that are drawn together are written together.
        turns: groups have fair keys and priorities.
        timed: share of naps, tasks and groups that have a countdown, or expire.
        favourites: calls before which processes like to freeze.
        impatient: functions that start others give waits up, start over, and start runs of their own.
    """

    kinds: tuple[int, int, int, int, int, int] = (1, 3, 1, 1, 1, 1)
    maps: int = 0
    cached: float = 0.4
    functions: float = 0.5
    greedy: float = 0.4
    alike: bool = False
    secrets: float = 0.3
    crowd: int = 4
    quick: bool = False
    aborted: float = 0.3
    again: float = 0.3
    remade: float = 0.1
    deleted: float = 0.0
    bulks: float = 0.0
    turns: bool = False
    timed: float = 0.0
    favourites: tuple[str, ...] = FAVOURITES
    impatient: bool = False


CROWD = Theme(
    (0, 0, 1, 0, 0, 0), cached=0.0, functions=1.0, greedy=0.0, secrets=0.0, crowd=16, favourites=OF_CROWD
)
PACKS = msgspec.structs.replace(CROWD, quick=True, crowd=24, remade=0.5, favourites=OF_PACKS)
TURNS = msgspec.structs.replace(CROWD, secrets=1.0, crowd=24, turns=True)
TIMED = Theme((1, 3, 2, 0, 0, 0), cached=0.2, functions=0.7, greedy=0.3, aborted=0.1, crowd=8, timed=0.7)
MAPS = Theme((0, 0, 0, 1, 0, 0), maps=5, favourites=OF_STEPS)
FAMILY = Theme((0, 0, 0, 0, 0, 1), favourites=OF_FAMILIES)
IMPATIENT = msgspec.structs.replace(FAMILY, impatient=True, aborted=0.2)
NIGHTLY = Theme((0, 1, 4, 1, 0, 1), cached=0.0, functions=0.4, again=0.7, remade=0.9)
PAST = msgspec.structs.replace(NIGHTLY, kinds=(0, 2, 4, 1, 0, 1), deleted=0.5, bulks=0.3)
_ALIKE = Theme((0, 4, 1, 0, 0, 0), 1.0, 1.0, 0.0, alike=True, favourites=OF_CACHE)
ALIKE_ELSEWHERE = msgspec.structs.replace(_ALIKE, functions=0.0)
THEMES = (
    Theme(),
    Theme((0, 4, 1, 0, 0, 0), cached=0.0, functions=1.0, favourites=OF_ATTEMPTS),
    Theme((0, 4, 1, 0, 0, 0), cached=0.0, functions=0.3, greedy=1.0),
    Theme((0, 0, 1, 2, 2, 0)),
    Theme((1, 0, 0, 0, 4, 0), favourites=OF_STEPS),
    _ALIKE,
    msgspec.structs.replace(_ALIKE, aborted=0.8),
    ALIKE_ELSEWHERE,
    CROWD,
    msgspec.structs.replace(CROWD, aborted=0.8),
    NIGHTLY,
    FAMILY,
    msgspec.structs.replace(FAMILY, aborted=0.8),
    PAST,
)
_SCRIPTED = ("tidy", "plain")
_MOODS = ("good", "good", "flaky", "bad")
PROJECT, DOMAIN = "default", "development"
_ENDS = {ActionPhase.SUCCEEDED, ActionPhase.FAILED}


def submitting(spec: ActionSpec, **times: Any) -> Do:
    """Let a client submit one action."""
    return lambda client: client.submit(spec, **times)


def signalling(action: ActionId, value: int, by: str) -> Do:
    """Let a client answer a condition."""
    return lambda client: client.signal(action, value, by)


class Op(msgspec.Struct, frozen=True):
    """One thing a client does, `at` ms after the beginning. `names` are the actions it stores."""

    at: int
    label: str
    do: Do
    names: tuple[str, ...] = ()


class Expected(msgspec.Struct):
    """How one action may end; `abortable` since somebody may abort it, or its parent may end before it."""

    ends: set[ActionPhase]
    abortable: bool = False


class Workload:
    """All that clients do, drawn from a seed.

    Attributes:
        theme: what it is mostly about.
        ops: in the order of their times.
        expected: how each action may end, by its path.
        conditions: those that wait for a signal without a limit.
        families: runs of functions that start others.
        remade: runs that are made of others.
        deleted: lives of runs, `project/domain/run@incarnation`, of which clients were told that they are deleted.
    """

    def __init__(self, rng: random.Random, size: int | None = None, theme: Theme | None = None) -> None:
        self.rng = rng
        self.ops: list[Op] = []
        self.expected: dict[str, Expected] = {}
        self.conditions: list[ActionId] = []
        self.families: set[str] = set()
        self.remade: set[str] = set()
        self.deleted: set[str] = set()
        self._ordinary: set[str] = set()
        self._runs: list[str] = []
        self._span = rng.choice((0, 5_000, 60_000))
        drawn = rng.choice(THEMES)
        self.theme = theme or drawn
        self._mood = rng.choice(_MOODS)
        for _ in range(rng.randrange(2, 7) if size is None else size):
            self.add()
        self.ops.sort(key=lambda op: op.at)

    def add(self) -> None:
        """Add one more submission, with what may come after it."""
        rng = self.rng
        run = f"r{len(self._runs)}"
        self._runs.append(run)
        kinds = (
            self._nap,
            self._task,
            self._group,
            self._late_children,
            self._condition,
            self._family,
            self._map,
        )
        kind = rng.choices(kinds, (*self.theme.kinds, self.theme.maps))[0]
        if kind in {self._task, self._group}:
            self._ordinary.add(run)
        names = kind(run)
        first = next(op for op in self.ops if op.label == f"submit {run}")
        if rng.random() < self.theme.aborted:
            self._abort(run, names, first.at)
        if rng.random() < 0.3:  # the same again, as by a client that never got its answer
            self.ops.append(msgspec.structs.replace(first, at=self._soon(first.at)))
        if (
            rng.random() < self.theme.again
        ):  # its name used again, as each day by a nightly run: often after it was forgotten
            self.ops.append(msgspec.structs.replace(first, at=first.at + rng.randrange(60_000, 300_000)))

        if run not in self.families and rng.random() < self.theme.remade:
            self._remake(run, names, first.at)
        if self.theme.deleted or self.theme.bulks:
            self._past(run, names, first.at)

    def _remake(self, run: str, names: list[str], after: int) -> None:
        """Make another run of this one once it has ended, while it is kept, forgotten, or in the archive."""
        rng = self.rng
        again = f"{run}-again"
        source = ActionId.parse(names[0]).run_id
        self.remade.add(again)
        if source.action("a0") in self.conditions:
            self.conditions.append(ActionId(PROJECT, DOMAIN, again, "a0"))
        ends = {
            f"{PROJECT}/{DOMAIN}/{again}/{ActionId.parse(name).action}": self.expected[name] for name in names
        }
        for name, expected in ends.items():
            self.expected[name] = Expected({*expected.ends, *_ENDS, ActionPhase.RECOVERED}, abortable=True)
        verb, make = pasts.making(rng, names, again, changeable=run in self._ordinary)
        for _ in range(rng.randrange(1, 4)):  # the same call again gives the same run
            self.ops.append(Op(self._later(after), f"{verb} {run}", make))

    def _later(self, after: int) -> int:
        """Choose a time when what was begun then has ended, or has been forgotten."""
        return after + self.rng.randrange(2_000, self.rng.choice((30_000, 200_000)))

    def _past(self, run: str, names: list[str], after: int) -> None:
        """Ask to delete it from the archive, and make runs of many at once."""
        rng = self.rng
        source = ActionId.parse(names[0]).run_id
        if rng.random() < self.theme.deleted:
            self.ops.append(Op(self._later(after), f"delete {run}", pasts.deleting(source, self.deleted)))
        if rng.random() < self.theme.bulks:
            bulk = pasts.bulking(rng, f"bulk-{run}", self._ordinary, self.remade)
            for _ in range(rng.randrange(1, 4)):
                self.ops.append(Op(self._later(after), f"bulk-{run}", bulk))

    def _soon(self, after: int) -> int:
        """Return a time after another one: in the middle of the first step, or any."""
        return after + self.rng.randrange(self.rng.choice((1, 50, 1_000, 20_000, 90_000)))

    # -- submissions -----------------------------------------------------------------------------------------------
    def _submit(self, run: str, do: Do, ends: dict[str, set[ActionPhase]]) -> list[str]:
        names = [f"{PROJECT}/{DOMAIN}/{run}/{name}" for name in ends]
        self.expected |= {name: Expected(found) for name, found in zip(names, ends.values(), strict=True)}
        at = self.rng.randrange(self._span) if self._span else 0
        self.ops.append(Op(at, f"submit {run}", do, tuple(names)))
        return names

    def _timed(self, run: str, do: Callable[..., Do], ends: dict[str, set[ActionPhase]]) -> list[str]:
        """Submit with a time before which it may not begin, and one until which it has to."""
        rng, times = self.rng, dict[str, float]()
        if self.theme.timed and rng.random() < self.theme.timed:
            times["countdown"] = rng.choice((0, 1, 20, 60))
            if rng.random() < 0.7:
                times["expires"] = times["countdown"] + rng.choice((0.001, 0.1, 1, 10, 60))
        names = self._submit(run, do(**times), ends)
        for name in names:
            self.expected[name].abortable = "expires" in times
        return names

    def _nap(self, run: str) -> list[str]:
        spec = msgspec.structs.replace(self._nap_spec(self.rng.choice((0, 1, 20, 90))), run_name=run)
        return self._timed(run, lambda **times: submitting(spec, **times), {"a0": {ActionPhase.SUCCEEDED}})

    @staticmethod
    def _nap_spec(seconds: int) -> ActionSpec:
        template = TaskTemplate(
            id=Identifier(project=PROJECT, domain=DOMAIN, name="nap"),
            type="core-sleep",
            interface=Interface(inputs={"duration": "duration"}),
        )
        inputs = msgspec.json.encode({"duration": seconds})
        return ActionSpec(task_type="core-sleep", task_template=encode_template(template), inputs=inputs)

    def _task(self, run: str) -> list[str]:
        spec, ends = self.task()
        spec = msgspec.structs.replace(spec, run_name=run)
        return self._timed(run, lambda **times: submitting(spec, **times), {"a0": ends})

    def _group(self, run: str) -> list[str]:
        rng = self.rng
        tasks = [self.task() for _ in range(rng.randrange(1, self.theme.crowd + 1))]
        keep = rng.random() < 0.5
        found = [spec for spec, _ in tasks]
        root = {ActionPhase.SUCCEEDED} if keep else _ENDS
        ends = {"a0": root, **{f"m{i}": e for i, (_, e) in enumerate(tasks)}}
        turn = {"fair_key": rng.choice("abc"), "priority": rng.choice((0, 5, 5))} if self.theme.turns else {}
        submit = partial(partial, Client.submit_many, specs=found, run=run, keep_failures=keep, **turn)
        names = self._timed(run, submit, ends)
        for name in names[1:]:
            self.expected[name].abortable = True
        return names

    def _map(self, run: str) -> list[str]:
        """Return naps, some of which cannot be; only the root is stored by its submission."""
        rng = self.rng
        keep = rng.random() < 0.5
        seconds = [rng.choice((0, 0, 1, 20, "wrong")) for _ in range(rng.randrange(1, 12))]
        spec = msgspec.structs.replace(self._nap_spec(0), inputs=None)
        items = [msgspec.json.encode({"duration": each}) for each in seconds]
        most = rng.randrange(1, 5)
        root = {ActionPhase.SUCCEEDED} if keep or "wrong" not in seconds else _ENDS
        names = self._submit(
            run,
            lambda client: client.submit_map(spec, items, concurrency=most, run=run, keep_failures=keep),
            {"a0": root},
        )
        for index in range(len(seconds)):
            self.expected[f"{PROJECT}/{DOMAIN}/{run}/m{index}"] = Expected(_ENDS, abortable=True)
        return names

    def _family(self, run: str) -> list[str]:
        """Return a function that starts others."""
        rng = self.rng
        self.families.add(run)
        limits = (
            Timeouts(overall=timedelta(seconds=rng.choice((60, 300)))) if rng.random() < 0.15 else Timeouts()
        )
        template = TaskTemplate(
            id=Identifier(project=PROJECT, domain=DOMAIN, name="parent"),
            type="function",
            metadata=TaskMetadata(retries=RetryStrategy(retries=rng.choice((0, 2))), timeouts=limits),
            custom={"function": "demo"},
        )
        inputs = drawn_impatient(rng) if self.theme.impatient else Inputs(plot=drawn_plot(rng))
        spec = ActionSpec(
            run_name=run,
            task_type="function",
            task_template=encode_template(template),
            inputs=msgspec.json.encode(inputs),
        )
        return self._submit(run, submitting(spec), {"a0": _ENDS | {ActionPhase.TIMED_OUT}})

    def _condition(self, run: str) -> list[str]:
        rng = self.rng
        limit = timedelta(seconds=rng.choice((1, 30, 120))) if rng.random() < 0.5 else None
        ends = {ActionPhase.SUCCEEDED} | ({ActionPhase.TIMED_OUT} if limit else set())
        names = self._submit(
            run, lambda client: client.condition("ok", "int", timeout=limit, run=run), {"a0": ends}
        )
        action = ActionId.parse(names[0])
        self.conditions.append(action)
        for _ in range(rng.randrange(3)):
            value, at = rng.randrange(2), self._soon(self.ops[-1].at)
            self.ops.append(Op(at, f"signal {run}", signalling(action, value, "ada")))
        return names

    def _late_children(self, run: str) -> list[str]:
        """Return a group whose children are stored one by one, and not always all of them in time."""
        rng = self.rng
        count, missing = rng.randrange(1, 4), rng.random() < 0.5
        template = encode_template(TaskTemplate(type=group.TASK_TYPE))
        config = msgspec.json.encode(group.GroupConfig(expected=count + missing))
        root = ActionSpec(run_name=run, task_type=group.TASK_TYPE, task_template=template, inputs=config)
        names = self._submit(run, submitting(root), {"a0": _ENDS})
        start = self.ops[-1].at
        for index in range(count):
            spec, ends = self._long_nap() if rng.random() < 0.5 else self.task()
            name = f"m{index}"
            child = msgspec.structs.replace(spec, run_name=run, action_name=name, parent_action_name="a0")
            names.append(f"{PROJECT}/{DOMAIN}/{run}/{name}")
            self.expected[names[-1]] = Expected(ends, abortable=True)
            at = self._soon(start)
            self.ops.append(Op(at, f"child {run}", submitting(child), (names[-1],)))
        return names

    def _long_nap(self) -> tuple[ActionSpec, set[ActionPhase]]:
        return self._nap_spec(300), {ActionPhase.SUCCEEDED}

    def task(self) -> tuple[ActionSpec, set[ActionPhase]]:
        """Return a task of a random kind, and how it may end when nobody aborts it."""
        rng, theme = self.rng, self.theme
        kind = (
            "function"
            if rng.random() < theme.functions
            else rng.choice(("tidy",) if theme.alike else _SCRIPTED)
        )
        cached = rng.random() < theme.cached
        greedy = rng.random() < theme.greedy
        inputs = Inputs(
            x=rng.randrange(2) if cached and not theme.alike else 0,
            mood=self._mood if theme.alike else rng.choice(_MOODS),
            units=rng.choice((1, 2)) if kind != "function" and greedy else 0,
        )
        limits = self._limits() if rng.random() < 0.25 else Timeouts()
        backoff = timedelta(seconds=rng.choice((0, 3)))
        policy = TaskMetadata(
            discoverable=cached,
            cache_serializable=cached and (theme.alike or rng.random() < 0.8),
            retries=RetryStrategy(retries=rng.choice((0, 2)), backoff=backoff),
            timeouts=limits,
        )
        custom = {"function": "demo", "resource": GPU if greedy else ""} if kind == "function" else {}
        template = TaskTemplate(
            # a key of a serialized task is filled by serialized ones alone
            id=Identifier(project=PROJECT, domain=DOMAIN, name=f"{kind}-{policy.cache_serializable}"),
            type=kind,
            metadata=policy,
            interface=Interface(inputs={"x": "int", "mood": "str", "units": "int"}, outputs={"o0": "str"}),
            custom=custom,
            # what reads secrets is drawn alone
            secrets=(SecretRef(key="token", env="TOKEN"),)
            if kind == "function" and rng.random() < theme.secrets
            else (),
        )
        spec = ActionSpec(
            task_type=kind,
            task_template=encode_template(template),
            inputs=msgspec.json.encode(inputs),
            cache_key="v1" if cached else "",
        )
        timed = limits != Timeouts()
        return spec, _ENDS | ({ActionPhase.TIMED_OUT} if timed else set())

    def _limits(self) -> Timeouts:
        rng = self.rng

        def some(*seconds: float) -> timedelta | None:
            return timedelta(seconds=rng.choice(seconds)) if rng.random() < 0.5 else None

        return Timeouts(queued=some(1, 30), running=some(1, 10), heartbeat=some(2, 20), overall=some(5, 120))

    # -- interfering -----------------------------------------------------------------------------------------------
    def _abort(self, run: str, names: list[str], after: int) -> None:
        rng = self.rng
        chosen = rng.choice(names)
        for name in names if chosen == names[0] else [chosen]:
            self.expected[name].abortable = True
        action = ActionId.parse(chosen)
        at = self._soon(after)
        self.ops.append(Op(at, f"abort {run}", lambda client: client.abort(action, "enough", "ada")))
