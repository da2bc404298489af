"""The webhook of a condition: when it is called, how often, with what, and what ends the calls (R53, R55)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from control_support import fail_commits, history
from prometheus_client import CollectorRegistry

from reconciler import metrics
from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import CallbackRefused, InvalidSettings, SignalRefused, StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.client import Run
from reconciler.controller.overruns import MOST_ABANDONED
from reconciler.controller.round import commit_one
from reconciler.controller.webhook import owes_call
from reconciler.core.callback import SIGNAL, Callback, sign
from reconciler.stores.base import SignalOutcome
from reconciler.testing import Lab
from reconciler.webhooks.caller import WebhookFailed, WebhooksBusy
from reconciler.webhooks.recording import RecordingWebhooks
from reconciler.webhooks.secret import secret_problems
from worker import metrics as worker_metrics

pytestmark = pytest.mark.rule("R55")
URL = "https://hooks.example.org/ask?key=hush"
SECRET = "0123456789abcdef" * 4
DAY = 86_400_000
DOWN = WebhookFailed("https://hooks.example.org answered 503")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The file of the secret."""
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.fixture
def lab(secret_file: Path) -> Lab:
    """An installation that can sign tokens."""
    return Lab(callback_secret_file=str(secret_file))


def asked(lab: Lab, type: str = "bool", **fields: Any) -> Run[Any]:  # noqa: A002  # the word of the field
    """Return a condition with a webhook that nobody has looked at yet."""
    fields = {"name": "go", "prompt": "Go on?", "webhook": URL, **fields}
    run: Run[Any] = lab.client.condition(type=type, **fields)  # type: ignore[call-overload]  # a name of any type
    return run


def documents(lab: Lab) -> list[dict[str, Any]]:
    """What was posted, in order."""
    return [json.loads(call.document) for call in lab.webhooks.calls]


def token(lab: Lab) -> str:
    """Return the token that was posted last."""
    return str(documents(lab)[-1]["token"])


def always_down(lab: Lab) -> None:
    """No receiver will ever answer."""
    lab.webhooks.failures = [DOWN] * 100


def during_the_call(lab: Lab, do: Callable[[], object]) -> None:
    """Something that happens while the receiver has the question and has not answered yet."""

    class Meanwhile(RecordingWebhooks):
        def post(self, url: str, document: bytes, key: str, limit: float) -> None:
            super().post(url, document, key, limit)
            do()

    lab.webhooks = lab.reconciler.webhooks = Meanwhile()


def test_calls_that_outlive_their_round_are_counted(lab: Lab) -> None:
    """A caller of another make may take longer than the lease, each time: the calls are given up, the condition waits on."""
    calls = [0]

    def slow() -> None:
        calls[0] += 1
        lab.clock.advance(lab.settings.step_lease + timedelta(seconds=1))
        lab.store.claim(lab.store.shard_of(action.run_id), owner="other", limit=0, named=[action])

    during_the_call(lab, slow)
    action = asked(lab).action
    for _ in range(MOST_ABANDONED + 1):
        lab.clock.advance(lab.settings.step_lease)
        lab.step()
    found = lab.get(action)
    assert (found.phase, found.status.webhook_tries) == (ActionPhase.PAUSED, 1)
    assert calls[0] <= MOST_ABANDONED
    lab.settle(rounds=500)
    found = lab.get(action)
    assert (found.phase, found.status.webhook_due) == (ActionPhase.PAUSED, 0)
    assert "did not end within their lease" in found.status.phase_history[-1].message
    lab.client.signal(action, True)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


