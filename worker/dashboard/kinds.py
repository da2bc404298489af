"""The bars of a timeline, and what each kind of them says."""

from __future__ import annotations

from typing import Final

import msgspec

WAITS, RUNS, ASKS, ERRED, FAILED, LOST, WHOLE, RESTS, TAKEN, PASSES = (
    "waits", "runs", "asks", "erred", "failed", "lost", "whole", "suspended", "taken", "passes"
)  # fmt: skip
"""What an action did during a bar. `erred`: it ran, and its attempt failed; `lost`: it ran, and was launched again, because
its worker was lost or the platform failed. `whole`: it waited and ran, and `failed`: so did an attempt that failed; where
the one ended and the other began is not kept of what ran only for a moment. `suspended`: it gave its worker away, and waits
for what it started. `taken`: it neither waited nor ran, because its outputs were taken over from another run.
`passes`: it ran and was suspended in turns, at times that are not known here."""


class Bar(msgspec.Struct, array_like=True):
    """One piece of a timeline; `end` 0: it goes on; `why` it waits or failed, as far as that is told."""

    kind: str
    start: int
    end: int = 0
    attempt: int = 1
    why: str = ""


WHY: Final = 160
"""Most characters of why an action waited or failed that a bar tells."""
