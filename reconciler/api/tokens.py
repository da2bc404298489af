"""Tokens: four different ones, each with a type of its own, so that none is taken for another."""

from __future__ import annotations

from typing import NewType

FencingToken = NewType("FencingToken", int)
"""Token of a claim of an action: grows with each; what a step decided under an older one is refused. 0 = never claimed."""

UNCLAIMED = FencingToken(0)

ReservationToken = NewType("ReservationToken", int)
"""Token of a cache reservation: grows with each holder of a key; an entry made under an older one is refused. 0 = none."""

NO_RESERVATION = ReservationToken(0)

AllocationToken = NewType("AllocationToken", str)
"""Token of a quota lease: the name under which one launch holds them, or waits for them."""

CallbackToken = NewType("CallbackToken", str)
"""Token of a condition: signed text for its webhook. Whoever holds it may answer that condition, until it expires."""