# -- called ------------------------------------------------------------------------------------------------------------
def test_it_is_called_once_with_the_question(lab: Lab) -> None:
    """The webhook gets all of the question, once; the history and an event say so, and the condition waits on."""
    run = asked(lab, "int", name="ship", description="17 boxes", timeout=timedelta(days=3), run="r")
    lab.settle(timedelta(days=1))
    created = lab.get(run.action).metadata.creation_timestamp
    [call], [document] = lab.webhooks.calls, documents(lab)
    assert document.pop("token").count(".") == 1
    names = {"project": "default", "domain": "development", "run": "r", "action": "a0"}
    texts = {
        "name": "ship",
        "type": "int",
        "prompt": "Go on?",
        "description": "17 boxes",
        "promptType": "text",
    }
    times = {"deadline": created + 3 * DAY, "tokenExpires": created + 3 * DAY}
    assert document == {"id": f"{run.action}/{created}", **names, **texts, **times}
    assert (call.url, call.key) == (URL, document["id"])
    record = lab.get(run.action)
    assert (record.phase, history(record)) == (ActionPhase.PAUSED, ["Paused", "WebhookCalled"])
    assert [event.phase for event in run.events()][1:] == [ActionPhase.PAUSED] * 2
    assert (record.status.webhook_tries, record.status.webhook_due) == (1, 0)


def test_without_a_timeout_the_token_is_good_for_thirty_days(lab: Lab) -> None:
    """A condition that waits for ever has no deadline, and a token that ends all the same."""
    asked(lab)
    lab.settle()
    assert documents(lab)[0]["deadline"] is None
    assert documents(lab)[0]["tokenExpires"] == lab.clock() + 30 * DAY


def test_it_is_paused_before_it_is_called(lab: Lab) -> None:
    """Who is asked, and looks at once, finds a condition that waits; the call is made by a thread that may block."""
    found: list[tuple[ActionPhase, str]] = []
    during_the_call(lab, lambda: found.append((lab.get(run.action).phase, threading.current_thread().name)))
    run = asked(lab)
    lab.settle()
    [(phase, thread)] = found
    assert phase is ActionPhase.PAUSED
    assert thread.startswith("handle")


def test_without_a_webhook_nothing_is_called(lab: Lab) -> None:
    """A condition without a webhook owes no call."""
    run = asked(lab, webhook="")
    lab.settle()
    assert lab.webhooks.calls == []
    assert history(lab.get(run.action)) == ["Paused"]


def test_a_later_round_does_not_call_again(lab: Lab) -> None:
    """Looking again at a condition whose webhook took the question changes nothing."""
    run = asked(lab, timeout=timedelta(days=1))
    lab.settle(timedelta(hours=1))
    before = lab.get(run.action)
    lab.reconcile(run.action)
    assert (lab.get(run.action).version, len(lab.webhooks.calls)) == (before.version, 1)


# -- tried again -------------------------------------------------------------------------------------------------------
def test_tries_are_bounded_and_back_off(lab: Lab) -> None:
    """A receiver that is down is called five times, ever more seldom, each time under the same key."""
    times: list[int] = []
    during_the_call(lab, lambda: _down_at(times, lab))
    asked(lab)
    lab.settle(timedelta(days=30))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 5
    assert waits[0] == 30_000
    for wait, base in zip(waits[1:], (60_000, 120_000, 240_000), strict=True):
        assert base <= wait <= base * 1.1
    assert len({call.key for call in lab.webhooks.calls}) == 1


def _down_at(times: list[int], lab: Lab) -> None:
    times.append(lab.clock())
    raise DOWN


def test_giving_up_is_seen(lab: Lab) -> None:
    """After the last try the history, an event and a warning say so, and the condition goes on waiting for a signal."""
    always_down(lab)
    run = asked(lab)
    lab.settle()
    record = lab.get(run.action)
    text = "the webhook was not reached in 5 tries, the condition goes on waiting: https://hooks.example.org answered 503"
    assert (record.phase, history(record)) == (ActionPhase.PAUSED, ["Paused", "WebhookGivenUp"])
    assert record.status.phase_history[-1].message == text
    assert [entry.message for entry in run.events()[-1].cluster_events] == [text]
    [entry] = lab.audit()
    assert (entry.id, entry.reason, entry.message) == (run.action, "WebhookGivenUp", text)
    lab.client.signal(run.action, True)
    lab.settle()
    assert run.result(0) is True


