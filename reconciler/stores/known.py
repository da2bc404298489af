"""The registry of functions: what workers say they can run."""

from __future__ import annotations

import msgspec


class Known(msgspec.Struct, frozen=True):
    """Who can run a function.

    Attributes:
        workers: how many living workers consume the queue, whatever they can run.
        since: since when there has always been one; 0 = there is none.
        digests: digests of the interface the function has in those that know it.
    """

    workers: int = 0
    since: int = 0
    digests: tuple[str, ...] = ()
