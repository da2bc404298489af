"""Find the folders of a run that is to go, also where its archive object cannot be read.

Its incarnation is in the path of all that is its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from reconciler.api.errors import InvalidName
from reconciler.archive.archive import Archive
from reconciler.archive.record import ArchivedRun
from reconciler.core.layout import run_folder
from reconciler.core.paths import bases
from reconciler.stores.garbage import Folders, Life
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import BlobStore, folders_in

log = structlog.get_logger(__name__)
LOST = "its object in the archive is gone"
_AT_ONCE = 16
"""Requests to S3 at the same time."""


def left_folders(archive: Archive, life: RunLife, run: ArchivedRun | None, lost: str) -> dict[Life, Folders]:
    """Find by their place the folders of actions that cannot be read, and say that this was needed.

    Args:
        archive: it lies in.
        life: the run.
        run: what can be read of it.
        lost: what cannot.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    found = is_apart(archive, life)
    log.warning("archive.objects_left", run=str(life), folders_removed=found, error=lost)
    return folders_found(archive.blobs, life, run.actions if run is not None else ()) if found else {}


def is_apart(archive: Archive, life: RunLife) -> bool:
    """Tell whether the folder of a run is its own: not in an older layout, nor with an incarnation that two runs have.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    if not life.incarnation or "~" in life.incarnation:
        return False
    return not any(each.startswith(f"{life.incarnation}~") for each in archive.incarnations(life.run))


def folders_found(blobs: BlobStore, life: RunLife, known: Collection[str] = ()) -> dict[Life, Folders]:
    """Find the folders of a run's actions by their place. Costs some 1,300 requests, and one for each folder.

    Results of cached tasks are among them: an entry of the cache whose outputs are gone is a miss, nothing else.

    Args:
        blobs: where they lie.
        life: the run; only one that `is_apart`.
        known: names of actions that are left out, because their records tell.

    Raises:
        BlobUnavailable: the server does not answer.
    """
    places = list(bases(blobs.uri(run_folder(life.run, life.incarnation))))
    found: dict[Life, Folders] = {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="unread") as pool:
        for base, names in zip(
            places, pool.map(lambda base: list(folders_in(blobs, base)), places), strict=True
        ):
            for action in _actions(life, names):
                if action.action.action not in known:
                    found[action] = (*found.get(action, ()), f"{base}/{action.action.action}")
    return found


def _actions(life: RunLife, names: Collection[str]) -> Iterator[Life]:
    for name in names:
        with suppress(InvalidName):  # no action's: nobody of ours wrote it
            yield Life(life.run.action(name).checked(), life.incarnation)
