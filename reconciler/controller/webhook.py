"""Telling somebody that a condition waits: its webhook, called until it takes the question (R53, R55).

How often it was tried and when it is due again stand in the record, and are committed like everything else: a call is
repeated after a crash, and never forgotten. A signal, the timeout or an abort ends the calls.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import structlog

from reconciler import metrics
from reconciler.api.action import TaskAction
from reconciler.api.condition import ConditionSpec
from reconciler.api.conditions import Reason
from reconciler.api.errors import InvalidSettings, ReconcilerError
from reconciler.controller.ending import EndingSteps
from reconciler.core.callback import SIGNAL, Callback, sign
from reconciler.core.conditions import append_history
from reconciler.core.retries import system_delay
from reconciler.webhooks.caller import WebhookFailed, WebhooksBusy
from reconciler.webhooks.secret import callback_secret

log = structlog.get_logger(__name__)

MAX_TRIES = 5
_FIRST_DELAY = 30_000
"""Between the first two tries, ms; doubled each time, so that the last is made after seven and a half minutes."""
_LONGEST_TRY = 5_000
_BUSY_DELAY = 1_000
CALLBACK_LIFE = timedelta(days=30)
"""How long the callback token of a condition without a timeout is good."""


class Question(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a webhook gets, as JSON. Times are ms since the epoch.

    Attributes:
        id: the same for each try, and for no other condition.
        deadline: when the condition times out; null = never.
        token: signals this condition and nothing else (`Client.signal_by_token`), until `token_expires`.
    """

    id: str
    project: str
    domain: str
    run: str
    action: str
    name: str
    type: str
    prompt: str
    description: str
    prompt_type: str
    deadline: int | None
    token: str
    token_expires: int


class WebhookSteps(EndingSteps):
    """owes_webhook, call_webhook."""

    def owes_webhook(self, action: TaskAction) -> bool:
        """Whether the webhook of a claimed condition is to be called now. Nobody is asked after an answer or an abort."""
        due = 0 < action.status.webhook_due <= self.now(action)
        return due and action.signal is None and action.metadata.deletion is None

    def call_webhook(self, action: TaskAction, spec: ConditionSpec, deadline: int) -> str:
        """One try; the status says afterwards whether another one is owed, and when.

        Args:
            action: a condition that is paused.
            spec: what it asks for.
            deadline: when it times out, ms; 0 = never.

        Returns:
            What is to be announced: it was taken, or given up; empty while another try is owed.
        """
        claimed, lease = self.now(action), int(self.settings.step_lease.total_seconds() * 1000)
        limit = min(_LONGEST_TRY, lease // 2)
        with self.writing(action) as write:
            write.status = True
            if self.store.now() + limit > claimed + lease:
                # it waited long for a thread: another step may take the action before this try has ended
                action.set_status(webhook_due=claimed + _BUSY_DELAY)
                return ""
            try:
                question = self._question(action, spec, deadline)
                self.webhooks.post(spec.webhook, msgspec.json.encode(question), question.id, limit / 1000)
            except WebhooksBusy:
                action.set_status(webhook_due=claimed + _BUSY_DELAY)
                return ""
            except Exception as error:  # noqa: BLE001  # whatever keeps the question from being taken is a failed try
                return self._webhook_failed(action, error)
            return self._webhook_settled(
                action, Reason.WEBHOOK_CALLED, "the webhook took the question", "taken"
            )

    def _question(self, action: TaskAction, spec: ConditionSpec, deadline: int) -> Question:
        created = action.metadata.creation_timestamp
        expires = deadline or self.now(action) + int(CALLBACK_LIFE.total_seconds() * 1000)
        token = sign(callback_secret(self.settings), Callback(action.id, created, SIGNAL, expires))
        return Question(
            id=f"{action.id}/{created}",
            project=action.id.project,
            domain=action.id.domain,
            run=action.id.run,
            action=action.id.action,
            name=spec.name,
            type=spec.type,
            prompt=spec.prompt,
            description=spec.description,
            prompt_type=spec.prompt_type,
            deadline=deadline or None,
            token=token,
            token_expires=expires,
        )

    def _webhook_failed(self, action: TaskAction, error: Exception) -> str:
        """Note a failed try: another one is owed, or it is given up for everybody to see."""
        text, tries = _sentence(error), action.status.webhook_tries + 1
        final = isinstance(error, WebhookFailed) and error.final
        if final or tries >= MAX_TRIES:
            text = f"the webhook was not reached in {tries} tries, the condition goes on waiting: {text}"
            self.audit(action, Reason.WEBHOOK_GIVEN_UP, "CallingWebhook", text)
            return self._webhook_settled(action, Reason.WEBHOOK_GIVEN_UP, text, "given_up")
        log.warning("webhook.failed", action=str(action.id), left=MAX_TRIES - tries, error=text)
        metrics.called("failed")
        due = self.now(action) + system_delay(_FIRST_DELAY, tries, self.rng)
        action.set_status(webhook_due=due, webhook_tries=tries)
        return ""

    def _webhook_settled(self, action: TaskAction, reason: Reason, text: str, outcome: str) -> str:
        metrics.called(outcome)
        action.status = append_history(action.status, reason, text, self.now(action))
        action.set_status(webhook_due=0, webhook_tries=action.status.webhook_tries + 1)
        return text


def _sentence(error: Exception) -> str:
    """What is stored and logged of a failure: of an unexpected one its type alone, its text might hold anything."""
    if isinstance(error, InvalidSettings):
        return "; ".join(error.problems)
    return str(error) if isinstance(error, ReconcilerError) else f"unexpected {type(error).__name__}"
