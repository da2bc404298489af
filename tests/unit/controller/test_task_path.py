"""One round of a task, step by step (R5, R11, R20, R21, R22, R25, R35, R77)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from control_support import (
    CACHED,
    FULL,
    REQUEUE,
    TYPE,
    SmallCatalog,
    condition,
    lab_of,
    outputs,
    phases,
    retries,
    stored,
)

from reconciler.api.action import DONE, FINALIZER, ActionId, Result
from reconciler.api.errors import BadTaskSpecification, ReadFailed, StoreUnavailable, Superseded
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status_conditions import ConditionType
from reconciler.api.template import Interface
from reconciler.api.transition import (
    UNKNOWN_TRANSITION,
    failure,
    initializing,
    not_ready,
    queued,
    retryable_failure,
    running,
    success,
    waiting_for_resources,
)
from reconciler.controller import cache
from reconciler.controller.round import commit_one
from reconciler.plugins.context import TaskExecutionContext


class Note(msgspec.Struct):
    """State of a plugin."""

    text: str


def keeping(text: str, answer: Any) -> Any:
    """Return an answer that stores plugin state first."""

    def say(ctx: TaskExecutionContext) -> Any:
        ctx.state.put(3, Note(text))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return say


# -- the entry (R5) --------------------------------------------------------------------------------------------
@pytest.mark.rule("R5")
def test_a_missing_record_is_done() -> None:
    """An action nobody stored is no error and needs no further look."""
    assert lab_of(running(0)).reconcile(ActionId("p", "d", "r", "a")) == DONE


@pytest.mark.rule("R5")
def test_a_read_error_is_returned() -> None:
    """A store that does not answer is an error of the round, not a missing record."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)

    def claim(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no answer")

    lab.store.claim = claim  # type: ignore[method-assign]  # a server that is gone
    with pytest.raises(StoreUnavailable):
        lab.reconcile(action)


@pytest.mark.rule("R5")
def test_deletion_comes_before_everything_else() -> None:
    """An abort that is asked for is served before the plugin is called again."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.client.abort(action)
    lab.reconcile(action)
    assert lab.journal.words.count("handle") == 1
    assert lab.get(action).phase is ActionPhase.ABORTED


@pytest.mark.rule("R5")
def test_a_terminal_action_is_not_handled_again() -> None:
    """After the end only what is owed is paid; handle and abort are not called."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.journal.clear()
    lab.settle()
    assert lab.reconcile(action) == DONE
    assert lab.journal.words == ["finalize", "finalizer"]


@pytest.mark.rule("R5")
def test_a_superseded_round_changes_nothing() -> None:
    """A round whose claim was taken over meanwhile writes neither status nor event."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    shard = lab.store.shard_of(action.run_id)

    def steal(_: TaskExecutionContext) -> Any:
        lab.clock.advance(lab.settings.step_lease)
        lab.store.claim(shard, owner="other", limit=0, named=[action])
        return success()

    lab.plugin.answers = [steal]  # type: ignore[attr-defined]  # see lab_of
    with pytest.raises(Superseded):
        lab.reconcile(action)
    assert phases(lab, action) == [("queued", 1, False)]
    assert lab.get(action).status.plugin_phase == ""


@pytest.mark.rule("R2")
def test_a_round_works_on_a_snapshot() -> None:
    """The untouched copy a round compares with is not changed by the round."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    (claimed,) = lab.store.claim(
        lab.store.shard_of(action.run_id), owner="t", limit=0, named=[action]
    ).actions
    before = claimed.status
    _, write = lab.reconciler.round(claimed)
    assert write.original.status is before
    assert write.action.status.plugin_phase == "PhaseSuccess"


# -- what a normal round writes (R22) ---------------------------------------------------------------------------
@pytest.mark.rule("R22")
def test_the_finalizer_is_stored_before_the_plugin_is_called() -> None:
    """When handle runs for the first time the stored record already owes its clean-up."""
    seen: list[tuple[str, ...]] = []

    def look(ctx: TaskExecutionContext) -> Any:
        seen.append(lab.get(ctx.action.id).metadata.finalizers)
        return running(0)

    lab = lab_of(look)
    lab.reconcile(lab.submit(TYPE))
    assert seen == [(FINALIZER,)]