def test_a_receiver_that_comes_back_is_told(lab: Lab) -> None:
    """A failed try is noted without an event; the next one may succeed, and ends the calls."""
    lab.webhooks.failures = [DOWN, OSError("anything")]
    run = asked(lab)
    lab.step()
    assert (lab.get(run.action).status.webhook_tries, len(run.events())) == (1, 2)
    lab.settle()
    record = lab.get(run.action)
    assert (history(record), record.status.webhook_tries) == (["Paused", "WebhookCalled"], 3)
    assert len(lab.webhooks.calls) == 3
    assert lab.audit() == []


def test_what_cannot_help_is_not_repeated(lab: Lab) -> None:
    """A failure that is final, as an address that is not allowed, is given up at once."""
    lab.webhooks.failures = [WebhookFailed("at no public address", final=True)]
    run = asked(lab)
    lab.settle()
    assert len(lab.webhooks.calls) == 1
    assert history(lab.get(run.action)) == ["Paused", "WebhookGivenUp"]


def test_a_busy_process_does_not_use_up_tries(lab: Lab) -> None:
    """A process with too many calls looks again a second later, as often as need be."""
    lab.webhooks.failures = [WebhooksBusy("busy")] * 7
    start = lab.clock()
    run = asked(lab)
    lab.settle()
    record = lab.get(run.action)
    assert (record.status.webhook_tries, history(record)) == (1, ["Paused", "WebhookCalled"])
    assert record.status.phase_history[-1].occurred_at == start + 7000


def test_a_try_is_shorter_than_the_lease(secret_file: Path) -> None:
    """A try may take half the lease of a step, at most five seconds, so that no other step makes it at the same time."""
    for lease, limit in ((timedelta(seconds=1), 0.5), (timedelta(minutes=1), 5.0)):
        lab = Lab(
            callback_secret_file=str(secret_file), step_lease=lease, step_budget=timedelta(milliseconds=100)
        )
        asked(lab)
        lab.settle()
        assert lab.webhooks.calls[0].limit == limit


def claimed(lab: Lab, action: ActionId) -> TaskAction:
    """Return a record under a claim, as a step has it."""
    return lab.store.claim(lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action]).actions[0]


def test_a_round_that_waited_for_its_thread_does_not_call(lab: Lab) -> None:
    """When too little of the lease is left the call is put off, not begun beside that of the next step."""
    run = asked(lab)
    lab.reconcile(run.action)
    held = claimed(lab, run.action)
    lab.clock.advance(5001)
    _, write = lab.reconciler.round(held)
    assert lab.webhooks.calls == []
    commit_one(lab.reconciler, write)
    lab.settle()
    assert len(lab.webhooks.calls) == 1


# -- no process is needed twice ----------------------------------------------------------------------------------------
def test_a_call_is_repeated_after_a_crash(lab: Lab) -> None:
    """Who dies between the call and its note leaves it to another, which calls again under the same key."""
    run = asked(lab)
    lab.reconcile(run.action)
    lab.reconciler.round(claimed(lab, run.action))
    assert len(lab.webhooks.calls) == 1
    assert lab.get(run.action).status.webhook_tries == 0
    lab.clock.advance(lab.settings.step_lease)
    lab.settle()
    first, second = lab.webhooks.calls
    assert first.key == second.key
    assert lab.get(run.action).status.webhook_tries == 1


def test_a_call_that_is_owed_survives_the_death_of_everybody(lab: Lab) -> None:
    """Who dies after the pause leaves a due time: whoever looks next makes the call."""
    run = asked(lab)
    lab.reconcile(run.action)
    assert lab.webhooks.calls == []
    assert lab.store.due(lab.store.shard_of(run.id)) == [(run.action, lab.clock())]


