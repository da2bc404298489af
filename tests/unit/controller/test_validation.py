"""What an action must have before it may run (R10, R23), and how a rejected one ends (R23)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from control_support import FULL, TYPE, condition, history, lab_of, phases, record, stored

from reconciler.api.action import DONE, FINALIZER, LABEL_COMPLETED_TIME, ActionSpec
from reconciler.api.errors import InvalidName, InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import ConditionStatus, ConditionType, ErrorState
from reconciler.api.template import TaskMetadata, TaskTemplate, Timeouts, encode_template
from reconciler.api.transition import ExecutionError, running, success
from reconciler.controller.round import Round
from reconciler.controller.task import resolve
from reconciler.core.validation import MAX_ENVIRONMENT, MAX_TEMPLATE, REQUIRED, check_annotations, check_spec
from reconciler.testing import Lab


def resolved(lab: Lab, spec: ActionSpec) -> ExecutionError | None:
    """What speaks against running a task."""
    return resolve(Round(lab.reconciler, record(spec), record(spec)))


MISSING_TYPE = 'no plugin registered for task type "nobody" and no default plugin available'


@pytest.mark.rule("R23")
@pytest.mark.parametrize(("attribute", "name"), REQUIRED)
def test_an_empty_required_field_is_named(attribute: str, name: str) -> None:
    """A task without one of the eight required fields is refused, and the text names the field."""
    lab = lab_of(running(0))
    empty = type(getattr(FULL, attribute))()
    spec = msgspec.structs.replace(FULL, **{attribute: empty})
    problem = resolved(lab, spec)
    assert problem is not None
    assert (problem.code, problem.message) == ("InvalidSpec", f"required spec fields are empty: [{name}]")


@pytest.mark.rule("R23")
def test_all_empty_fields_are_named_in_their_order() -> None:
    """Every empty required field is listed, not only the first, separated by blanks."""
    problem = resolved(lab_of(running(0)), ActionSpec())
    assert problem is not None
    assert problem.message == (
        "required spec fields are empty: "
        "[runName project domain actionName taskType taskTemplate inputUri runOutputBase]"
    )


@pytest.mark.rule("R23")
def test_an_unknown_task_type_is_refused_with_the_registrys_words() -> None:
    """Without a plugin the reason is PluginNotFound and the text holds task type and registry error."""
    spec = msgspec.structs.replace(FULL, task_type="nobody")
    problem = resolved(lab_of(running(0)), spec)
    assert problem is not None
    assert problem.code == "PluginNotFound"
    assert problem.message == f'no plugin found for task type "nobody": {MISSING_TYPE}'


@pytest.mark.rule("R23")
def test_the_default_plugin_runs_what_nobody_else_does() -> None:
    """A task type without a plugin of its own is not refused when there is a default plugin."""
    lab = lab_of(success(), default=True)
    action = lab.submit("nobody")
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R23")
def test_the_template_is_not_parsed_by_validation() -> None:
    """A template that is no template passes validation: reading it is the plugin's business."""
    lab = lab_of(success())
    action = lab.submit(TYPE, task_template=b"{no json")
    lab.reconcile(action)
    assert lab.journal.words[0] == "handle"


@pytest.mark.rule("R22")
@pytest.mark.parametrize(
    ("spec", "reason"),
    [({"task_type": "nobody"}, "FailedPluginResolve"), ({"task_template": b""}, "FailedValidation")],
)
def test_a_rejection_is_audited(spec: dict[str, object], reason: str) -> None:
    """Operators get a warning with reason, action and the error's text."""
    lab = lab_of(running(0))
    action = lab.submit(**{"task_type": TYPE, **spec})  # type: ignore[arg-type]  # fields of a spec
    lab.reconcile(action)
    (entry,) = lab.audit()
    error = lab.get(action).status.error_state
    assert (entry.type, entry.reason, entry.action) == ("Warning", reason, "ValidatingTaskAction")
    assert error is not None
    assert entry.message == error.message


