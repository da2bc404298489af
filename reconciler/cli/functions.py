"""Loading the modules that declare functions, as a worker does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from reconciler.core.functions import registry


def load_functions(modules: Iterable[str]) -> None:
    """Import modules; those in the working folder are found too, as Celery finds them.

    What they print while they are imported goes to stderr: stdout holds the answer of the command alone.

    Raises:
        InvalidSettings: lists each module that cannot be imported, and why.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with contextlib.redirect_stdout(sys.stderr):
        registry.load(modules)
