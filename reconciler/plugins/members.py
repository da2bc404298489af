"""Store members of a group that starts them itself; what an earlier round has stored is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.api.action import TaskAction
from reconciler.core.paths import INPUTS_FILE
from reconciler.settings import Settings
from reconciler.stores.base import CreateOutcome, Store
from reconciler.stores.blobs import put_many
from reconciler.stores.objects import BlobStore
from reconciler.stores.placing import default_base, place_inputs

STANDS = frozenset({CreateOutcome.CREATED, CreateOutcome.EXISTS, CreateOutcome.CONFLICT})
"""It is stored; also under the same name with another version of its code."""


class MemberStarter:
    """Stores members in a few round trips. May be shared between threads.

    Args:
        store: the records.
        blobs: large inputs.
        settings: how large is large.
        announce: sends a wake-up for a shard.
    """

    def __init__(
        self, store: Store, blobs: BlobStore, settings: Settings, announce: Callable[[int], None]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._inline_limit = settings.inline_limit
        self._announce = announce

    def __call__(self, members: Sequence[TaskAction]) -> list[CreateOutcome]:
        """Store members of one group, and return an answer for each.

        Raises:
            StoreUnavailable, BlobUnavailable: a server does not answer; some may be stored.
        """
        if not members:
            return []
        own = default_base(self._blobs, members[0].id.run_id, members[0].metadata.incarnation)
        large: dict[str, bytes] = {}
        for member in members:
            member.spec, inputs = place_inputs(member.spec, own, self._inline_limit)
            if inputs is not None:
                large[f"{member.spec.input_uri}/{INPUTS_FILE}"] = inputs
        if large and self._store.would_create(members[:1])[0].outcome not in STANDS:
            return [answer.outcome for answer in self._store.would_create(members)]
        put_many(self._blobs, list(large.items()))
        report = self._store.create(members)
        for shard in report.wake:
            self._announce(shard)
        return [answer.outcome for answer in report.outcomes]
