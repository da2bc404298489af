"""The built-in function of every attempts worker, by which `reconciler doctor --probe` sees one run."""

from __future__ import annotations

from typing import Final

PROBE: Final = "reconciler.probe"
"""Name of the function. The child of every worker that runs attempts registers it, beside what the user declares."""


def probe() -> None:
    """Do nothing."""