@pytest.mark.rule("R23")
@pytest.mark.parametrize("reason", ["PluginNotFound", "InvalidSpec"])
def test_a_rejected_action_ends_like_any_failed_one(reason: str) -> None:
    """Conditions, history, error state, one final FAILED event and the labels appear in the round that rejects."""
    lab = lab_of(running(0))
    spec = (
        {"task_type": "nobody"} if reason == "PluginNotFound" else {"task_type": TYPE, "task_template": b""}
    )
    action = lab.submit(**spec)  # type: ignore[arg-type]  # fields of a spec
    assert lab.reconcile(action) == DONE
    found = lab.get(action)
    text = condition(found, ConditionType.FAILED).message
    assert condition(found, ConditionType.FAILED).status is ConditionStatus.TRUE
    assert condition(found, ConditionType.PROGRESSING).status is ConditionStatus.FALSE
    assert {c.reason for c in found.status.conditions} == {reason}
    assert history(found) == [reason]
    assert found.status.error_state == ErrorState(reason, "USER", text)
    assert phases(lab, action) == [("queued", 1, False), ("failed", 1, True)]
    assert LABEL_COMPLETED_TIME in found.labels


@pytest.mark.rule("R23")
def test_a_rejected_action_has_no_finalizer() -> None:
    """What was refused owes no clean-up, and is never looked at again."""
    lab = lab_of(running(0))
    action = lab.submit("nobody")
    lab.reconcile(action)
    assert FINALIZER not in lab.get(action).metadata.finalizers
    assert lab.store.due(lab.store.shard_of(action.run_id)) == []


@pytest.mark.rule("R22")
def test_a_rejected_action_never_reaches_its_plugin() -> None:
    """A missing field stops the action before handle, abort and finalize."""
    lab = lab_of(running(0))
    lab.submit(TYPE, task_template=b"")
    lab.settle()
    assert not {"handle", "abort", "finalize"} & set(lab.journal.words)


@pytest.mark.rule("R23")
def test_a_rejection_needs_no_recorder() -> None:
    """Without an audit sink a rejected action ends all the same."""
    lab = lab_of(running(0))
    lab.reconciler.recorder = None
    action = lab.submit("nobody")
    lab.reconcile(action)
    assert lab.get(action).phase is ActionPhase.FAILED


@pytest.mark.rule("R23")
def test_a_rejection_that_cannot_be_stored_is_not_forgotten() -> None:
    """When the write is lost the action stays live, and the next round rejects it again."""
    lab = lab_of(running(0))
    action = lab.submit("nobody")
    shard = lab.store.shard_of(action.run_id)
    (claimed,) = lab.store.claim(shard, owner="died", limit=0, named=[action]).actions
    lab.reconciler.round(claimed)
    assert not lab.get(action).is_terminal
    lab.settle()
    assert lab.get(action).phase is ActionPhase.FAILED


# -- the door (R10) ---------------------------------------------------------------------------------------------
@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_name": "other"}, "the identity fields say default/development/other/a0"),
        ({"parent_action_name": "a0"}, "an action cannot be its own parent"),
        ({"action_type": "job"}, "actionType must be task or condition, got 'job'"),
        ({"condition_spec": b"{}"}, "conditionSpec must be given for a condition, and only for a condition"),
        ({"action_type": "condition"}, "conditionSpec must be given for a condition"),
        ({"cache_key": "x" * 257}, "cache_key has 257 characters, at most 256 are allowed"),
        ({"task_type": "x" * 64}, "task_type has 64 characters, at most 63 are allowed"),
        ({"short_name": "x" * 64}, "short_name has 64 characters, at most 63 are allowed"),
        ({"group": "x" * 257}, "group has 257 characters, at most 256 are allowed"),
        ({"task_template": b"x" * (MAX_TEMPLATE + 1)}, f"taskTemplate has {MAX_TEMPLATE + 1} bytes"),
        ({"env_vars": {"A": "x" * MAX_ENVIRONMENT}}, f"envVars have {MAX_ENVIRONMENT + 1} bytes"),
    ],
)
def test_a_spec_out_of_its_limits_is_refused_at_the_door(changes: dict[str, object], words: str) -> None:
    """A spec that is too long or contradicts itself is refused before anything is stored, and told why."""
    with pytest.raises(InvalidSpec) as refused:
        check_spec(record().id, msgspec.structs.replace(FULL, **changes))
    assert words in str(refused.value)


