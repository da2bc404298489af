"""A launch that no worker can run waits, says so, and costs nothing (a fault of the installation is never the user's)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.cli.documents import waiting_reason
from reconciler.stores.base import Finished, StartRefused
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R74")
WHY = "worker w1 does not know it"
LIFE = 15_000
PATIENCE = timedelta(minutes=10)


def handed_back(lab: Lab) -> ActionId:
    """Return a call whose launch a worker took and handed back."""
    template = TaskTemplate(type="function", custom={"function": "demo.f"})
    action = lab.run(
        ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")
    ).action
    lab.step(action)
    decline(lab, action)
    return action


def decline(lab: Lab, action: ActionId, unfit: str = "", lacks: str = "") -> None:
    """Let a worker take the launch that was sent, and hand it back."""
    record = lab.store.start_attempt(action, "1", owner="w1", lease=6000)
    assert not isinstance(record, StartRefused), record
    assert lab.store.decline_attempt(action, "1", owner="w1", why=WHY, delay=250, unfit=unfit, lacks=lacks)


def look(lab: Lab, action: ActionId) -> TaskAction:
    """Move to when the action is due, and step."""
    [(_, at)] = [entry for entry in lab.store.due(lab.store.shard_of(action.run_id)) if entry[0] == action]
    lab.clock.move_to(max(at, lab.clock()))
    lab.step(action)
    return lab.get(action)


def sent(lab: Lab) -> int:
    """Count how often a launch was sent."""
    return lab.journal.words.count("launch")


def spent(record: TaskAction) -> tuple[int, int, int]:
    """What was spent: attempts, relaunches, system failures."""
    return record.status.attempts, record.status.launches, record.status.total_system_failures


def test_it_says_at_once_why_it_came_back() -> None:
    """The step after the hand-back shows the reason; nothing is sent before the delay is over."""
    lab = Lab()
    action = handed_back(lab)
    lab.step(action)
    lab.reconcile(action)
    record = lab.get(action)
    assert waiting_reason(record) == f"handed back: {WHY}"
    assert (record.phase, spent(record), sent(lab)) == (ActionPhase.QUEUED, (1, 0, 0), 1)


def test_it_is_sent_again_when_another_worker_can_run_it() -> None:
    """With a living worker of its queue that knows the function, the same launch goes to the queue again, unspent."""
    lab = Lab()
    lab.store.tell_functions("w1@h", "attempts", {}, LIFE)
    lab.store.tell_functions("w2@h", "attempts", {"demo.f": "0" * 16}, LIFE)
    action = handed_back(lab)
    record = look(lab, action)
    assert [entry.detail for entry in lab.journal.of("launch")] == ["1", "1"]
    assert WHY in waiting_reason(record)
    assert spent(record) == (1, 0, 0)
    assert not isinstance(lab.store.start_attempt(action, "1", owner="w2", lease=6000), StartRefused)
    done = Finished(action, "1", AttemptOutcome(ended="returned"))
    lab.store.finish_attempts(lab.store.shard_of(action.run_id), "w2", [done])
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_many_hand_backs_cost_nothing() -> None:
    """However often the wrong worker is faster, no budget is spent, and events stay few."""
    lab = Lab()
    action = handed_back(lab)
    for _ in range(40):
        lab.store.tell_functions("w2@h", "attempts", {"demo.f": "0" * 16}, LIFE)
        count = sent(lab)
        look(lab, action)
        assert sent(lab) == count + 1
        decline(lab, action)
    record = lab.get(action)
    assert (record.phase, spent(record)) == (ActionPhase.QUEUED, (1, 0, 0))
    assert len(lab.events(action)) < 6


def serve(lab: Lab, action: ActionId, until: int) -> TaskAction:
    """Look whenever it is due, beside a living worker that lacks the function, until this time of the lab."""
    while lab.clock() < until and not lab.get(action).phase.is_terminal():
        lab.store.tell_functions("w1@h", "attempts", {"demo.other": "1" * 16}, 60_000)
        look(lab, action)
    return lab.get(action)


def test_what_nobody_knows_waits_and_says_so() -> None:
    """It is not sent, names queue, function and remedy, and looks again within half a minute."""
    lab = Lab()
    action = handed_back(lab)
    began = lab.clock()
    record = serve(lab, action, began + 500_000)
    assert sent(lab) == 1
    reason = waiting_reason(record)
    assert reason.startswith("no worker of queue \"attempts\" knows the function 'demo.f'")
    assert "RECONCILER_IMPORTS" in reason
    assert spent(record) == (1, 0, 0)
    assert len(lab.events(action)) < 6
    lab.store.tell_functions("w2@h", "attempts", {"demo.f": "0" * 16}, 60_000)
    before = lab.clock()
    look(lab, action)
    assert sent(lab) == 2
    assert lab.clock() - before <= 30_000


def test_it_fails_as_the_platforms_error_in_the_end() -> None:
    """When living workers have consumed the queue for the whole patience, and none knew it."""
    lab = Lab()
    action = handed_back(lab)
    began = lab.clock()
    record = serve(lab, action, began + 1_000_000)
    error = record.status.error_state
    assert error is not None
    assert (record.phase, error.code, error.kind) == (ActionPhase.FAILED, "UnknownFunction", "SYSTEM")
    assert "RECONCILER_IMPORTS" in error.message
    assert 600_000 <= lab.clock() - began < 632_000


def test_without_any_worker_it_does_not_fail() -> None:
    """Nobody at all is no failure: it is sent for whoever comes, and the patience begins anew."""
    lab = Lab()
    action = handed_back(lab)
    serve(lab, action, lab.clock() + 500_000)
    lab.clock.advance(timedelta(hours=2))
    record = look(lab, action)
    assert record.phase is ActionPhase.QUEUED
    assert sent(lab) == 2
    lab.store.tell_functions("w1@h", "attempts", {}, 60_000)
    decline(lab, action)
    record = serve(lab, action, lab.clock() + 500_000)
    assert record.phase is ActionPhase.QUEUED


def test_workers_that_were_gone_for_a_moment_start_the_patience_anew() -> None:
    """Between two looks there was no worker: the time in which none knew the function begins with the next one."""
    lab = Lab()
    action = handed_back(lab)
    serve(lab, action, lab.clock() + 550_000)
    lab.store.tell_functions("w1@h", "attempts", {}, 0)
    lab.store.tell_functions("w1@h", "attempts", {}, 60_000)
    again = lab.clock()
    record = serve(lab, action, again + 565_000)
    assert record.phase is ActionPhase.QUEUED
    assert serve(lab, action, again + 700_000).phase is ActionPhase.FAILED


def test_an_abort_ends_it() -> None:
    """What nobody can run can be aborted at once: no worker has to answer."""
    lab = Lab()
    action = handed_back(lab)
    lab.store.tell_functions("w1@h", "attempts", {}, 60_000)
    look(lab, action)
    lab.client.abort(action, "enough")
    lab.settle()
    assert lab.get(action).phase is ActionPhase.ABORTED


def test_inputs_that_fit_no_living_worker_wait() -> None:
    """Each interface there is gets its turn; then the action waits, until one comes that was not tried or time is up."""
    lab = Lab()
    lab.store.tell_functions("w1@h", "attempts", {"demo.f": "a" * 16}, 10**9)
    lab.store.tell_functions("w2@h", "attempts", {"demo.f": "b" * 16}, 10**9)
    action = handed_back(lab)
    look(lab, action)
    for unfit in ("a", "b"):
        decline(lab, action, unfit * 16)
        record = look(lab, action)
    assert "as it was submitted" in waiting_reason(record)
    assert sent(lab) == 3
    lab.store.tell_functions("w3@h", "attempts", {"demo.f": "c" * 16}, 10**9)
    look(lab, action)
    assert sent(lab) == 4
    decline(lab, action, "c" * 16)
    since = lab.clock()
    while not (record := look(lab, action)).phase.is_terminal():
        assert spent(record) == (1, 0, 0)
    error = record.status.error_state
    assert error is not None
    assert (error.code, error.kind, sent(lab)) == ("UnknownFunction", "SYSTEM", 4)
    assert lab.clock() - since >= PATIENCE.total_seconds() * 1000


def test_a_secret_that_workers_lack_costs_nothing() -> None:
    """It is tried again and again, more seldom each time, says what is missing, and runs once somebody has it."""
    lab = Lab()
    lab.store.tell_functions("w1@h", "attempts", {"!demo.f": "db"}, 10**9)
    action = handed_back(lab)
    began = lab.clock()
    while lab.clock() < began + 500_000:
        if lab.store.turn(action).line:
            decline(lab, action, lacks="db")
        record = look(lab, action)
        assert (record.phase, spent(record)) == (ActionPhase.QUEUED, (1, 0, 0))
    assert waiting_reason(record).startswith('no worker has the secret "db" it needs')
    assert WHY in waiting_reason(record)
    assert 15 <= sent(lab) <= 30
    while not lab.store.turn(action).line:
        look(lab, action)
    assert not isinstance(lab.store.start_attempt(action, "1", owner="w2", lease=6000), StartRefused)
    done = Finished(action, "1", AttemptOutcome(ended="returned"))
    lab.store.finish_attempts(lab.store.shard_of(action.run_id), "w2", [done])
    lab.step(action)
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


def test_a_secret_nobody_has_is_the_platforms_error_in_the_end() -> None:
    """When living workers have lacked it for the whole patience; time without workers does not count."""
    lab = Lab()
    lab.store.tell_functions("w1@h", "attempts", {"!demo.f": "db"}, 1000)
    action = handed_back(lab)
    look(lab, action)
    decline(lab, action, lacks="db")
    lab.clock.advance(timedelta(hours=2))
    lab.store.tell_functions("w1@h", "attempts", {"!demo.f": "db"}, 10**9)
    began = lab.clock()
    while not (record := look(lab, action)).phase.is_terminal():
        if lab.store.turn(action).line:
            decline(lab, action, lacks="db")
    error = record.status.error_state
    assert error is not None
    assert (error.code, error.kind) == ("SecretUnavailable", "SYSTEM")
    assert record.status.attempts == 1
    assert 600_000 <= lab.clock() - began < 632_000
