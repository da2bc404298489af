"""Submitting: what makes new actions, and asks a person; the rest of a client is `Actions`.

What `submit` returns is stored: a client that dies right after it loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, overload

from reconciler.api.action import CONDITION, ActionId, ActionSpec
from reconciler.api.approval import Value
from reconciler.api.audit import Door
from reconciler.api.schedule import Delay, Moment, schedule
from reconciler.broker.messages import Messenger
from reconciler.client.approval import Signals, question
from reconciler.client.bulk import Bulks
from reconciler.client.by_name import PublishedTask, Submits, TasksByName
from reconciler.client.connect import connect, holdings_of
from reconciler.client.history import History
from reconciler.client.identities import NamedAction, action_of
from reconciler.client.maps import Maps
from reconciler.client.queue_verbs import QueueVerbs
from reconciler.client.queues import Queues
from reconciler.client.run import Run
from reconciler.client.waiting import decode_outputs
from reconciler.core.inheritance import inherited
from reconciler.settings import Settings
from reconciler.stores.base import SignalOutcome, Store
from reconciler.stores.objects import BlobStore
from reconciler.stores.quotas import Holdings


class Client(Maps, QueueVerbs):
    """Talks to the stores directly; sends wake-ups through the messenger. Safe to share between threads.

    Attributes:
        settings: of the installation.
        history: what the archive remembers.
        bulk: reruns, recovers or aborts many runs at once.
    """

    def __init__(
        self, store: Store, blobs: BlobStore, messenger: Messenger, settings: Settings | None = None
    ) -> None:
        super().__init__(store, blobs, messenger, settings or Settings())
        self.history = History(self)
        self.bulk = Bulks(self)
        self._signals = Signals(self, self._waker, self.settings)
        self._tasks = TasksByName(
            store, self.settings, Submits(self.submit, self.submit_many, self.submit_map)
        )
        self._queues = Queues(store, messenger, self._limits, self.settings, self.who)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Client:
        """Make a client on the servers of the settings; by default those of the environment.

        Raises:
            InvalidSettings: lists every wrong setting.
        """
        settings = settings or Settings.from_env()
        return cls(*connect(settings), settings)

    @cached_property
    def quotas(self) -> Holdings | None:
        """The book of who holds units of quotas; None where there is none."""
        return holdings_of(self.store, self.settings)

    # -- submitting ------------------------------------------------------------------------------------------------
    def submit(
        self,
        spec: ActionSpec,
        *,
        idempotency_key: str = "",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        priority: int | None = None,
        fair_key: str = "",
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
        traceparent: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Any]:
        """Store one action, and return once it is stored.

        A child inherits environment, interruptible flag, labels and annotations of its parent; its own values win (R75).

        Args:
            spec: what to do. Empty identity fields are filled: project and domain from the settings, a new run name,
                action `a0`.
            idempotency_key: names this submission; the same key and spec again give the first run. Not with a run name,
                which does the same.
            labels: attached to the record.
            annotations: attached to the record as well; free text.
            priority: launches of a higher one go first in their queue, 0 (last) to 9 (first); else that of the parent, or 5.
            fair_key: workers of a queue take turns between its values; by default that of the parent, or the project.
            countdown: how long to wait before it may start, by the store's clock: seconds or a timedelta.
            eta: when it may start, a datetime with a time zone, years ahead if need be.
            expires: when it is aborted unless it has begun: seconds or a timedelta from now, or a datetime.
            traceparent: trace context (W3C) it belongs to; by default that of the parent, or of the current span.
            decode: reads the outputs for `Run.result`.

        Raises:
            InvalidName, InvalidSpec: the spec cannot be accepted; nothing was stored.
            ActionConflict: the identity exists with another spec.
            ActionNotFound: the parent does not exist.
            QueueFull: its queue has reached its limit of waiting launches; nothing was stored.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        plan = schedule(priority=priority, fair_key=fair_key, countdown=countdown, eta=eta, expires=expires)
        full = self._door.complete(spec, idempotency_key)
        action = self._door.admit(full, labels, annotations, plan, traceparent)
        parent = action.spec.parent_action_name
        if parent:
            above = self.get(action.id.run_id.action(parent))
            if action.spec.action_type == CONDITION:
                action.set_metadata(traceparent=above.metadata.traceparent)
            else:
                action = inherited(action, above, plan)
                self._door.check_action(action)  # with what it took over
        self._limits.check([action])
        incarnation = self._storing.store([action], by=self.who())
        return Run(self, action.id, decode or decode_outputs, incarnation=incarnation)

    def task(self, name: str) -> PublishedTask:
        """Find a task by its stored name, as the workers with its code publish it; this process needs none of the code.

        Args:
            name: as `photos.thumbnail`.

        Raises:
            InvalidSpec: no worker publishes it, or what is published cannot be used.
            InvalidName: it breaks the rule of names.
            StoreUnavailable: the store does not answer.
        """
        return self._tasks.get(name)

    def send(self, function: str, /, *args: Any, **kwargs: Any) -> Run[Any]:  # noqa: ANN401  # arguments of the function
        """Submit one call of a function by its stored name: what `.delay()` of its task does, without its code.

        Arguments are checked against what its workers publish: as `.delay()` takes them, or by name in their JSON form (a
        dict for a record, a text for a time). The result is in its JSON form.

        Args:
            function: as `photos.thumbnail`.
            *args: its arguments.
            **kwargs: its arguments by name.

        Raises:
            InvalidArguments: the arguments do not fit; nothing was stored.
            InvalidSpec, InvalidName, StoreUnavailable: as `task`, and as `submit`.
        """
        return self.task(function).delay(*args, **kwargs)

    # -- asking a person -------------------------------------------------------------------------------------------
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
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
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
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
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
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
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
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
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
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
    ) -> Run[Any]:
        """Store an action that waits for a person's signal; its result is the value signalled.

        Args:
            name: what is asked about; below a parent also the action's name.
            type: of the value: bool, int, float or str.
            prompt: the question, up to 4096 characters.
            description: more about it, up to 2048 characters.
            timeout: a `timedelta` or seconds, counted from when it was stored or may ask; then the action ends in
                TIMED_OUT. None waits without a limit.
            webhook: an http(s) URL that gets the question with a callback token once the condition waits
                (docs/lifecycle.md); workers need `RECONCILER_CALLBACK_SECRET_FILE` for that, the caller does not.
            run: name of the run; a new one when empty.
            parent: the action of `run` it is a child of; without one it is the root of its run.
            idempotency_key: names this submission, as in `Client.submit`; not with `run`.
            countdown: how long to wait before it asks, as in `Client.submit`. An answer that comes earlier ends it.
            eta: when it asks, as in `Client.submit`.
            expires: when it is aborted unless it has asked, as in `Client.submit`.

        Raises:
            As `Client.submit`.
        """
        texts = {"name": name, "type": type, "prompt": prompt, "description": description, "webhook": webhook}
        return self.submit(
            question(texts, timeout, run, parent),
            idempotency_key=idempotency_key,
            countdown=countdown,
            eta=eta,
            expires=expires,
        )

    def signal(
        self, action: NamedAction, value: Value, by: str = "", *, incarnation: str = ""
    ) -> SignalOutcome:
        """Answer a condition. The first answer stands; the same answer again is fine.

        Args:
            action: the condition.
            value: of the type it asks for; an int is accepted for a float, a bool is not accepted for an int.
            by: who answers; the user of this process when empty.
            incarnation: only of this run of all that had its name.

        Returns:
            `STORED`, or `SAME` when this value was stored before.

        Raises:
            InvalidArguments: the value is no bool, int, float or str, or not of the declared type.
            ActionNotFound: there is no such action.
            NotACondition: it is an action of another kind.
            SignalRefused: it was signalled with another value, has ended, or is being aborted.
            StoreUnavailable: the store does not answer.
        """
        return self._signals.send(action_of(action, *self.place), value, by, self.door, incarnation)

    def signal_by_token(self, token: str, value: Value, by: str = "") -> SignalOutcome:
        """Answer the condition whose webhook was given a callback token. As `signal`; the token names the condition.

        Args:
            token: as the webhook got it. It may be used again: the same answer is fine, another one is refused.
            value: as in `signal`.
            by: as in `signal`.

        Raises:
            As `signal` and `action_of_token`.
        """
        return self._signals.send(self.action_of_token(token), value, by, Door.TOKEN)

    def action_of_token(self, token: str) -> ActionId:
        """Find the condition a callback token may answer, once the token is known to be good (R53).

        Raises:
            CallbackRefused: it is not one of this installation, was changed, is meant for something else, has expired, or
                belongs to an earlier action of the same name.
            ActionNotFound: the condition has been forgotten.
            InvalidSettings: this process has no secret (`RECONCILER_CALLBACK_SECRET_FILE`).
            StoreUnavailable: the store does not answer.
        """
        return self._signals.action_of(token)
