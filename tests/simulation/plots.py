"""What the functions of a story do: alone, or as parents that start others, wait, sleep, ask and give up."""

from __future__ import annotations

import random

import msgspec

_MOODS = ("good", "good", "good", "flaky", "bad")
_DEEPEST = 2


class Scene(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a parent does.

    Attributes:
        kind: `start`, `map`, `wait`, `step`, `sleep`, `ask`, `abort`, `work`.
        cast: of `start` and `map`: what the functions that are started are given.
        of: of `wait` and `abort`: which of those that were started.
        name: of `step` and `ask`.
        seconds: of `sleep` and `work`; of `ask`: how long to wait for the answer, 0 = as long as it takes.
        window: of `map`: how many may be open at a time, 0 = all.
        catches: of `wait` and `ask`: goes on when it fails.
    """

    kind: str
    cast: tuple[Inputs, ...] = ()
    of: int = 0
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
    """

    x: int = 0
    mood: str = "good"
    units: int = 0
    label: str = ""
    plot: tuple[Scene, ...] = ()


def asked_for(plot: tuple[Scene, ...], label: str) -> int:
    """How often a plot starts this."""
    return sum(one.label == label for scene in plot for one in scene.cast)


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
