"""What goes wrong in one story: which kinds of faults, how often, drawn from its seed.

Each seed leaves some kinds out and takes others far (swarm testing): a story of many kills without a lost message finds
what one with a little of everything does not.
"""

from __future__ import annotations

import random

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities: per call unless said otherwise.

    Attributes:
        kill: the process dies at the call; half of the times the call still takes effect.
        freeze: the process stands still for up to a minute.
        lag: everything stands still for up to 3 s.
        store: Redis does not answer; half of the times the call takes effect.
        again: the connection broke, and the client repeated the call.
        blobs: S3 does not answer; half of the times the call takes effect.
        broker: the broker does not answer; half of the times it has the message.
        drop, double, delay: of a message on its way.
        cleanup: abort and finalize of the scripted plugin fail.
        died: the process of a parent dies at what it asks for, or where it waits.
        favourite: a call before which processes freeze much more often than before others; empty = none.
        favoured: how often they do.
        outpaced: as often, all that is under way arrives between the look of a step at an action and its commit.
    """

    kill: float = 0.0
    freeze: float = 0.0
    lag: float = 0.0
    store: float = 0.0
    again: float = 0.0
    blobs: float = 0.0
    broker: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    cleanup: float = 0.0
    died: float = 0.0
    favourite: str = ""
    favoured: float = 0.0
    outpaced: bool = False


_CHOICES: dict[str, tuple[float, ...]] = {
    "kill": (0.0, 0.0, 0.004, 0.015, 0.04),
    "freeze": (0.0, 0.0, 0.004, 0.015),
    "lag": (0.0, 0.003, 0.01),
    "store": (0.0, 0.0, 0.01, 0.05),
    "again": (0.0, 0.0, 0.02, 0.1),
    "blobs": (0.0, 0.05, 0.3),
    "broker": (0.0, 0.0, 0.05, 0.2),
    "drop": (0.0, 0.0, 0.1, 0.5),
    "double": (0.0, 0.2, 0.5),
    "delay": (0.0, 0.2, 0.5),
    "cleanup": (0.0, 0.2, 0.6),
    "favoured": (0.1, 0.8),
    "died": (0.0, 0.0, 0.01, 0.1),
}
FAVOURITES = (
    *("", "", "store.commit", "store.commit", "store.claim", "store.draw", "store.conclude"),
    *(
        "store.heartbeat",
        "store.create",
        "quotas.release",
        "quotas.allocate",
        "blobs.create_many",
        "broker.ticket",
    ),
    *("store.pick", "store.give_back", "store.announce"),
)
OF_STEPS = ("", "store.commit", "store.commit", "store.commit")
OF_ATTEMPTS = (
    *(
        "",
        "store.commit",
        "store.commit",
        "store.finish_attempts",
        "store.conclude",
        "store.conclude",
        "store.heartbeat",
    ),
    *("store.draw", "store.pick", "store.give_back", "blobs.create_many"),
)
OF_CROWD = (
    "",
    "store.give_back",
    "store.give_back",
    "store.draw",
    "store.conclude",
    "store.heartbeat",
)
OF_PACKS = ("blobs.create_many", "store.finish_attempts", "store.conclude", "store.conclude")
OF_FAMILIES = (
    *("", "store.commit", "store.create", "store.create", "store.keep_step", "store.get_many"),
    *("store.finish_attempts", "store.conclude", "store.draw", "store.heartbeat"),
)
OF_CACHE = (
    *("", "store.commit", "catalog.put", "catalog.put", "catalog.put"),
    *("catalog.get_or_extend_reservation", "catalog.release_reservation"),
)


def drawn(rng: random.Random, favourites: tuple[str, ...] = FAVOURITES) -> Faults:
    """Return the faults of one story."""
    rates = {name: rng.choice(choices) for name, choices in _CHOICES.items()}
    favourite, outpaced = rng.choice(favourites), rng.random() < 0.3
    return msgspec.structs.replace(Faults(), **rates, favourite=favourite, outpaced=outpaced)
