"""The heartbeat of a running attempt: renews the lease, and exchanges news with the record."""

from __future__ import annotations

from typing import Protocol

import msgspec

from reconciler.api.action import ActionId


class Beat(msgspec.Struct, frozen=True):
    """The answer to a heartbeat: whether the attempt is still ours, and why it must stop, if it must."""

    alive: bool
    stop: str = ""


class Beats(Protocol):
    """The verb of a worker that runs an attempt."""

    def heartbeat(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        lease: int,
        incarnation: str = "",
        progress: bytes = b"",
    ) -> Beat:
        """Renew the lease, and learn whether to stop; `progress` is a `Progress` as JSON, empty: nothing new."""
