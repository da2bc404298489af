"""Keep out of a worker's memory what it imports and never uses."""

from __future__ import annotations

import sys
from importlib import import_module


def spare_rich() -> None:
    """Import structlog without rich, which it imports for its tracebacks: 5 MB in each process.

    A worker writes tracebacks as plain text (`worker/logs.py`). Whoever imports rich later finds it.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]
