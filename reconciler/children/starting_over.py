"""Starts a function over (`continue_as_new`): other arguments, other names for its children, none of its kept values."""

from __future__ import annotations

from msgspec.structs import replace

from reconciler.api.action import TaskAction
from reconciler.api.start_over import StartOver
from reconciler.client.client import Client
from reconciler.core.layout import inputs_folder
from reconciler.core.paths import INPUTS_FILE
from reconciler.core.starting_over import next_start
from reconciler.stores.blobs import digest_of
from reconciler.stores.placing import default_base


def times_over(record: TaskAction) -> int:
    """Tell how often the function of an action has started over."""
    return record.status.start_over.number if record.status.start_over is not None else 0


def start_over(client: Client, record: TaskAction, inputs: bytes) -> StartOver:
    """Make the note for the record of an action whose function starts over; large arguments are written to S3.

    Raises:
        Unavailable: S3 does not answer.
    """
    at = client.store.now()
    begins, fast = next_start(record, at)
    over = StartOver(number=times_over(record) + 1, at=at, begins=begins, fast=fast)
    if len(inputs) <= client.settings.inline_limit:
        return replace(over, inputs=inputs)
    digest = digest_of(inputs)
    own = default_base(client.blobs, record.id.run_id, record.metadata.incarnation)
    folder = inputs_folder(own, record.id.action, digest)
    client.blobs.put(f"{folder}/{INPUTS_FILE}", inputs)
    return replace(over, uri=folder, sha256=digest)
