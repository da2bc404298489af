"""Values a function keeps, so that they are computed once however often it is called."""

from __future__ import annotations

from typing import Protocol

from reconciler.api.action import ActionId


class Steps(Protocol):
    """The verbs for values that an action keeps by name."""

    def keep_step(
        self,
        action: ActionId,
        launch: str,
        *,
        owner: str,
        name: str,
        value: bytes,
        alone: bool = False,
        incarnation: str = "",
    ) -> bytes | None:
        """Keep a value of a running launch under a name unless there is one; return the kept value, None when superseded.

        The action keeps it through all its launches and attempts, until it is collected. With `alone`, a value that was not
        there takes the place of all that were.
        """

    def steps(self, action: ActionId) -> dict[str, bytes]:
        """Read the values an action keeps, by name."""
