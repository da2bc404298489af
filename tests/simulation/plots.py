"""What the functions of a story do: alone, or as parents that start others, wait, sleep, ask and give up."""

from __future__ import annotations

import random

import msgspec

_MOODS = ("good", "good", "good", "flaky", "bad")
_DEEPEST = 2


class Scene(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a parent does.

    Attributes:
        kind: `start`, `map`, `wait`, `step`, `sleep`, `ask`, `abort`, `work`; `apart` starts a run of its own, `limit` waits
            for a time, `over` starts over; in an event loop also `nap`, a sleep with a limit, `race`, which of two is first,
            and `stream`, results as they come, for a time.
        cast: of `start` and `map`: what the functions that are started are given.
        of: of waits and `abort`: which of those that were started.
        other: of `race`: another one of them.
        name: of `step` and `ask`.
        seconds: of `sleep` and `work`, or until a wait is given up; of `ask`: how long to wait for the answer,
            0 = as long as it takes.
        window: of `map`: how many may be open at a time, 0 = all.
        catches: of `wait` and `ask`: goes on when it fails.
    """

    kind: str
    cast: tuple[Inputs, ...] = ()
    of: int = 0
    other: int = 0
    name: str = ""
    seconds: float = 0
    window: int = 0
    catches: bool = False


class Inputs(msgspec.Struct, frozen=True, omit_defaults=True):
    """Inputs of functions and of the scripted plugins.

    Attributes:
        x: counts in cache keys.
        mood: `good` always succeeds in the end, `flaky` may fail by its own fault, `bad` always does.
        units: of the quota the scripted plugin asks for.
        label: tells what one parent starts from another; the same twice is asked for twice.
        plot: what it does, if it is a parent.
        loop: whether it does that in an event loop.
        turn: how often it has started over.
    """

    x: int = 0
    mood: str = "good"
    units: int = 0
    label: str = ""
    plot: tuple[Scene, ...] = ()
    loop: bool = False
    turn: int = 0


def asked_for(plot: tuple[Scene, ...], label: str) -> int:
    """Count how often a plot starts this, before it starts over and after."""
    later = sum(asked_for(scene.cast[0].plot, label) for scene in plot if scene.kind == "over")
    return later + sum(one.label == label for scene in plot if scene.kind != "over" for one in scene.cast)


def drawn_impatient(rng: random.Random, depth: int = 0, turn: int = 0) -> Inputs:
    """What a parent does that gives waits up, races, starts runs of its own, and starts over."""
    loop = rng.random() < 0.7
    scenes, number = [], 0
    for _ in range(rng.randrange(1, 4 - depth)):
        few = [rng.randrange(1, 4) if rng.random() < 0.4 else 1 for _ in range(2)]
        for index, count in enumerate(few):
            cast = tuple(
                _impatient_child(rng, depth, f"{turn}.{number + index}.{each}") for each in range(count)
            )
            window = rng.choice((0, 1, 2)) if count > 1 else 0
            scenes.append(Scene("map" if count > 1 else "start", cast, window=window))
        maps = [number + index for index, count in enumerate(few) if count > 1]
        scenes += _impatient_waits(rng, number, maps if loop else [], loop=loop)
        number += 2
    if depth == turn == 0 and rng.random() < 0.4:
        scenes.append(Scene("over", (drawn_impatient(rng, depth, turn + 1),)))
    return Inputs(plot=tuple(scenes), loop=loop, turn=turn)


def _impatient_waits(rng: random.Random, number: int, maps: list[int], *, loop: bool) -> list[Scene]:
    """Wait for two that were started; return, for the second time, what became of them."""
    kinds = (
        ["limit", "limit", "apart", "step", "sleep", "work"]
        + ["race", "race", "nap"] * loop
        + ["stream"] * len(maps)
    )
    scenes = []
    for _ in range(rng.randrange(1, 4)):
        kind = rng.choice(kinds)
        of = rng.choice(maps) if kind == "stream" else number + rng.randrange(2)
        cast = (Inputs(label=f"{number}.{len(scenes)}"),) if kind == "apart" else ()
        seconds = rng.choice((0.05, 0.5, 2, 8) if kind != "sleep" else (2, 40))
        other = 2 * number + 1 - of
        scenes.append(Scene(kind, cast, of=of, other=other, name="token", seconds=seconds))
    return [*scenes, *(Scene("wait", of=of, catches=rng.random() < 0.9) for of in (number, number + 1))]


def _impatient_child(rng: random.Random, depth: int, label: str) -> Inputs:
    if depth < 1 and rng.random() < 0.2:
        return msgspec.structs.replace(drawn_impatient(rng, depth + 1), label=label, mood=rng.choice(_MOODS))
    return Inputs(mood=rng.choice(_MOODS), label=label)


def drawn_plot(rng: random.Random, depth: int = 0) -> tuple[Scene, ...]:
    """What one parent does: it starts some, and waits for all of them but a few, in any order."""
    scenes: list[Scene] = []
    waits: list[int] = []
    for number in range(rng.randrange(1, 5 - depth)):
        few = 1 if rng.random() < 0.7 else rng.randrange(1, 4)
        cast = tuple(_drawn_inputs(rng, depth, f"c{number}.{index}") for index in range(few))
        if number and rng.random() < 0.2:  # exactly what was asked for before
            cast = next(scene.cast for scene in scenes if scene.cast)
        window = rng.choice((0, 1, 2)) if len(cast) > 1 else 0
        scenes.append(Scene("start" if len(cast) == 1 else "map", cast, window=window))
        waits.append(len([scene for scene in scenes if scene.cast]) - 1)
        while waits and rng.random() < 0.5:
            scenes.append(_wait(rng, waits))
        if rng.random() < 0.5:
            scenes.append(_other(rng, number))
    while waits:
        scenes.append(_wait(rng, waits))
    if rng.random() < 0.3:  # one that nobody waits for
        scenes.append(Scene("start", (_drawn_inputs(rng, _DEEPEST, "last"),)))
    return tuple(scenes)


def _wait(rng: random.Random, waits: list[int]) -> Scene:
    of = waits.pop(rng.randrange(len(waits)))
    return Scene("wait", of=of, catches=rng.random() < 0.7)


def _other(rng: random.Random, number: int) -> Scene:
    kind = rng.choice(("step", "step", "sleep", "ask", "abort", "work"))
    seconds = {"sleep": (0, 2, 40), "work": (0.05, 2), "ask": (0, 0, 30)}.get(kind, (0,))
    names = {"step": "token", "ask": f"q{number}"}
    return Scene(kind, name=names.get(kind, ""), seconds=rng.choice(seconds), catches=rng.random() < 0.7)


def _drawn_inputs(rng: random.Random, depth: int, label: str) -> Inputs:
    plot = drawn_plot(rng, depth + 1) if depth < _DEEPEST and rng.random() < 0.25 else ()
    return Inputs(mood=rng.choice(_MOODS), label=label, plot=plot)