@pytest.mark.rule("R22")
def test_a_round_stores_phase_version_and_attempt() -> None:
    """Phase name, phase version and an attempt of at least 1 are in the record after the first round."""
    lab = lab_of(queued(0, 7, "sent"))
    action = lab.submit(TYPE)
    assert lab.get(action).status.attempts == 0
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.plugin_phase, status.plugin_phase_version, status.attempts) == ("PhaseQueued", 7, 1)


@pytest.mark.rule("R11")
def test_state_json_names_phase_action_and_time() -> None:
    """The observability document holds exactly phase, action and the second of the round."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    assert lab.get(action).state_json == ""
    lab.reconcile(action)
    assert msgspec.json.decode(lab.get(action).state_json) == {
        "phase": "PhaseRunning",
        "actionId": f"{action.run}/a0",
        "timestamp": "2023-11-14T22:13:20Z",
    }


@pytest.mark.rule("R6")
def test_a_round_is_one_commit() -> None:
    """Status, events, labels, finalizer and due time of a round reach the store in a single write."""
    lab = lab_of(success())
    action = lab.submit(TYPE)
    verbs: list[str] = []
    lab.store.on_write = lambda verb, _: verbs.append(verb)
    lab.reconcile(action)
    assert verbs == ["claim", "commit"]


@pytest.mark.rule("R22")
def test_plugin_state_is_there_in_the_next_round() -> None:
    """What a plugin puts is stored with its version, and read in the next round, not in the same."""
    read: list[Any] = []

    def look(ctx: TaskExecutionContext) -> Any:
        read.append((ctx.state.get(Note), ctx.state.version))
        return keeping("seen", running(0))(ctx)

    lab = lab_of(look)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    assert read == [(None, 0), (Note("seen"), 3)]


@pytest.mark.rule("R22")
def test_a_reset_empties_the_plugin_state() -> None:
    """A plugin that resets its state leaves empty bytes and version 0."""

    def reset(ctx: TaskExecutionContext) -> Any:
        ctx.state.reset()
        return running(1)

    lab = lab_of(keeping("x", running(0)), reset)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    status = lab.get(action).status
    assert (status.plugin_state, status.plugin_state_version) == (b"", 0)


@pytest.mark.rule("R22")
def test_state_put_before_an_error_is_discarded() -> None:
    """A round that raises keeps the state of the round before."""
    lab = lab_of(keeping("first", running(0)), keeping("second", ValueError("x")))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    assert msgspec.json.decode(lab.get(action).status.plugin_state, type=Note) == Note("first")


@pytest.mark.rule("R22")
def test_finalize_still_reads_the_plugin_state_of_the_end() -> None:
    """Clean-up after the end knows what the plugin noted; only then the state is forgotten."""
    lab = lab_of(keeping("token-7", running(0)), success())
    action = lab.submit(TYPE)
    lab.settle()
    (ctx,) = lab.plugin.finalized  # type: ignore[attr-defined]  # see lab_of
    assert ctx.state.get(Note) == Note("token-7")
    status = lab.get(action).status
    assert (status.plugin_state, status.plugin_state_version) == (b"", 0)


@pytest.mark.rule("R22")
@pytest.mark.parametrize("end", [success(), BadTaskSpecification("no")], ids=["success", "permanent failure"])
def test_an_end_that_owes_nothing_keeps_no_state(end: Any) -> None:
    """Without a finalize to come, the last round itself forgets the plugin state, however the action ends."""
    lab = lab_of(keeping("x", running(0)), end, finalizes=False)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    assert lab.get(action).status.plugin_state == b""


@pytest.mark.rule("R22")
def test_outputs_of_a_success_are_in_the_record() -> None:
    """A success that names its outputs stores the reference."""
    lab = lab_of(outputs)
    action = lab.submit(TYPE)
    lab.settle()
    ref = lab.get(action).status.outputs
    assert ref is not None
    assert ref.uri.endswith("/a0/1/outputs.pb")
    assert lab.blobs.get(ref.uri) == b'{"o":1}'


@pytest.mark.rule("R3")
@pytest.mark.parametrize(
    ("first", "second", "woken"),
    [(running(0), running(0), False), (queued(0, 0, ""), running(0), True), (running(0), running(1), False)],
    ids=["nothing", "phase", "version"],
)
def test_a_change_of_phase_wakes_the_action_at_once(first: Any, second: Any, woken: bool) -> None:  # noqa: FBT001  # a table
    """After a change of phase the next look is due now; otherwise after the requeue duration."""
    lab = lab_of(first, second)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.reconcile(action) == Result(REQUEUE, woken=woken)
    ((_, due),) = lab.store.due(lab.store.shard_of(action.run_id))
    assert due == lab.clock() + (0 if woken else REQUEUE)


@pytest.mark.rule("R7")
def test_a_plugin_may_ask_for_an_exact_time() -> None:
    """A phase that names its next time is looked at then, though the phase changed."""
    at = 1_700_000_000_000 + 77_000
    lab = lab_of(running(0, requeue_at=at))
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(77_000)
    assert lab.store.due(lab.store.shard_of(action.run_id)) == [(action, at)]


def launching(answer: Any) -> Any:
    """Return an answer that offers the launch to a queue first."""

    def say(ctx: TaskExecutionContext) -> Any:
        ctx.send("q")
        return answer

    return say


@pytest.mark.rule("R24")
def test_a_launch_is_stored_with_the_round_that_asked_for_it() -> None:
    """From the commit on this launch may report, and only then."""
    lab = lab_of(launching(queued(0, 0, "sent")))
    action = lab.submit(TYPE)
    lab.reconcile(action)
    assert lab.get(action).attempt.launch == "1"
    assert lab.journal.words == ["handle", "event", "status", "launch"]


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    "answer", [ValueError("x"), retryable_failure("E", "x")], ids=["raised", "restarted"]
)
def test_a_launch_of_a_round_that_failed_is_not_sent(answer: Any) -> None:
    """A request to launch is dropped with the round it was made in."""

    def say(ctx: TaskExecutionContext) -> Any:
        ctx.send("q")
        if isinstance(answer, Exception):
            raise answer
        return answer

    lab = lab_of(say)
    action = lab.submit(TYPE, metadata=retries(1))
    lab.reconcile(action)
    assert lab.get(action).attempt.launch == ""


# -- already running (R21) --------------------------------------------------------------------------------------
@pytest.mark.rule("R21")
@pytest.mark.parametrize(
    "answer",
    [
        not_ready(0, 0, ""),
        waiting_for_resources(0, 0, ""),
        queued(0, 0, ""),
        initializing(0, 0, ""),
        running(0),
    ],
    ids=lambda info: info.phase.label,
)
def test_only_a_running_task_is_already_running(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is told "already running" when the stored phase is PhaseRunning, and only then."""
    told: list[bool] = []

    def before(_: Any, *, running: bool) -> None:
        told.append(running)

    lab = lab_of(answer)
    monkeypatch.setattr(cache, "before", before)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    lab.reconcile(action)
    assert told == [False, answer.phase is PluginPhase.RUNNING]


