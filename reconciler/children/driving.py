"""Takes the first step of a few children where they are stored, instead of having a message sent to a steps worker.

A child that is awaited alone pays for each message on its way. Claim and commit are those of any step, so nothing else is
promised or risked: whoever dies in between leaves entries in the due index, which the resync sweep finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.messages import Messenger
from reconciler.controller.step import Stepper

log = structlog.get_logger(__name__)

FEW = 16
"""Most children that are stepped here at a time: more are work for the workers that are there for it."""


class Drive(Protocol):
    """Takes first steps for a desk."""

    def takes(self, actions: Sequence[TaskAction]) -> bool:
        """Tell whether it will take the first step of these actions."""

    def step(self, actions: Sequence[ActionId]) -> None:
        """Take a step. Never raises: what fails is left to a steps worker."""

    def leave(self, actions: Sequence[ActionId]) -> None:
        """Let a steps worker take the step."""


class Driver:
    """Takes steps with the stepper of this process.

    Args:
        stepper: takes the steps.
        messenger: sends the message that was not sent, where it is needed after all.
    """

    def __init__(self, stepper: Stepper, messenger: Messenger) -> None:
        self._stepper = stepper
        self._messenger = messenger

    def takes(self, actions: Sequence[TaskAction]) -> bool:
        """See `Drive.takes`: few, due now, and with rounds that wait for nothing, as a parent has to be looked after."""
        return len(actions) <= FEW and all(map(self._is_quick, actions))

    def step(self, actions: Sequence[ActionId]) -> None:
        """See `Drive.step`."""
        try:
            self._stepper.step(self._shard(actions), actions, drain=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, they are stored
            log.warning("attempt.step_left_to_others", count=len(actions), error=str(error) or repr(error))
            self.leave(actions)

    def leave(self, actions: Sequence[ActionId]) -> None:
        """See `Drive.leave`."""
        try:
            self._messenger.wake(self._shard(actions))
        except BrokerUnavailable as error:
            log.warning("wake.not_sent", shard=self._shard(actions), error=str(error))

    def _shard(self, actions: Sequence[ActionId]) -> int:
        return self._stepper.store.shard_of(actions[0].run_id)

    def _is_quick(self, action: TaskAction) -> bool:
        return not action.metadata.not_before and self._stepper.is_inline(action)