def test_nothing_is_noted_when_the_store_is_away(lab: Lab) -> None:
    """A pause that cannot be stored calls nobody."""
    asked(lab)
    fail_commits(lab)
    with pytest.raises(StoreUnavailable):
        lab.step()
    assert lab.webhooks.calls == []


# -- ended by something else -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", [ActionPhase.SUCCEEDED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT])
def test_an_end_ends_the_calls(lab: Lab, end: ActionPhase) -> None:
    """A signal, an abort or the timeout between two tries wins, and nothing is called any more."""
    always_down(lab)
    run = asked(lab, timeout=timedelta(seconds=20))
    lab.step()
    if end is ActionPhase.SUCCEEDED:
        lab.client.signal(run.action, True)
    elif end is ActionPhase.ABORTED:
        run.abort("not needed")
    lab.settle()
    record = lab.get(run.action)
    assert (record.phase, len(lab.webhooks.calls)) == (end, 1)
    assert "WebhookGivenUp" not in history(record)
    lab.clock.advance(timedelta(days=1))
    assert not owes_call(record, lab.clock())


@pytest.mark.parametrize("end", [ActionPhase.SUCCEEDED, ActionPhase.ABORTED])
def test_an_answer_before_the_first_call_is_enough(lab: Lab, end: ActionPhase) -> None:
    """What was answered or aborted before its webhook was called is not asked."""
    run = asked(lab)
    lab.reconcile(run.action)
    assert owes_call(lab.get(run.action), lab.clock())
    if end is ActionPhase.SUCCEEDED:
        lab.client.signal(run.action, True)
    else:
        run.abort("not needed")
    assert not owes_call(lab.get(run.action), lab.clock())
    lab.settle()
    assert (lab.get(run.action).phase, lab.webhooks.calls) == (end, [])


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "failed"])
def test_a_receiver_may_answer_at_once(lab: Lab, *, taken: bool) -> None:
    """An answer by token that comes while the call still lasts is kept, and ends the condition."""
    during_the_call(lab, lambda: _answer(lab, taken=taken))
    run = asked(lab)
    lab.settle()
    assert run.result(0) is True
    assert len(lab.webhooks.calls) == 1


def _answer(lab: Lab, *, taken: bool) -> None:
    lab.client.signal_by_token(token(lab), True)
    if not taken:
        raise DOWN


# -- answering by token ------------------------------------------------------------------------------------------------
def test_the_token_answers(lab: Lab) -> None:
    """Whoever holds the token answers with value and name; again is fine, another value is refused."""
    run = asked(lab, "str")
    lab.settle()
    assert lab.client.action_of_token(token(lab)) == run.action
    assert lab.client.signal_by_token(token(lab), "yes", by="ada") is SignalOutcome.STORED
    lab.settle()
    assert run.result(0) == "yes"
    signal = lab.get(run.action).signal
    assert signal is not None
    assert signal.by == "ada"
    assert lab.client.signal_by_token(token(lab), "yes", by="bob") is SignalOutcome.SAME
    with pytest.raises(SignalRefused):
        lab.client.signal_by_token(token(lab), "no")


def test_a_token_answers_its_own_condition_only(lab: Lab) -> None:
    """Of two conditions each token answers one."""
    runs = [asked(lab, name=name) for name in ("one", "two")]
    lab.settle()
    by_run = {document["run"]: document["token"] for document in documents(lab)}
    lab.client.signal_by_token(by_run[runs[0].id.run], True)
    lab.settle()
    assert [run.phase for run in runs] == [ActionPhase.SUCCEEDED, ActionPhase.PAUSED]


