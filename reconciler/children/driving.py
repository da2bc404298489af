"""Takes the first step of a few children where they are stored, instead of having a message sent to a steps worker.

A child that is awaited alone pays for each message on its way. Claim and commit are those of any step, so nothing else is
promised or risked: whoever dies in between leaves entries in the due index, which the resync sweep finds.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger
from reconciler.controller.launches import Followers
from reconciler.controller.step import Stepper
from reconciler.stores.lines import Head
from reconciler.tickets import by_queue, note_heads, send_ticket

log = structlog.get_logger(__name__)

FEW = 16
"""Most children that are stepped here at a time: more are work for the workers that are there for it."""


_SOON = 0.005
"""Seconds a ticket is kept for a function that has not said yet that it waits."""


class Slot(Protocol):
    """The slot in which a function runs: while it waits, others may run there."""

    def take(self, queue: str, waits: Callable[[], bool], *, first: bool) -> bool:
        """Look at the lines of a queue in place of a worker that has a ticket; False when it cannot.

        Args:
            queue: which one.
            waits: tells whether the function waits; while it does, more may be drawn.
            first: it takes the ticket, which is not sent then; else there is one on its way that may take long.
        """


class Drive(Protocol):
    """Takes first steps for a desk."""

    @property
    def followers(self) -> Followers:
        """Those told of ends that this process commits."""

    def takes(self, actions: Sequence[TaskAction]) -> bool:
        """Tell whether it will take the first step of these actions."""

    def step(self, actions: Sequence[ActionId]) -> None:
        """Take a step. Never raises: what fails is left to a steps worker."""

    def leave(self, actions: Sequence[ActionId]) -> None:
        """Let a steps worker take the step."""

    def pause(self) -> float | None:
        """Tell in how many seconds `place` has something to do; None: it has not."""

    def place(self, waits: Callable[[], bool]) -> None:
        """Offer what steps have put into lines to the slot of the function if it waits, else send tickets in a moment."""

    def close(self) -> None:
        """Send what is left."""


class Driver:
    """Takes steps with the stepper of this process.

    Args:
        stepper: takes the steps.
        messenger: sends the message that was not sent, where it is needed after all.
        slot: takes the tickets that steps would send; None: they are sent.
    """

    def __init__(self, stepper: Stepper, messenger: Messenger, slot: Slot | None = None) -> None:
        self._stepper = stepper
        if slot is not None:
            self._stepper = copy.copy(stepper)  # shares all with it, but tells this one of the lines it opens
            self._stepper.announce = self._note
        self.followers = stepper.followers
        self._messenger = messenger
        self._slot = slot
        self._until = 0.0
        self._opened: dict[str, bool] = {}

    def takes(self, actions: Sequence[TaskAction]) -> bool:
        """See `Drive.takes`: few, due now, and with rounds that wait for nothing, as a parent has to be looked after."""
        return len(actions) <= FEW and all(map(self._is_quick, actions))

    def step(self, actions: Sequence[ActionId]) -> None:
        """See `Drive.step`."""
        try:
            self._stepper.step(self._shard(actions), actions, drain=False)
            self._until = time.monotonic() + _SOON
        except Exception as error:  # noqa: BLE001  # whatever it is, they are stored
            log.warning("attempt.step_left_to_others", count=len(actions), error=str(error) or repr(error))
            self.leave(actions)

    def leave(self, actions: Sequence[ActionId]) -> None:
        """See `Drive.leave`."""
        try:
            self._messenger.wake(self._shard(actions))
        except BrokerUnavailable as error:
            log.warning("wake.not_sent", shard=self._shard(actions), error=str(error))

    def pause(self) -> float | None:
        """See `Drive.pause`."""
        return max(0.0, self._until - time.monotonic()) if self._opened else None

    def place(self, waits: Callable[[], bool]) -> None:
        """See `Drive.place`."""
        if self._slot is None or not self._opened:
            return
        waiting = waits()
        if waiting or time.monotonic() >= self._until:
            opened, self._opened = self._opened, {}
            for queue, needed in opened.items():
                if not (waiting and self._slot.take(queue, waits, first=needed)) and needed:
                    send_ticket(self._messenger, queue)

    def close(self) -> None:
        """See `Drive.close`."""
        opened, self._opened = self._opened, {}
        for queue, needed in opened.items():
            if needed:
                send_ticket(self._messenger, queue)

    def _note(self, heads: Sequence[Head]) -> None:
        """Note queues with new launches, and whether a ticket has to be sent to them; none is sent yet."""
        for queue, found in by_queue(heads).items():
            needed = note_heads(self._stepper.store, queue, found)
            self._opened[queue] = self._opened.get(queue, False) or needed

    def _shard(self, actions: Sequence[ActionId]) -> int:
        return self._stepper.store.shard_of(actions[0].run_id)

    def _is_quick(self, action: TaskAction) -> bool:
        return not action.metadata.not_before and self._stepper.is_inline(action)
