"""Make runs of ended runs: all again, only what did not succeed, or with changes. Also stores submissions.

What `rerun`, `recover` and `fork` return is stored: a client that dies right after it loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from reconciler.api.action import ActionSpec, RunId
from reconciler.api.errors import InvalidSpec
from reconciler.api.lineage import Verb
from reconciler.broker.messages import Messenger
from reconciler.client.derivation import Derivation, Made
from reconciler.client.derived import NO_CHANGES, Changes, changes_of
from reconciler.client.door import Door
from reconciler.client.handles import Handles
from reconciler.client.identities import NamedRun, run_of
from reconciler.client.queue_limits import QueueLimits
from reconciler.client.run import Run, whole_run
from reconciler.client.storing import Storing
from reconciler.client.waiting import decode_outputs
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.blobs import parse_uri
from reconciler.stores.objects import BlobStore


class Remaking(Handles):
    """Reads actions, and makes runs of runs.

    Attributes:
        settings: of the installation.
        before_storing: what `rerun`, `recover` and `fork` call with the name of the new run, before anything of it is
            stored: after an interruption the same call with that name stores the rest.
    """

    def __init__(self, store: Store, blobs: BlobStore, messenger: Messenger, settings: Settings) -> None:
        super().__init__(store, blobs, messenger, settings)
        self.before_storing: list[Callable[[RunId], None]] = []
        self._door = Door(self.settings, parse_uri(blobs.uri("any")).bucket)
        self._storing = Storing(store, blobs, self.settings, self._waker)
        self._limits = QueueLimits(store, self._door)
        self._derivation = Derivation(
            store,
            blobs,
            self.settings,
            self._door,
            self._limits,
            self._storing,
            who=self.who,
            telling=self._tell,
        )

    def _tell(self, run: RunId) -> None:
        for call in self.before_storing:
            call(run)

    def rerun(
        self,
        run: NamedRun | Run[Any],
        *,
        name: str = "",
        idempotency_key: str = "",
        incarnation: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """Run all of an ended run again, with the same inputs, as a new run.

        Functions start their children again. Priority, fair key, labels and annotations stay; times do not.

        Args:
            run: which one: its name, its identity, or its handle.
            name: of the new run; a new one when empty.
            idempotency_key: names this call; the same again gives the first run, or stores what is missing of it.
            incarnation: of the run that is meant, where its name may have been used again.
            decode: reads the outputs for `Run.result`.

        Raises:
            ActionNotFound: the run is not stored.
            SourceUnusable: it has not ended, part of it is gone, or its inputs do not fit a function as it is now.
            InvalidSpec, InvalidName, ActionConflict, QueueFull, StoreUnavailable, BlobUnavailable: as `submit`.
        """
        made = self._make(Verb.RERUN, run, name, idempotency_key, incarnation)
        return self._handle(made, decode)

    def recover(
        self,
        run: NamedRun | Run[Any],
        *,
        name: str = "",
        idempotency_key: str = "",
        incarnation: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """Go on from what succeeded of an ended run: a new run with those outputs, in which only the rest runs.

        Actions that are taken over are in the phase `recovered` from the start, and point to the old outputs. Unlike a
        cache, this concerns only that one run.

        Args:
            run: which one.
            name: as for `rerun`; so are the following.
            idempotency_key: see there.
            incarnation: see there.
            decode: see there.

        Raises:
            As `rerun`; SourceUnusable also: all succeeded, outputs are gone from S3, or a function has another interface
            now.
        """
        made = self._make(Verb.RECOVER, run, name, idempotency_key, incarnation)
        return self._handle(made, decode)

    def fork(
        self,
        run: NamedRun | Run[Any],
        *,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        specs: Mapping[str, ActionSpec] | None = None,
        again: Collection[str] = (),
        name: str = "",
        idempotency_key: str = "",
        incarnation: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """Recover a run with changes: named actions run with other inputs or other code.

        Other actions that succeeded are taken over. Actions above a named one that wait for it run again, too.

        Args:
            run: which one.
            inputs: by the name of an action, the inputs that change and their new values; the others stay.
            specs: by the name of an action, its new spec, as `task.spec(…)` makes it.
            again: names of actions that run again as they are, although they succeeded.
            name: as for `rerun`; so are the following.
            idempotency_key: see there.
            incarnation: see there.
            decode: see there.

        Raises:
            As `recover`; InvalidSpec: nothing changes; ActionNotFound: the run has no action of that name; InvalidArguments:
                an action has no such input.
        """
        changes = changes_of(inputs or {}, specs or {}, again)
        if not changes.names:
            raise InvalidSpec(
                "a fork changes something: name actions in inputs, specs or again, or recover the run"
            )
        made = self._make(Verb.FORK, run, name, idempotency_key, incarnation, changes)
        return self._handle(made, decode)

    def _make(
        self,
        verb: Verb,
        run: NamedRun | Run[Any],
        name: str,
        key: str,
        incarnation: str,
        changes: Changes = NO_CHANGES,
    ) -> Made:
        if isinstance(run, Run):
            source, incarnation = whole_run(run), incarnation or run.incarnation
        else:
            source = run_of(run, *self.place)
        return self._derivation.make(
            verb, source, changes=changes, name=name, key=key, incarnation=incarnation
        )

    def _handle(self, made: Made, decode: Callable[[bytes], Any] | None) -> Run[Any]:
        return Run(
            self,
            made.root,
            decode or decode_outputs,
            members=made.members,
            incarnation=made.incarnation,
            lazy=made.lazy,
        )
