"""Stores what was submitted: checked first, large inputs next, records last.

A submission that is refused leaves nothing in S3. Where inputs are too large for the record, the store is asked before they
are written what would become of the action; that costs one round trip, and only then. What still comes between, as another
submitter with the same name, is answered by the store when the records are written, and our objects are taken away again,
unless a stored record points to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec
import structlog

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.audit import Who
from reconciler.api.errors import (
    ActionConflict,
    ActionNotFound,
    InvalidSpec,
    ReconcilerError,
    RunSealed,
    SourceUnusable,
    StoreUnavailable,
    Superseded,
)
from reconciler.client.submission import new_incarnation
from reconciler.client.waking import Waker
from reconciler.core.half_stored import goes_anew_by
from reconciler.core.paths import INPUTS_FILE
from reconciler.settings import Settings
from reconciler.stores.base import Created, CreateOutcome, Store
from reconciler.stores.blobs import put_many
from reconciler.stores.objects import BlobStore
from reconciler.stores.placing import default_base, place_inputs

log = structlog.get_logger(__name__)

_AT_ONCE = 500
"""Actions per round trip."""
_FINE = frozenset({CreateOutcome.CREATED, CreateOutcome.EXISTS})
_TRIES = 5
"""Tell how often the incarnation of a run may turn out to be another one: each time it was forgotten and made anew."""


class _Placed(msgspec.Struct, frozen=True):
    """An action as it is to be stored, and the inputs that go to S3 first."""

    action: TaskAction
    inputs: bytes | None


class Storing:
    """Stores submissions, part by part.

    Args:
        store: the records.
        blobs: large inputs.
        settings: how large is large.
        waker: has the shards looked at.

    Attributes:
        untold: those to adopt that were new, and that no message tells of.
    """

    def __init__(self, store: Store, blobs: BlobStore, settings: Settings, waker: Waker) -> None:
        self._store = store
        self._blobs = blobs
        self._inline_limit = settings.inline_limit
        self._waker = waker
        self.untold: list[ActionId] = []

    def store(
        self, actions: Sequence[TaskAction], hold: Callable[[], int] = lambda: 0, *, by: Who | None = None
    ) -> str:
        """Store actions of one run, with all inputs in their specs, and send the wake-ups.

        Args:
            actions: which ones.
            hold: called before each part: holds what the actions point to, and answers until when; 0 = they point to
                nothing.
            by: who submits them; the first one will say so.

        Returns:
            The incarnation of that run.

        Raises:
            ActionConflict: an identity exists with another spec.
            ActionNotFound: a parent does not exist.
            InvalidSpec: a parent has ended.
            RunSealed: the run has ended, and goes to the archive.
            SourceUnusable: what the actions point to was held no longer when they were to be stored.
        """
        if by is not None:
            actions[0].set_metadata(submitted=by)
        incarnation = begins = actions[0].metadata.incarnation or new_incarnation()  # it may have one already
        names = {action.id.action for action in actions}
        for start in range(0, len(actions), _AT_ONCE):
            incarnation = self._part(actions[start : start + _AT_ONCE], incarnation, begins, hold(), names)
        return incarnation

    def adopt(self, actions: Sequence[TaskAction], *, quiet: bool = False) -> list[ReconcilerError | None]:
        """Store children of one run that may be stored already, even by another version of their code; None = it is stored.

        Args:
            actions: which ones.
            quiet: have nobody look at them; they are noted in `untold`.
        """
        found: list[ReconcilerError | None] = []
        for start in range(0, len(actions), _AT_ONCE):
            part = actions[start : start + _AT_ONCE]
            of = part[0].metadata.incarnation
            base = default_base(self._blobs, part[0].id.run_id, of)
            placed = [self._placed(action, of, base) for action in part]
            answers = self._submit(placed, 0, "", apart=True, quiet=quiet)
            self.untold += [one.action.id for one in _new(placed, answers)] if quiet else ()
            for action, answer in zip(part, answers, strict=True):
                found.append(None if _adopted(answer) else _refusal(action, answer))
        return found

    def _part(
        self, actions: Sequence[TaskAction], incarnation: str, begins: str, until: int, names: Collection[str]
    ) -> str:
        """Store one part; return the incarnation that its run has.

        A run that is forgotten meanwhile never comes back: its objects are deleted. It begins anew, as another one.
        """
        belong = [incarnation] * len(actions)
        for _ in range(_TRIES):
            bases = {of: default_base(self._blobs, actions[0].id.run_id, of) for of in set(belong)}
            placed = [self._placed(action, of, bases[of]) for action, of in zip(actions, belong, strict=True)]
            answers = self._submit(placed, until, begins)
            others = [answer.outcome is CreateOutcome.OTHER_INCARNATION for answer in answers]
            if not any(others):
                for one, answer in zip(placed, answers, strict=True):
                    refusal = _refusal(one.action, answer, names)
                    if refusal is not None:
                        raise refusal
                return belong[-1]
            belong = [
                answer.incarnation if other else of
                for of, other, answer in zip(belong, others, answers, strict=True)
            ]
        run = actions[0].id.run_id
        raise StoreUnavailable(f"the run {run} is forgotten and made anew all the time; submit again")

    def _submit(
        self, placed: Sequence[_Placed], until: int, begins: str, *, apart: bool = False, quiet: bool = False
    ) -> Sequence[Created]:
        """Store actions and return the answers; what the store says it would refuse is not written.

        Args:
            placed: which ones.
            until: how long what they point to is held; 0 = they point to nothing.
            begins: the only incarnation in which their run may begin; "" = in any.
            apart: whether the others are stored although some are refused.
            quiet: whether nobody is told that they are due.
        """
        put: list[_Placed] = []
        refused: dict[ActionId, Created] = {}
        if any(one.inputs is not None for one in placed):
            checked = self._store.would_create([one.action for one in placed], begins=begins)
            answers = zip(placed, checked, strict=True)
            refused = {one.action.id: answer for one, answer in answers if answer.outcome not in _FINE}
            if refused and not (apart and any(answer.outcome in _FINE for answer in checked)):
                return checked
            put = [one for one in _new(placed, checked) if one.inputs is not None]
        put_many(
            self._blobs, [(f"{one.action.spec.input_uri}/{INPUTS_FILE}", one.inputs or b"") for one in put]
        )
        good = [one for one in placed if one.action.id not in refused]
        report = self._store.create([one.action for one in good], until=until, quiet=quiet, begins=begins)
        self._waker.wake(report.wake)
        stored = {one.action.id for one in _new(good, report.outcomes)}
        self._take_back([one for one in put if one.action.id not in stored])
        told = iter(report.outcomes)
        return [refused.get(one.action.id) or next(told) for one in placed]

    def _take_back(self, put: Sequence[_Placed]) -> None:
        """Remove inputs of refused actions as far as possible, but none that a stored record points to.

        Nor one that somebody may be about to store: who is refused once is so as long as his run lives.
        """
        try:
            records = self._store.get_many([one.action.id for one in put]) if put else []
            for one, record in zip(put, records, strict=True):
                if record is None or record.spec.input_uri != one.action.spec.input_uri:
                    self._blobs.delete_prefix(one.action.spec.input_uri)
        except ReconcilerError as error:
            log.warning("inputs.not_removed", count=len(put), error=str(error))

    def _placed(self, action: TaskAction, incarnation: str, default: str) -> _Placed:
        """Place an action in this incarnation of its run: its output base, and its inputs where they belong."""
        base = action.spec.run_output_base or default
        # also with a base of the submitter's: what is ours lies where nothing else does
        spec, inputs = place_inputs(action.spec, default if incarnation else base, self._inline_limit)
        return _Placed(
            TaskAction(
                action.id,
                msgspec.structs.replace(spec, run_output_base=base),
                action.status,
                msgspec.structs.replace(action.metadata, incarnation=incarnation),
                signal=action.signal,
                children=action.children,
            ),
            inputs,
        )


def _new(placed: Sequence[_Placed], answers: Sequence[Created]) -> list[_Placed]:
    """Keep the actions that nobody submitted before."""
    pairs = zip(placed, answers, strict=True)
    return [one for one, answer in pairs if answer.outcome is CreateOutcome.CREATED]


def _adopted(answer: Created) -> bool:
    """Tell whether an action is stored as asked for, whatever version of its code submitted it."""
    return answer.outcome is CreateOutcome.CONFLICT and "parentActionName" not in answer.fields


def _refusal(action: TaskAction, answer: Created, names: Collection[str] = ()) -> ReconcilerError | None:
    """Make the error of an action that was not accepted, else None; `names` of all that are submitted with it."""
    if answer.outcome in _FINE:
        return None
    run, parent = action.id.run_id, action.spec.parent_action_name or ""
    rest = "submit it below another parent"
    if parent in names:
        rest = f"what is missing of the run can be stored no more: make it anew by {goes_anew_by(action)}"
    errors: dict[CreateOutcome, Callable[[], ReconcilerError]] = {
        CreateOutcome.CONFLICT: lambda: ActionConflict(action.id, answer.fields),
        CreateOutcome.PARENT_MISSING: lambda: ActionNotFound(run.action(parent)),
        CreateOutcome.PARENT_ENDED: lambda: InvalidSpec(
            f"action {action.id} cannot be accepted: its parent {parent} has ended or is being aborted; {rest}"
        ),
        CreateOutcome.OTHER_INCARNATION: lambda: Superseded(
            f"the run {run} is forgotten, and another one has its name: let it end"
        ),
        CreateOutcome.SEALED: lambda: RunSealed(run),
        CreateOutcome.NOT_HELD: lambda: SourceUnusable(
            f"the run {run} could not be stored in time: what it was made of may be forgotten meanwhile. "
            "Try again; where an idempotency key was given, with the same"
        ),
    }
    return errors[answer.outcome]()
