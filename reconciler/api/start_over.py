"""Define how the record notes that a function has started over (`continue_as_new`)."""

from __future__ import annotations

import msgspec


class StartOver(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The point from which an action has started over (`continue_as_new`).

    Attributes:
        number: how often it has.
        at: when it last did, ms since the epoch.
        begins: when its call with the new arguments may begin, ms since the epoch; 0 = at once.
        fast: how many starts in a row have each lasted less than a second; few of them make the next one wait.
        inputs: its arguments since then; None: they lie in S3.
        uri, sha256: the folder they lie in then, and their digest.
    """

    number: int
    at: int = 0
    begins: int = 0
    fast: int = 0
    inputs: bytes | None = None
    uri: str = ""
    sha256: str = ""