# -- what goes wrong -------------------------------------------------------------------------------------------------
@pytest.mark.rule("R25")
@pytest.mark.parametrize(
    "spec",
    [
        {"run_output_base": "nowhere"},
        {"run_output_base": "s3://memory/a/../b"},
        {"input_uri": "file:///etc/passwd"},
        {"task_template": b'{"metadata":{"discoverable":true},no json'},
    ],
    ids=["output base", "output base with ..", "input URI", "template"],
)
def test_what_the_spec_makes_impossible_ends_at_once(spec: dict[str, Any]) -> None:
    """A place or a template that cannot be read fails the action at once, by the user's fault, whoever stored it."""
    lab = lab_of(running(0), catalog=SmallCatalog())
    action = stored(lab, msgspec.structs.replace(FULL, task_type=TYPE, **spec))
    assert lab.reconcile(action) == DONE
    found = lab.get(action)
    assert found.phase is ActionPhase.FAILED
    assert found.status.error_state is not None
    assert (found.status.error_state.code, found.status.error_state.kind) == ("InvalidSpec", "USER")
    assert found.status.system_failures == 0
    assert "handle" not in lab.journal.words


@pytest.mark.rule("R25")
def test_a_failing_preparation_is_counted_and_shown() -> None:
    """An error before the plugin spends the system budget, and the condition says what is waited for."""
    catalog = SmallCatalog()
    catalog.fail["reserve"] = StoreUnavailable("the catalog is away")
    lab = lab_of(running(0), catalog=catalog)
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    assert lab.reconcile(action) == Result(REQUEUE)
    found = lab.get(action)
    assert found.status.system_failures == 1
    shown = condition(found, ConditionType.PROGRESSING)
    assert (shown.reason, shown.message) == ("Queued", "acquiring cache reservation: the catalog is away")
    assert "handle" not in lab.journal.words


