"""The bars of a timeline, and what each kind of them says."""

from __future__ import annotations

import msgspec

WAITS, RUNS, ASKS, FAILED, WHOLE, RESTS, TAKEN, PASSES = (
    "waits", "runs", "asks", "failed", "whole", "suspended", "taken",  "passes"
)  # fmt: skip
"""What an action did during a bar. `whole`: it waited and ran, and `failed`: so did an attempt that failed; where the one
ended and the other began is not kept of what ran only for a moment. `suspended`: it has given its worker away, and waits
for what it started. `taken`: it neither waited nor ran, because its outputs were taken over from another run.
`passes`: it ran and was suspended in turns, at times that are not known here."""


class Bar(msgspec.Struct, array_like=True):
    """One piece of a timeline; `end` 0: it goes on."""

    kind: str
    start: int
    end: int = 0
    attempt: int = 1
