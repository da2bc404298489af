"""Announce that a condition waits: call its webhook until it accepts the question (R53, R55).

How often it was tried and when it is due again stand in the record, and are committed like everything else: a call is
repeated after a crash, and never forgotten. A signal, the timeout or an abort ends the calls.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
import structlog

from reconciler import metrics
from reconciler.api.action import TaskAction
from reconciler.api.approval import ConditionSpec
from reconciler.api.errors import InvalidSettings, ReconcilerError
from reconciler.api.status_conditions import Reason
from reconciler.api.tokens import CallbackToken
from reconciler.controller.overruns import check_rounds
from reconciler.controller.round import Round
from reconciler.core.callback import SIGNAL, Callback, sign
from reconciler.core.counted import counted
from reconciler.core.retries import system_delay
from reconciler.core.status_conditions import append_history
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
    """The document a webhook gets, as JSON. Times are ms since the epoch.

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
    token: CallbackToken
    token_expires: int


def owes_call(action: TaskAction, now: int) -> bool:
    """Return whether the webhook of a condition must be called now (ms); never after an answer or an abort."""
    due = 0 < action.status.webhook_due <= now
    return due and action.signal is None and action.metadata.deletion is None


def call(round: Round, spec: ConditionSpec, deadline: int) -> str:
    """Make one try; the status then says whether another one is owed, and when.

    Args:
        round: of a condition that is paused.
        spec: what it asks for.
        deadline: when it times out, ms; 0 = never.

    `HttpWebhooks` ends in time; `Engine` may be given others. Rounds that their calls outlive are counted as a failed try.

    Returns:
        What is to be announced: it was taken, or given up; empty while another try is owed.
    """
    deps, lease = round.deps, int(round.deps.settings.step_lease.total_seconds() * 1000)
    limit = min(_LONGEST_TRY, lease // 2)
    round.write.status = True
    if deps.store.now() + limit > round.now + lease:
        # it waited long for a thread: another step may take the action before this try has ended
        return _busy(round)
    try:
        check_rounds(round.record, deps.settings.step_lease)  # of the tries before, none ended in time
        question = _question(round, spec, deadline)
        deps.webhooks.post(spec.webhook, msgspec.json.encode(question), question.id, limit / 1000)
    except WebhooksBusy:
        return _busy(round)
    except Exception as error:  # noqa: BLE001  # whatever keeps the question from being taken is a failed try
        return _failed(round, error)
    return _over(round, Reason.WEBHOOK_CALLED, "the webhook took the question", "taken")


def _busy(round: Round) -> str:
    round.record.set_status(webhook_due=round.now + _BUSY_DELAY)
    return ""


def _question(round: Round, spec: ConditionSpec, deadline: int) -> Question:
    action, created = round.record.id, round.record.metadata.creation_timestamp
    expires = deadline or round.now + int(CALLBACK_LIFE.total_seconds() * 1000)
    token = sign(callback_secret(round.deps.settings), Callback(action, created, SIGNAL, expires))
    return Question(
        id=f"{action}/{created}",
        project=action.project,
        domain=action.domain,
        run=action.run,
        action=action.action,
        name=spec.name,
        type=spec.type,
        prompt=spec.prompt,
        description=spec.description,
        prompt_type=spec.prompt_type,
        deadline=deadline or None,
        token=token,
        token_expires=expires,
    )


def _failed(round: Round, error: Exception) -> str:
    """Note a failed try: another one is owed, or it is given up with a warning."""
    text, tries = _sentence(error), round.record.status.webhook_tries + 1
    final = isinstance(error, WebhookFailed) and error.final
    if final or tries >= MAX_TRIES:
        text = f"the webhook was not reached in {counted(tries, 'try', 'tries')}, the condition goes on waiting: {text}"
        round.audit(Reason.WEBHOOK_GIVEN_UP, "CallingWebhook", text)
        return _over(round, Reason.WEBHOOK_GIVEN_UP, text, "given_up")
    log.warning("webhook.failed", action=str(round.record.id), left=MAX_TRIES - tries, error=text)
    metrics.called("failed")
    due = round.now + system_delay(_FIRST_DELAY, tries, round.deps.rng)
    round.record.set_status(webhook_due=due, webhook_tries=tries)
    return ""


def _over(round: Round, reason: Reason, text: str, outcome: str) -> str:
    metrics.called(outcome)
    record = round.record
    record.status = append_history(record.status, reason, text, round.now)
    record.set_status(webhook_due=0, webhook_tries=record.status.webhook_tries + 1)
    return text


def _sentence(error: Exception) -> str:
    """Write what is stored and logged of a failure: for an unexpected one only its type, as its text might hold anything."""
    if isinstance(error, InvalidSettings):
        return "; ".join(error.problems)
    return str(error) if isinstance(error, ReconcilerError) else f"unexpected {type(error).__name__}"