@pytest.mark.rule("R10")
def test_a_spec_at_its_limits_is_accepted() -> None:
    """The longest allowed values are allowed."""
    longest = {"cache_key": "x" * 256, "task_type": "x" * 63, "short_name": "x" * 63, "group": "x" * 256}
    sizes = {"task_template": b"x" * MAX_TEMPLATE, "env_vars": {"A": "x" * (MAX_ENVIRONMENT - 1)}}
    check_spec(record().id, msgspec.structs.replace(FULL, parent_action_name="b", **longest, **sizes))


@pytest.mark.rule("R10")
def test_a_parent_keeps_the_rule_of_names() -> None:
    """The name of a parent may hold nothing that could reach into a key."""
    with pytest.raises(InvalidName, match="parent action"):
        check_spec(record().id, msgspec.structs.replace(FULL, parent_action_name="a:b"))


@pytest.mark.rule("R5")
@pytest.mark.parametrize("action_type", ["", "task", "strange"])
def test_whatever_is_no_condition_is_a_task(action_type: str) -> None:
    """Empty and unknown action types take the task path."""
    lab = lab_of(success())
    action = stored(lab, msgspec.structs.replace(FULL, action_type=action_type))
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R67", "R25")
@pytest.mark.parametrize(
    "template", [b'{"type":"\xff"}', b'{"custom":{"a":' + b"[" * 5000], ids=["UTF-8", "deep"]
)
def test_a_template_of_wrong_bytes_holds_up_no_round(template: bytes) -> None:
    """A template that is no UTF-8, or nested too deeply, counts as unreadable: the action still reaches its end."""
    lab = lab_of(success())
    action = lab.submit(TYPE, task_template=template)
    lab.settle()
    assert lab.get(action).phase is ActionPhase.SUCCEEDED


@pytest.mark.rule("R34")
@pytest.mark.parametrize("name", ["queued", "running", "heartbeat", "overall"])
@pytest.mark.parametrize("seconds", [0, -5])
def test_limits_that_pass_at_once_are_refused_at_the_door(name: str, seconds: int) -> None:
    """No limit of time may be 0 or negative: nothing is stored, and the error says what to do."""
    limits = Timeouts(**{name: timedelta(seconds=seconds)})
    template = encode_template(TaskTemplate(metadata=TaskMetadata(timeouts=limits)))
    lab = Lab()
    with pytest.raises(
        InvalidSpec, match=f"the {name} limit must be longer than 0 seconds.*leave it out for none"
    ):
        lab.run(ActionSpec(task_type="echo", task_template=template, inputs=b"{}"))


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    "part",
    [
        {"short_name": "\ud800"},
        {"env_vars": {"A": "\ud800"}},
        {"env_vars": {"\udfff": "b"}},
        {"group": "x\ude00"},
    ],
    ids=["short name", "value", "name", "group"],
)
def test_half_a_character_is_refused_at_the_door(part: dict[str, Any]) -> None:
    """What no JSON can carry is an invalid spec, not a mistake in somebody's encoder."""
    with pytest.raises(InvalidSpec, match="half a character"):
        Lab().run(ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}", **part))


def test_half_a_character_is_no_annotation() -> None:
    """The same for annotations."""
    with pytest.raises(InvalidSpec, match="half a character"):
        check_annotations({"a": "\ud800"})


@pytest.mark.rule("R23")
@pytest.mark.parametrize("template", [b'{"timeouts"', b'{"metadata":null,"custom":{"timeouts":0}}'])
def test_only_limits_that_can_be_read_are_checked_at_the_door(template: bytes) -> None:
    """A template that is no template is told of by its first round, as any other; the word alone is no limit."""
    check_spec(record().id, msgspec.structs.replace(FULL, task_template=template))
