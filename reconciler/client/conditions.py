"""Asking a person, and answering: the part of the client for conditions (R53, R54)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, overload

import msgspec

from reconciler.api.action import CONDITION, ActionId, ActionSpec, Signal, TaskAction
from reconciler.api.condition import ConditionSpec, Value, check_kind, check_scalar, fitted, read_condition
from reconciler.api.conditions import cut
from reconciler.api.errors import (
    ActionNotFound,
    CallbackRefused,
    InvalidSpec,
    NotACondition,
    SignalRefused,
)
from reconciler.api.texts import check_text
from reconciler.client.run import Run
from reconciler.client.submission import MAX_ACTOR, whoami
from reconciler.core.callback import SIGNAL, verify
from reconciler.core.declaration import read_duration
from reconciler.core.validation import LIMITS
from reconciler.settings import Settings
from reconciler.stores.base import SignalOutcome, Store
from reconciler.webhooks.secret import callback_secret


class Conditions(ABC):
    """`condition` and `signal`, on what `Client` has besides."""

    store: Store
    settings: Settings

    @abstractmethod
    def submit(
        self,
        spec: ActionSpec,
        *,
        idempotency_key: str = "",
        labels: dict[str, str] | None = None,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """See `Client.submit`."""

    @abstractmethod
    def get(self, action: ActionId) -> TaskAction:
        """See `Client.get`."""

    @abstractmethod
    def _wake(self, shards: Sequence[int]) -> None: ...

    @overload
    def condition(
        self,
        name: str,
        type: Literal["bool"] = "bool",  # the word of the field
        prompt: str = "",
        description: str = "",
        timeout: float | timedelta | None = None,
        webhook: str = "",
        *,
        run: str = "",
        parent: str = "",
        idempotency_key: str = "",
    ) -> Run[bool]: ...
    @overload
    def condition(
        self,
        name: str,
        type: Literal["int"],  # the word of the field
        prompt: str = "",
        description: str = "",
        timeout: float | timedelta | None = None,
        webhook: str = "",
        *,
        run: str = "",
        parent: str = "",
        idempotency_key: str = "",
    ) -> Run[int]: ...
    @overload
    def condition(
        self,
        name: str,
        type: Literal["float"],  # the word of the field
        prompt: str = "",
        description: str = "",
        timeout: float | timedelta | None = None,
        webhook: str = "",
        *,
        run: str = "",
        parent: str = "",
        idempotency_key: str = "",
    ) -> Run[float]: ...
    @overload
    def condition(
        self,
        name: str,
        type: Literal["str"],  # the word of the field
        prompt: str = "",
        description: str = "",
        timeout: float | timedelta | None = None,
        webhook: str = "",
        *,
        run: str = "",
        parent: str = "",
        idempotency_key: str = "",
    ) -> Run[str]: ...
    def condition(
        self,
        name: str,
        type: str = "bool",  # noqa: A002  # the word of the field
        prompt: str = "",
        description: str = "",
        timeout: float | timedelta | None = None,
        webhook: str = "",
        *,
        run: str = "",
        parent: str = "",
        idempotency_key: str = "",
    ) -> Run[Any]:
        """Store an action that waits for a person's signal; its result is the value signalled.

        Args:
            name: what is asked about; below a parent also the action's name.
            type: of the value: bool, int, float or str.
            prompt: the question, up to 4096 characters.
            description: more about it, up to 2048 characters.
            timeout: the action ends in TIMED_OUT this long after it was stored, a `timedelta` or seconds; None waits
                without a limit.
            webhook: an http(s) URL that gets the question with a callback token once the condition waits
                (docs/lifecycle.md); workers need `RECONCILER_CALLBACK_SECRET_FILE` for that, the caller does not.
            run: name of the run; a new one when empty.
            parent: the action of `run` it is a child of; without one it is the root of its run.
            idempotency_key: names this submission, as in `Client.submit`.

        Raises:
            As `Client.submit`.
        """
        texts = {"name": name, "type": type, "prompt": prompt, "description": description, "webhook": webhook}
        for what, text in texts.items():
            check_text(f"the {what} of a condition", text)
        if not name or (parent and not run):
            raise InvalidSpec("a condition needs a name, and with a parent the run of that parent")
        limit = None if timeout is None else read_duration("timeout", timeout)
        asked = ConditionSpec(**texts, timeout=limit)
        spec = ActionSpec(
            run_name=run,
            action_name=name if parent else "",
            parent_action_name=parent or None,
            action_type=CONDITION,
            condition_spec=msgspec.json.encode(asked),
            short_name=name[: LIMITS["short_name"]],
        )
        return self.submit(spec, idempotency_key=idempotency_key)

    def signal(self, action: ActionId, value: Value, by: str = "") -> SignalOutcome:
        """Answer a condition. The first answer stands; the same answer again is fine.

        Args:
            action: the condition.
            value: of the type it asks for; an int will do for a float, a bool is no int.
            by: who answers; the user of this process when empty.

        Returns:
            `STORED`, or `SAME` when this value was stored before.

        Raises:
            InvalidArguments: the value is no bool, int, float or str, or not of the declared type.
            ActionNotFound: there is no such action.
            NotACondition: it is an action of another kind.
            SignalRefused: it was signalled with another value, has ended, or is being aborted.
            StoreUnavailable: the store does not answer.
        """
        check_scalar(value)
        record = self.get(action)
        spec = read_condition(record.spec.condition_spec)
        if spec is not None:  # a stored signal ends also a condition whose spec cannot be read (R53)
            value = fitted(value, spec.type)
            waits = record.signal is None and record.metadata.deletion is None
            if record.spec.action_type == CONDITION and waits and not record.phase.is_terminal():
                check_kind(value, spec.type)
        # The script looks again at all that may have changed since; what it answers holds.
        outcome = self.store.signal(action, Signal(value=value, by=cut(by or whoami(), MAX_ACTOR)))
        _raise_refusal(action, outcome)
        # Also for a repetition: the first caller may have died before it woke anybody.
        self._wake([self.store.shard_of(action.run_id)])
        return outcome

    def signal_by_token(self, token: str, value: Value, by: str = "") -> SignalOutcome:
        """Answer the condition whose webhook was given a callback token. As `signal`; the token names the condition.

        Args:
            token: as the webhook got it. It may be used again: the same answer is fine, another one is refused.
            value: as in `signal`.
            by: as in `signal`.

        Raises:
            As `signal` and `action_of_token`.
        """
        return self.signal(self.action_of_token(token), value, by)

    def action_of_token(self, token: str) -> ActionId:
        """The condition a callback token may answer, once the token is known to be good (R53).

        Raises:
            CallbackRefused: it is not one of this installation, was changed, is meant for something else, has expired, or
                belongs to an earlier action of the same name.
            ActionNotFound: the condition has been forgotten.
            InvalidSettings: this process has no secret (`RECONCILER_CALLBACK_SECRET_FILE`).
            StoreUnavailable: the store does not answer.
        """
        found = verify(callback_secret(self.settings), token, SIGNAL, self.store.now())
        if self.get(found.action).metadata.creation_timestamp != found.created:
            raise CallbackRefused(
                f"the callback token belongs to an earlier {found.action}, which is forgotten"
            )
        return found.action


def _raise_refusal(action: ActionId, outcome: SignalOutcome) -> None:
    match outcome:
        case SignalOutcome.STORED | SignalOutcome.SAME:
            return
        case SignalOutcome.MISSING:
            raise ActionNotFound(action)
        case SignalOutcome.NOT_A_CONDITION:
            raise NotACondition(
                f"{action} is no condition, so it waits for no signal: name one that is paused"
            )
        case SignalOutcome.OTHER:
            raise SignalRefused(f"{action} was signalled with another value before; the first one stands")
        case SignalOutcome.ENDED:
            raise SignalRefused(f"{action} has ended or is being aborted: ask again with a new condition")
