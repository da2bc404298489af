"""Submitting, watching, waiting, aborting: what callers do with actions.

What `submit` returns is stored: a client that dies right after it loses nothing. Waiting never polls faster than every few
seconds; it is woken by what the steps commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from reconciler.api.action import (
    CONDITION,
    ActionId,
    ActionSpec,
    Deletion,
    Metadata,
    TaskAction,
    record_name,
)
from reconciler.api.conditions import cut
from reconciler.api.errors import (
    ActionEnded,
    ActionNotFound,
    BrokerUnavailable,
    InvalidSpec,
    ResultTimeout,
)
from reconciler.api.event import ActionEvent
from reconciler.broker.messages import Messenger
from reconciler.client.conditions import Conditions
from reconciler.client.door import Door
from reconciler.client.looking import Looking
from reconciler.client.run import Run
from reconciler.client.storing import Storing
from reconciler.client.submission import (
    MAX_ACTOR,
    ROOT,
    group_root,
    in_group,
    inherited,
    key_name,
    new_run_name,
    stem_of,
    whoami,
    with_inputs_hash,
)
from reconciler.client.waiting import Waiter, decode_outputs, document_of, ended_error, raise_unless_succeeded
from reconciler.core.layout import is_default_base
from reconciler.core.validation import check_annotations, check_labels, check_types
from reconciler.settings import Settings
from reconciler.stores.base import (
    AbortOutcome,
    BlobStore,
    Store,
)
from reconciler.stores.blobs import get_many, parse_uri
from reconciler.wiring import connect

T = TypeVar("T")
log = structlog.get_logger(__name__)

ABORT_REASON = "User requested abort"
"""Why an action is aborted, when nobody says it."""
_AT_ONCE = 500
"""Actions per round trip."""


class Client(Looking, Conditions):
    """Talks to the stores directly; sends wake-ups through the messenger. Safe to share between threads."""

    def __init__(
        self, store: Store, blobs: BlobStore, messenger: Messenger, settings: Settings | None = None
    ) -> None:
        self.store = store
        self.blobs = blobs
        self.messenger = messenger
        self.settings = settings or Settings()
        self._door = Door(self.settings, parse_uri(blobs.uri("any")).bucket)
        self._storing = Storing(store, blobs, self.settings, self._wake)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Client:
        """A client on the servers of the settings; by default those of the environment.

        Raises:
            InvalidSettings: lists every wrong setting.
        """
        settings = settings or Settings.from_env()
        return cls(*connect(settings), settings)

    # -- submitting ------------------------------------------------------------------------------------------------
    def submit(
        self,
        spec: ActionSpec,
        *,
        idempotency_key: str = "",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """Store one action, and return once it is stored.

        A child has environment, interruptible flag, labels and annotations of its parent too; its own win (R75).

        Args:
            spec: what to do. Empty identity fields are filled: project and domain from the settings, a new run name,
                action `a0`.
            idempotency_key: names this submission; the same key and spec again give the first run.
            labels: attached to the record.
            annotations: attached to the record as well; free text.
            decode: reads the outputs for `Run.result`.

        Raises:
            InvalidName, InvalidSpec: the spec cannot be accepted; nothing was stored.
            ActionConflict: the identity exists with another spec.
            ActionNotFound: the parent does not exist.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        action = self._action(self._complete(spec, idempotency_key), labels, annotations)
        parent = action.spec.parent_action_name
        if parent and action.spec.action_type != CONDITION:
            action = inherited(action, self.get(action.id.run_id.action(parent)))
            self._door.check(action.id, action.spec)  # with what it took over
            check_labels(action.metadata.extra_labels)
            check_annotations(action.metadata.annotations)
        self._store([action])
        return Run(self, action.id, decode or decode_outputs)

    def submit_many(
        self,
        specs: Sequence[ActionSpec],
        *,
        run: str = "",
        idempotency_key: str = "",
        keep_failures: bool = False,
        labels: dict[str, str] | None = None,
        stem: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[list[Any]]:
        """Store many actions as one run, a few hundred in one round trip, below a root that ends when all have.

        Stored in pieces. After a client that died half way, the same call with the same `idempotency_key` stores the
        rest, within two minutes; then the root fails as `IncompleteSubmission`, and a new key is needed.

        Args:
            specs: children `m0`, `m1`, … in order; their identity fields are filled. Without any, the root ends at once.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission.
            keep_failures: the root succeeds even when children do not; read them with `Run.outcomes`.
            labels: attached to each record.
            stem: what the run is named after; the first spec by default.
            decode: reads the outputs of one child.

        Raises:
            As `submit`.
        """
        for spec in specs:
            check_types(spec)
        seed = self._complete(ActionSpec(run_name=run, short_name=stem or stem_of(specs)), idempotency_key)
        root = group_root(seed, len(specs), keep_failures=keep_failures)
        names = (in_group(seed, spec, index) for index, spec in enumerate(specs))
        children = [self._action(with_inputs_hash(spec), labels) for spec in names]
        actions = [self._action(root, labels), *children]
        self._store(actions)
        return Run(self, actions[0].id, decode or decode_outputs, members=len(specs))

    def _complete(self, spec: ActionSpec, key: str) -> ActionSpec:
        """A spec with all identity fields."""
        check_types(spec)
        run = spec.run_name or (key_name(key) if key else new_run_name(spec.short_name or spec.task_type))
        full = msgspec.structs.replace(
            spec,
            project=spec.project or self.settings.project,
            domain=spec.domain or self.settings.domain,
            run_name=run,
            action_name=spec.action_name or ROOT,
        )
        return with_inputs_hash(full)

    def _action(
        self, spec: ActionSpec, labels: dict[str, str] | None, annotations: dict[str, str] | None = None
    ) -> TaskAction:
        """A checked action. Where its objects lie is decided when it is stored: its run may have begun before."""
        action = ActionId(spec.project, spec.domain, spec.run_name, spec.action_name)
        if is_default_base(spec.run_output_base):  # the spec was read from a record
            spec = msgspec.structs.replace(spec, run_output_base="")
        self._door.check(action, spec)
        check_labels(labels or {})
        check_annotations(annotations or {})
        self._check_size(spec)
        name = record_name(action, spec)
        metadata = Metadata(
            namespace=self.settings.namespace,
            name=name,
            extra_labels=labels or {},
            annotations=annotations or {},
        )
        return TaskAction(action, spec, metadata=metadata)

    def _check_size(self, spec: ActionSpec) -> None:
        if spec.inputs is not None and len(spec.inputs) > self.settings.max_object_size:
            raise InvalidSpec(
                f"the inputs have {len(spec.inputs)} bytes, at most {self.settings.max_object_size} are allowed: "
                "store large data in S3 and pass its URI, or raise RECONCILER_MAX_OBJECT_SIZE"
            )

    def _store(self, actions: Sequence[TaskAction]) -> None:
        self._storing.store(actions)

    def _wake(self, shards: Sequence[int]) -> None:
        for shard in shards:
            try:
                self.messenger.wake(shard)
            except BrokerUnavailable as error:
                # stored is accepted: the resync sweep sends what could not be sent here
                log.warning("wake.not_sent", shard=shard, error=str(error))

    # -- waiting ---------------------------------------------------------------------------------------------------
    def watch(self, action: ActionId, after: int = 0, timeout: float | None = None) -> Iterator[ActionEvent]:
        """Events as they come, ending with the terminal one. Resumes behind `after` (a sequence number).

        Raises:
            ActionNotFound: there is no such action.
            ResultTimeout: `timeout` seconds passed before the end.
        """
        with Waiter(self.store, action.run_id, timeout) as waiter:
            while True:
                # Asked before the events: once it has ended all of them are there, or have been trimmed.
                ended = self.get(action).phase.is_terminal()
                for event in self.events(action, after):
                    after = event.sequence
                    yield event
                    if event.final:
                        return
                if ended:
                    return
                if not waiter.wait():
                    raise ResultTimeout(f"{action} had not ended after {timeout} s; it goes on")

    def wait(
        self,
        action: ActionId,
        timeout: float | None = None,
        progress: Callable[[], None] | None = None,
        *,
        fresh: bool = False,
    ) -> TaskAction:
        """The record once the action has ended.

        Args:
            action: which one.
            timeout: seconds; None waits as long as it takes.
            progress: called whenever something of the run was committed.
            fresh: it was submitted a moment ago, so it will hardly have ended yet.

        Raises:
            ActionNotFound: there is no such action.
            ResultTimeout: it has not ended in time; it goes on.
        """
        if not fresh:
            record = self.get(action)
            if record.phase.is_terminal():
                return record
        end_of = "" if progress is not None else action.action
        with Waiter(self.store, action.run_id, timeout, end_of=end_of) as waiter:
            while True:
                record = self.get(action)
                if record.phase.is_terminal():
                    return record
                if not waiter.wait():
                    raise ResultTimeout(
                        f"{action} is {record.phase} after {timeout} s; it goes on: wait again, or abort it"
                    )
                if progress is not None:
                    progress()

    def result(self, action: ActionId, timeout: float | None = None) -> Any:  # noqa: ANN401  # whatever the task returned
        """The outputs once the action has succeeded.

        Raises:
            ActionFailed, ActionAborted, ActionTimedOut: it ended otherwise.
            ActionNotFound, ResultTimeout: see `wait`.
        """
        return decode_outputs(self.outputs(self.wait(action, timeout)))

    def outputs(self, record: TaskAction) -> bytes:
        """The outputs document of a succeeded action; `{}` when it has none.

        Raises:
            ActionEnded: the action did not succeed.
            BlobNotFound, BlobCorrupt, BlobUnavailable: the object is gone, changed or out of reach.
        """
        raise_unless_succeeded(record)
        return document_of(record, lambda ref: self.blobs.get(ref.uri, sha256=ref.sha256))

    def outcomes(self, actions: Sequence[ActionId], decode: Callable[[bytes], T]) -> list[T | ActionEnded]:
        """Result or error of each of many ended actions, in order, in few round trips."""
        records: list[TaskAction] = []
        for action in actions:
            action.checked()
        for start in range(0, len(actions), _AT_ONCE):
            part = actions[start : start + _AT_ONCE]
            for action, record in zip(part, self.store.get_many(part), strict=True):
                if record is None:
                    raise ActionNotFound(action)
                records.append(record)
        far = [r.status.outputs for r in records if r.status.outputs and r.status.outputs.inline is None]
        fetched = dict(zip((ref.uri for ref in far), get_many(self.blobs, far), strict=True))
        return [self._outcome(record, fetched, decode) for record in records]

    @staticmethod
    def _outcome(
        record: TaskAction, fetched: dict[str, bytes], decode: Callable[[bytes], T]
    ) -> T | ActionEnded:
        error = ended_error(record)
        if error is not None:
            return error
        return decode(document_of(record, lambda ref: fetched[ref.uri]))

    # -- ending ----------------------------------------------------------------------------------------------------
    def abort(self, action: ActionId, reason: str = ABORT_REASON, actor: str = "") -> AbortOutcome:
        """Store the wish to abort an action and all its descendants. An ended action stays as it ended.

        Args:
            action: which one; the root aborts the whole run.
            reason: told to plugins and events; the default when empty (R38).
            actor: who asks; the user of this process when empty.

        Raises:
            ActionNotFound: there is no such action.
            StoreUnavailable: the store does not answer.
        """
        action.checked()
        wish = Deletion(reason=cut(reason or ABORT_REASON, 1024), actor=cut(actor or whoami(), MAX_ACTOR))
        report = self.store.request_abort(action, wish)
        if report.outcome is AbortOutcome.MISSING:
            raise ActionNotFound(action)
        self._wake(report.wake)
        return report.outcome
