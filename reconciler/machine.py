"""Check that a machine gives each process what it needs: a folder for temporary files."""

from __future__ import annotations

import os
import tempfile


def look_around() -> list[str]:
    """List what is missing on this machine, as sentences with a remedy."""
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        return [f"there is no folder for temporary files ({error.strerror}): set TMPDIR, or free a disk"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [
            f"the folder for temporary files {folder} cannot be written: make it, set TMPDIR, or free its disk"
        ]
    return []
