"""The registry of functions: what workers say they can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

LACKING = "!"
"""Before the name of a function that a worker knows and cannot run for want of secrets; their names stand for the digest."""


class Known(msgspec.Struct, frozen=True):
    """The workers that can run a function.

    Attributes:
        workers: how many living workers consume the queue, whatever they can run.
        since: since when there has always been one; 0 = there is none.
        digests: digests of the interface the function has in those that can run it.
        lacks: names of the secrets that others lack, which know it and cannot run it therefore.
    """

    workers: int = 0
    since: int = 0
    digests: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """The published facts of a function.

    Attributes:
        document: see `reconciler.core.published`; empty: nothing is.
        names: then, what is published of others, sorted.
    """

    document: bytes = b""
    names: tuple[str, ...] = ()


KEPT = 24 * 3600 * 1000
"""How long what was published is kept after the last worker that renewed it, ms: workers may be away for a while."""
MOST_RELEASES = 32
"""So many releases are kept at most; those that nobody renewed for longest go."""


class Functions(Protocol):
    """The registry of functions."""

    def tell_functions(self, worker: str, queue: str, functions: Mapping[str, str], life: int) -> None:
        """Publish for `life` ms what a worker of a queue can run, name → digest of the interface; 0 takes it back.

        What it cannot run for want of secrets: `LACKING` and the name → the names of the secrets, parted by blanks.
        """

    def find_function(self, queue: str, function: str) -> Known:
        """Return which living workers of a queue can run a function."""

    def publish(self, release: str, documents: Mapping[str, bytes], life: int) -> bool:
        """Publish the documents of a release's functions, for `KEPT` ms, and that the release runs for `life` ms.

        Args:
            release: digest of the documents.
            documents: by name of the function; none: only that the release runs.
            life: ms.

        Returns:
            False when no document was given and none is kept: say it with them.
        """

    def find_published(self, function: str) -> Found:
        """Find what was published of a function: by the newest release that runs, else by the last one."""
