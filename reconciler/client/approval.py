"""A person's approval: the condition that asks for it, and the signal that answers (R53, R54)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from reconciler.api.action import CONDITION, ActionId, ActionSpec, Signal, TaskAction
from reconciler.api.approval import ConditionSpec, Value, check_kind, check_scalar, fitted, read_condition
from reconciler.api.errors import (
    CallbackRefused,
    InvalidSpec,
    NotACondition,
    SignalRefused,
)
from reconciler.api.status_conditions import cut
from reconciler.api.texts import check_text, plain
from reconciler.client.actions import Actions
from reconciler.client.incarnation import OneIncarnation
from reconciler.client.submission import MAX_ACTOR, me
from reconciler.client.waking import Waker
from reconciler.core.callback import SIGNAL, verify
from reconciler.core.declaration import read_duration
from reconciler.core.validation import LIMITS
from reconciler.settings import Settings
from reconciler.stores.base import SignalOutcome
from reconciler.webhooks.secret import callback_secret


def question(
    texts: Mapping[str, str], timeout: float | timedelta | None, run: str, parent: str
) -> ActionSpec:
    """Make the spec of a condition: an action that ends when a person answers.

    Args:
        texts: name, type, prompt, description and webhook of the `ConditionSpec`.
        timeout: a `timedelta` or seconds; None: without a limit.
        run: name of its run; empty for a new one.
        parent: the action of `run` it is a child of; empty for the root.

    Raises:
        InvalidSpec: a text is none, the name is empty, or the parent has no run.
        InvalidArguments: the timeout is no duration.
    """
    for what, text in texts.items():
        check_text(f"the {what} of a condition", text)
    name = texts["name"]
    if not name or (parent and not run):
        raise InvalidSpec("a condition needs a name, and with a parent the run of that parent")
    limit = None if timeout is None else read_duration("timeout", timeout)
    return ActionSpec(
        run_name=run,
        action_name=name if parent else "",
        parent_action_name=parent or None,
        action_type=CONDITION,
        condition_spec=msgspec.json.encode(ConditionSpec(**texts, timeout=limit), enc_hook=plain),
        short_name=name[: LIMITS["short_name"]],
    )


class Signals:
    """Sends the answers of people.

    Args:
        actions: the conditions are among them.
        waker: has an answered condition looked at.
        settings: name the secret of callback tokens.
    """

    def __init__(self, actions: Actions, waker: Waker, settings: Settings) -> None:
        self._actions = actions
        self._waker = waker
        self._settings = settings

    def send(
        self, action: ActionId, value: Value, by: str = "", door: str = "", incarnation: str = ""
    ) -> SignalOutcome:
        """Answer a condition, as `Client.signal` does."""
        check_scalar(value)
        actions = OneIncarnation(self._actions, action, incarnation) if incarnation else self._actions
        store = actions.store
        # The script looks again at all that may have changed since; what it answers holds.
        answer = Signal(value=_fitted(actions.get(action), value), by=cut(by or me(), MAX_ACTOR), door=door)
        outcome = store.signal(action, answer, incarnation=incarnation)
        if outcome is SignalOutcome.MISSING:  # what the archive has can be read, and answered no more
            archived = actions.get(action).spec.action_type == CONDITION
            outcome = SignalOutcome.ENDED if archived else SignalOutcome.NOT_A_CONDITION
        _raise_refusal(action, outcome)
        # Also for a repetition: the first caller may have died before it woke anybody.
        self._waker.wake([store.shard_of(action.run_id)])
        return outcome

    def action_of(self, token: str) -> ActionId:
        """Find the condition a callback token may answer, as `Client.action_of_token` does."""
        found = verify(callback_secret(self._settings), token, SIGNAL, self._actions.store.now())
        if self._actions.get(found.action).metadata.creation_timestamp != found.created:
            raise CallbackRefused(
                f"the callback token belongs to an earlier {found.action}, which is forgotten: "
                "answer the one there is now by its name, or with its own token"
            )
        return found.action


def _fitted(record: TaskAction, value: Value) -> Value:
    """Convert the value to the condition's type.

    Raises:
        InvalidArguments: it is not of that type, and the condition still waits.
    """
    spec = read_condition(record.spec.condition_spec)
    if spec is None:  # a stored signal ends also a condition whose spec cannot be read (R53)
        return value
    value = fitted(value, spec.type)
    waits = record.signal is None and record.metadata.deletion is None
    if record.spec.action_type == CONDITION and waits and not record.phase.is_terminal():
        check_kind(value, spec.type)
    return value


def _raise_refusal(action: ActionId, outcome: SignalOutcome) -> None:
    match outcome:
        case SignalOutcome.STORED | SignalOutcome.SAME:
            return
        case SignalOutcome.NOT_A_CONDITION | SignalOutcome.MISSING:
            raise NotACondition(
                f"{action} is no condition, so it waits for no signal: name one that is paused"
            )
        case SignalOutcome.OTHER:
            raise SignalRefused(f"{action} was signalled with another value before; the first one stands")
        case SignalOutcome.ENDED:
            raise SignalRefused(f"{action} has ended or is being aborted: ask again with a new condition")
