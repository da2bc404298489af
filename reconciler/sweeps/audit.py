"""Find objects in S3 that no record knows: a bounded look, on demand. Removes nothing unless asked to.

An object lies in the folder of one action in one incarnation of its run (`reconciler.core.layout`), which nobody else has.
It has an owner while that action has a record, or a note of the collector, while its run lies in the archive or is held by
one that was made of it, and while the catalog serves outputs from that folder. What was written lately may belong to a
submission whose record is still to come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.errors import InvalidInput
from reconciler.archive.layout import run_path
from reconciler.core.layout import AREA, SHARD, is_attempt
from reconciler.stores.base import Store
from reconciler.stores.garbage import Life
from reconciler.stores.holds import RunLife
from reconciler.stores.s3.blobs import Listed, S3Blobs

_BATCH = 500
_BELOW = 4
"""Parts of a key from the area to the action: project, domain, run, action."""


class Folder(msgspec.Struct):
    """The objects in one folder of an action.

    Attributes:
        life: whose it is.
        count, size: its objects, and their bytes.
        newest: when the last one was written, seconds since the epoch.
    """

    life: Life
    count: int = 0
    size: int = 0
    newest: float = 0.0

    def add(self, one: Listed) -> None:
        """Count an object."""
        self.count, self.size, self.newest = self.count + 1, self.size + one.size, max(self.newest, one.at)


class ObjectReport(msgspec.Struct, frozen=True):
    """The objects without a record that were found.

    Attributes:
        looked: objects looked at.
        complete: whether these were all of the bucket.
        other: how many lie elsewhere: of other programs, of submitters' own folders, of releases before.
        orphans: folders whose action nobody remembers, by URI.
    """

    looked: int
    complete: bool
    other: int
    orphans: Mapping[str, Folder]


def folder_of(key: str, prefix: str) -> tuple[str, Life] | None:
    """Find the action's folder in which an object lies, and its owner; None when it lies elsewhere.

    Args:
        key: of the object.
        prefix: `RECONCILER_S3_PREFIX`.
    """
    parts, own = key.split("/"), [part for part in prefix.split("/") if part]
    at, of_attempts = len(own), False
    if parts[: at + 1] != [*own, AREA]:
        at, of_attempts = at + 1, True
        if len(parts[0]) != SHARD or parts[1 : at + 1] != [*own, AREA]:
            return None
    names = parts[at + 1 : at + 1 + _BELOW]
    if len(parts) <= at + 1 + _BELOW or "@" not in names[2]:
        return None
    if is_attempt(parts[at + 1 + _BELOW]) is not of_attempts:
        return None  # of another installation, whose prefix looks like a shard, or whose shard looks like our prefix
    run, _, incarnation = names[2].partition("@")
    try:
        action = ActionId(names[0], names[1], run, names[3]).checked()
    except InvalidInput:
        return None
    return "/".join(parts[: at + 1 + _BELOW]), Life(action, incarnation)


def audit_objects(
    store: Store, blobs: S3Blobs, *, prefix: str, cited: Collection[str], limit: int, before: float
) -> ObjectReport:
    """Look at no more than `limit` objects.

    Args:
        store: the records.
        blobs: the bucket.
        prefix: `RECONCILER_S3_PREFIX`.
        cited: URIs of outputs that the catalog serves.
        limit: most objects.
        before: what was written since is left out, seconds since the epoch.
    """
    folders: dict[str, Folder] = {}
    looked = other = 0
    after, page = "", blobs.page()
    while page and looked < limit:
        for one in page[: limit - looked]:
            looked, after = looked + 1, one.key
            found = folder_of(one.key, prefix)
            if found is None:
                other += 1
                continue
            folders.setdefault(found[0], Folder(found[1])).add(one)
        page = blobs.page(after)
    kept = {found[0] for uri in cited if (found := folder_of(_key(uri, blobs.bucket), prefix))}
    old = {key: folder for key, folder in folders.items() if key not in kept and folder.newest < before}
    known = _known(store, blobs, {folder.life for folder in old.values()})
    orphans = {
        f"s3://{blobs.bucket}/{key}": folder for key, folder in old.items() if folder.life not in known
    }
    return ObjectReport(looked, not page, other, orphans)


def _key(uri: str, bucket: str) -> str:
    return uri.removeprefix(f"s3://{bucket}/")


def _known(store: Store, blobs: S3Blobs, lives: Iterable[Life]) -> set[Life]:
    """Keep the folders with a record, an archived or held run, or a collector that will remove them."""
    wanted = sorted(lives)
    known: set[Life] = set()
    for start in range(0, len(wanted), _BATCH):
        records = store.get_many([life.action for life in wanted[start : start + _BATCH]])
        known |= {Life.of(record) for record in records if record is not None}
    for shard in {store.shard_of(life.action.run_id) for life in wanted}:
        held = {hold.source for hold in store.holds(shard)}
        known |= set(store.garbage(shard))
        known |= {life for life in wanted if RunLife(life.action.run_id, life.incarnation) in held}
    left = {RunLife(life.action.run_id, life.incarnation) for life in wanted if life not in known}
    archived = {one for one in left if blobs.stat(blobs.uri(run_path(one.run, one.incarnation)))}
    return known | {life for life in wanted if RunLife(life.action.run_id, life.incarnation) in archived}


def remove_orphans(store: Store, blobs: S3Blobs, orphans: Mapping[str, Folder]) -> int:
    """Remove folders without an owner, unless they have got one since; return how many objects were removed.

    Raises:
        StoreUnavailable, BlobUnavailable: a server does not answer; the rest stays for the next time.
    """
    known = _known(store, blobs, {folder.life for folder in orphans.values()})
    return sum(blobs.delete_prefix(uri) for uri, folder in orphans.items() if folder.life not in known)
