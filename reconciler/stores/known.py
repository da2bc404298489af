"""The registry of functions: what workers say they can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Known(msgspec.Struct, frozen=True):
    """Tells who can run a function.

    Attributes:
        workers: how many living workers consume the queue, whatever they can run.
        since: since when there has always been one; 0 = there is none.
        digests: digests of the interface the function has in those that know it.
    """

    workers: int = 0
    since: int = 0
    digests: tuple[str, ...] = ()


class Functions(Protocol):
    """The registry of functions."""

    def tell_functions(self, worker: str, queue: str, functions: Mapping[str, str], life: int) -> None:
        """Say for `life` ms what a worker of a queue can run, name → digest of the interface; 0 takes it back."""
        ...

    def find_function(self, queue: str, function: str) -> Known:
        """Tell which living workers of a queue can run a function."""
        ...