def test_a_token_expires_with_the_question(lab: Lab) -> None:
    """From the deadline on the token is refused as expired, by the clock of the store."""
    asked(lab, timeout=timedelta(days=1))
    lab.settle(timedelta(hours=1))
    lab.clock.advance(timedelta(days=1))
    with pytest.raises(CallbackRefused, match="expired"):
        lab.client.signal_by_token(token(lab), True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"created": -1}, "an earlier"), ({"purpose": "abort"}, "is for 'abort'")],
)
def test_a_token_of_something_else_is_refused(lab: Lab, changes: dict[str, Any], text: str) -> None:
    """A token of an earlier action of this name, or for another purpose, answers nothing."""
    run = asked(lab)
    lab.settle()
    created = lab.get(run.action).metadata.creation_timestamp
    claims = {"created": created, "purpose": SIGNAL, "expires": created + DAY, "action": run.action}
    if "created" in changes:
        changes = {"created": created - 1}
    with pytest.raises(CallbackRefused, match=text):
        lab.client.signal_by_token(sign(SECRET.encode(), Callback(**{**claims, **changes})), True)
    assert lab.get(run.action).signal is None


# -- the secret --------------------------------------------------------------------------------------------------------
def test_without_a_secret_nothing_is_called() -> None:
    """An installation without a secret sends no question, not even without a token, and says why."""
    lab = Lab()
    run = asked(lab)
    lab.settle()
    assert lab.webhooks.calls == []
    assert "RECONCILER_CALLBACK_SECRET_FILE names no file" in lab.audit()[0].message
    assert history(lab.get(run.action)) == ["Paused", "WebhookGivenUp"]
    with pytest.raises(InvalidSettings, match="names no file"):
        lab.client.signal_by_token("x.y", True)


def test_a_secret_that_comes_later_is_used(tmp_path: Path) -> None:
    """The file is read for each try: one that was mounted late is in time for the next."""
    path = tmp_path / "late"
    lab = Lab(callback_secret_file=str(path))
    asked(lab)
    lab.step()
    assert lab.webhooks.calls == []
    path.write_text(SECRET)
    lab.settle()
    assert len(lab.webhooks.calls) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no file"),
        ("x" * 31, "32 to 4096"),
        (" " * 40, "32 to 4096"),
        ("x" * 4097, "32 to 4096"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_problem(tmp_path: Path, content: str | None, text: str) -> None:
    """A missing, short, blank or huge file is told in a sentence at start, which does not repeat what is in it."""
    path = tmp_path / "wrong"
    if content is not None:
        path.write_text(content)
    [problem] = secret_problems(Lab(callback_secret_file=str(path)).settings)
    assert text in problem
    assert not content or content not in problem


def test_a_good_secret_and_none_are_no_problems(lab: Lab) -> None:
    """Nothing is wrong with a file that can be used, nor with naming none."""
    assert secret_problems(lab.settings) == secret_problems(Lab().settings) == []


def test_neither_secret_nor_token_nor_path_are_kept(lab: Lab) -> None:
    """No record, event, warning, log or setting shows the secret or a token; none but the record shows the URL's path."""
    always_down(lab)
    with structlog.testing.capture_logs() as logged:
        run = asked(lab)
        lab.settle()
    assert [line["event"] for line in logged] == ["webhook.failed"] * 4 + ["audit"]
    record = lab.get(run.action)
    assert b"hush" in record.spec.condition_spec
    shown = repr((logged, run.events(), lab.audit(), lab.settings, record.status, record.metadata))
    fields = repr([shard.records for shard in lab.store._shards])
    assert "hush" not in shown
    for secret in (SECRET, token(lab), token(lab).partition(".")[2]):
        assert secret not in shown + fields
        assert secret.encode() not in record.spec.condition_spec


# -- metrics -----------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R61")
def test_calls_are_counted(lab: Lab, tmp_path: Path) -> None:
    """Each try counts once, by what became of it."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    metrics.enable(folder)
    try:
        lab.webhooks.failures = [DOWN] * 6
        for name in ("lost", "late"):
            asked(lab, name=name)
            lab.settle()
        registry: CollectorRegistry = worker_metrics.registry_of(folder)
        outcomes = ("taken", "failed", "given_up")
        name = "reconciler_webhook_calls_total"
        assert [registry.get_sample_value(name, {"outcome": each}) for each in outcomes] == [1, 5, 1]
    finally:
        metrics.disable()
