"""Decide what the demo keeps from run to run: only what a finished demo of this version left."""

from __future__ import annotations

import shutil
from pathlib import Path

from reconciler.api.errors import ReconcilerError
from reconciler.cli.local import own_version, versions
from reconciler.embedded.folder import DataFolder
from reconciler.settings import Settings
from reconciler.stores.redis.check import LAYOUT

_MARK = "README.txt"
_MARK_TEXT = "Data and logs of `reconciler demo`. The next one uses the results in here; `--fresh` empties the folder.\n"
_FINISHED = "finished.txt"
"""Written when a demo has ended well; it says what made the data. Without it the data are half a run of somebody."""


def prepare(data: Path, *, fresh: bool) -> str:
    """Make the folder, and empty it unless it holds the data of a finished demo of this version.

    Args:
        data: the folder.
        fresh: empty it in any case.

    Returns:
        Why data were thrown away unasked, as a sentence; empty when they were not.

    Raises:
        ReconcilerError: another demo runs here, or the folder holds something else.
    """
    mark = data / _MARK
    if not mark.exists() and data.exists() and any(data.iterdir()):
        raise ReconcilerError(
            f"{data} holds files the demo did not make; give it another folder with --data."
        )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.write_text(_MARK_TEXT)
    folder = DataFolder(data)
    try:
        folder.acquire()
    except ReconcilerError as error:
        raise ReconcilerError(f"{error} Give another folder with --data.") from error
    try:
        why = _why_useless(data)
        (data / _FINISHED).unlink(missing_ok=True)  # first: a demo killed from here on has not finished
        _remove(data, "logs", *(("valkey", "s3") if fresh or why else ()))
    finally:
        folder.release()
    return "" if fresh else why


def finish(data: Path) -> None:
    """Mark the folder as complete. Call it when all servers have ended well."""
    (data / _FINISHED).write_text(_makers())


def _why_useless(data: Path) -> str:
    if not (data / "valkey").exists():
        return ""
    try:
        made_by = (data / _FINISHED).read_text(errors="replace")
    except FileNotFoundError:
        return f"The last demo in {data} did not come to its end, so this one starts over."
    if made_by != _makers():
        return f"The data in {data} are of another version, so this demo starts over."
    return ""


def _makers() -> str:
    """List everything the data depend on: what wrote them, and in which layout."""
    return f"{own_version()}; {versions()}; layout {LAYOUT}; shards {Settings().shards}\n"


def _remove(data: Path, *folders: str) -> None:
    for name in folders:
        shutil.rmtree(data / name, ignore_errors=True)
    for file in data.glob("beat-schedule*"):
        file.unlink()
