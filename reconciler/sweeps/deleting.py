"""Part of the collector: carry out requests to delete from the archive (`archive.deleting`).

It finishes what somebody began who died, or left to it because it was much. A request is done when the store has forgotten
what it means, too, and it is forgotten no sooner. It is carried out again for some time: nothing comes back that somebody
wrote who had read it before. Safe twice and on two hosts.
"""

from __future__ import annotations

from functools import partial

import structlog

from reconciler.archive.deleting import Deleter
from reconciler.archive.requests import finish_request, forget_request, note_unreadable, requests_in
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore
from reconciler.sweeps.objects import remove_objects

log = structlog.get_logger(__name__)
EVERY = 60_000
"""How often requests are looked for, ms."""
_AGAIN = 1_200_000
"""How often those that were finished are carried out again, ms."""
_LONGER = 7_200_000
"""How long beyond the retention a request is carried out again, ms."""


def delete_requested(store: Store, blobs: BlobStore, settings: Settings) -> None:
    """Carry out all requests; old ones are forgotten, except for their traces.

    Raises:
        BlobUnavailable, StoreUnavailable: a server does not answer; a later pass goes on.
    """
    kept = int(settings.retention.total_seconds() * 1000) + _LONGER
    deleter = Deleter(store, blobs, partial(remove_objects, store, blobs))
    again = store.take_turn("deleting-again", _AGAIN)
    for request in requests_in(blobs):
        if request.finished_at and not again:
            continue
        done = deleter.carry_out(request)
        request = note_unreadable(blobs, request, len(deleter.damaged), len(deleter.too_new))  # noqa: PLW2901  # the same one
        if done and not request.finished_at:
            finish_request(blobs, request, store.now())
            runs = request.archived + request.stored
            log.info("archive.deleted", project=request.project, runs=runs, actor=str(request.by))
        if done and store.now() - request.at > kept:
            forget_request(blobs, request)