@pytest.mark.rule("R25")
def test_a_failing_preparation_keeps_the_reason_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of a preparation error stands under the reason the action had."""
    lab = lab_of(running(0))
    action = lab.submit(TYPE)
    lab.reconcile(action)

    def broken(*_: Any, **__: Any) -> Any:
        raise ReadFailed("inputs are away")

    monkeypatch.setattr(cache, "before", broken)
    lab.reconcile(action)
    shown = condition(lab.get(action), ConditionType.PROGRESSING)
    assert (shown.reason, shown.message) == ("Executing", "inputs are away")


@pytest.mark.rule("R25")
def test_a_preparation_that_never_succeeds_ends() -> None:
    """Failing cache steps use up the system budget instead of going on for ever."""
    catalog = SmallCatalog()
    catalog.fail["reserve"] = StoreUnavailable("the catalog is away")
    lab = lab_of(running(0), catalog=catalog)
    action = lab.submit(TYPE, metadata=CACHED, interface=Interface())
    lab.settle()
    found = lab.get(action)
    assert found.phase is ActionPhase.FAILED
    assert found.status.error_state is not None
    assert found.status.error_state.code == "MaxSystemFailuresExceeded"


@pytest.mark.rule("R25")
def test_a_failing_cache_step_after_execution_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after handle discards the round and spends the system budget."""
    lab = lab_of(success())
    action = lab.submit(TYPE)

    def broken(*_: Any) -> Any:
        raise ReadFailed("inputs are away")

    monkeypatch.setattr(cache, "after", broken)
    assert lab.reconcile(action) == Result(REQUEUE)
    assert lab.get(action).status.system_failures == 1
    assert not lab.get(action).is_terminal


@pytest.mark.rule("R20")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (UNKNOWN_TRANSITION, "handle returned an undefined phase without an error"),
        (None, "handle must return a Transition, got NoneType"),
    ],
)
def test_an_answer_that_says_nothing_is_a_system_error(answer: Any, words: str) -> None:
    """An undefined phase, or no transition at all, spends the budget and publishes nothing."""
    lab = lab_of(answer)
    action = lab.submit(TYPE)
    lab.reconcile(action)
    found = lab.get(action)
    assert (found.status.system_failures, found.status.plugin_phase) == (1, "")
    assert lab.audit()[-1].message == f'Plugin "{TYPE}" system error: {words}'
    assert phases(lab, action) == [("queued", 1, False)]


@pytest.mark.rule("R35")
@pytest.mark.parametrize("cleanup", [True, False])
def test_a_permanent_failure_with_the_flag_stops_its_resource(cleanup: bool) -> None:  # noqa: FBT001  # a table
    """`cleanup_on_failure` makes the round that ends the action abort the plugin's resource first."""
    lab = lab_of(failure("Image", "cannot be pulled", cleanup=cleanup))
    lab.reconcile(lab.submit(TYPE))
    assert ("abort" in lab.journal.words) is cleanup


@pytest.mark.rule("R35")
def test_the_end_waits_until_the_resource_is_stopped() -> None:
    """While that abort fails the action does not end; it ends once the abort succeeded."""
    lab = lab_of(failure("Image", "cannot be pulled", cleanup=True), on_abort=[OSError("busy"), None])
    action = lab.submit(TYPE)
    assert lab.reconcile(action) == Result(REQUEUE)
    assert not lab.get(action).is_terminal
    lab.settle()
    assert lab.get(action).phase is ActionPhase.FAILED


@pytest.mark.rule("R77")
def test_only_the_holder_of_the_claim_writes_attempts() -> None:
    """A write of attempts and cache status under an older token is refused."""
    lab = lab_of(running(0))
    action = stored(lab, FULL)
    shard = lab.store.shard_of(action.run_id)
    (old,) = lab.store.claim(shard, owner="old", limit=0, named=[action]).actions
    lab.clock.advance(lab.settings.step_lease)
    lab.reconcile(action)
    old.set_status(attempts=9)
    with pytest.raises(Superseded):
        commit_one(lab.reconciler, lab.reconciler.round(old)[1])
    assert lab.get(action).status.attempts == 1
