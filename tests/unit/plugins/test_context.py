"""What a plugin is given (R63): the task, names, labels, annotations, environment."""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_support import NOW, context, record

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction
from reconciler.api.errors import BadTaskSpecification, InvalidSpec, ReadFailed
from reconciler.api.status import ActionStatus
from reconciler.api.template import (
    Identifier,
    RetryStrategy,
    SecretRef,
    TaskMetadata,
    TaskTemplate,
    template_or_none,
)
from reconciler.core.line import RELAUNCH, Line, read_line
from reconciler.plugins.context import TaskExecutionContext, sanitize_label
from reconciler.plugins.state import PluginStateManager
from reconciler.testing import Lab


# -- construction (22.2) -----------------------------------------------------------------------------------------------
@pytest.mark.rule("R63")
def test_a_base_that_cannot_be_parsed_fails_the_context() -> None:
    """Without a usable output base there is no context."""
    with pytest.raises(InvalidSpec, match='invalid RunOutputBase "nowhere"'):
        context(run_output_base="nowhere")


@pytest.mark.rule("R63")
def test_a_wrong_secret_fails_the_context() -> None:
    """A secret mounted in a way that does not exist is refused before the plugin is called."""
    template = TaskTemplate(secrets=(SecretRef(key="k", mount="ram"),))
    with pytest.raises(BadTaskSpecification, match="mount must be env or file, got 'ram'"):
        context(template=template)


@pytest.mark.rule("R63")
def test_an_unreadable_template_does_not_fail_the_context() -> None:
    """The template is parsed when somebody asks for it: abort and finalize work without it."""
    ctx = context(template=b"nonsense")
    with pytest.raises(BadTaskSpecification, match="proj/dev/rabc123/train cannot be read"):
        _ = ctx.template


@pytest.mark.rule("R63")
def test_the_template_is_read_once() -> None:
    """Asking for the template twice gives the same one."""
    ctx = context()
    assert ctx.template is ctx.template
    assert ctx.template.id == Identifier(name="my.task")
    assert ctx.template_path == "inline://taskTemplate"


def test_the_time_is_that_of_the_round() -> None:
    """A context tells the store's time of its round."""
    assert context().now == NOW


@pytest.mark.rule("R64")
def test_inputs_in_the_record_are_read() -> None:
    """Small inputs come with the record."""
    assert msgspec.json.decode(context(inputs={"x": 1}).read_inputs()) == {"x": 1}


@pytest.mark.rule("R64")
def test_missing_inputs_have_their_own_code() -> None:
    """Inputs that are not there raise READ_FAILED."""
    action = record(input_uri="s3://bkt/none")
    action.spec = msgspec.structs.replace(action.spec, inputs=None)
    with pytest.raises(ReadFailed) as raised:
        context(action).read_inputs()
    assert raised.value.code == "READ_FAILED"


# -- attempts (13, 22.4, 22.7) -----------------------------------------------------------------------------------------
@pytest.mark.rule("R65")
@pytest.mark.parametrize(
    ("attempts", "launches", "folder", "launch"),
    [(0, 0, "1", "1"), (1, 0, "1", "1"), (3, 0, "3", "3"), (2, 1, "2-1", "2-1")],
)
def test_each_launch_has_its_own_folder(attempts: int, launches: int, folder: str, launch: str) -> None:
    """The files of a launch lie below attempt and relaunch, and only that launch may report (R29)."""
    ctx = context(status=ActionStatus(attempts=attempts, launches=launches))
    assert ctx.files.prefix == f"s3://bkt/x5/base/train/{folder}"
    assert ctx.launch == launch


@pytest.mark.rule("R31")
@pytest.mark.parametrize(
    ("template", "attempts"),
    [
        (TaskTemplate(), 1),
        (TaskTemplate(metadata=TaskMetadata()), 1),
        (TaskTemplate(metadata=TaskMetadata(retries=RetryStrategy(retries=3))), 4),
        (b"nonsense", 1),
        (b"", 1),
    ],
    ids=["no metadata", "no retries", "three retries", "unreadable", "missing"],
)
def test_the_budget_of_attempts_comes_from_the_template(
    template: TaskTemplate | bytes, attempts: int
) -> None:
    """Retries + 1; without a readable template there is one attempt."""
    assert context(template=template).max_attempts == attempts


def requested(**status: Any) -> Line:
    """Return the line of a request to launch."""
    ctx = context(status=ActionStatus(**status))
    ctx.send("gpu", "demo.f")
    assert ctx.launch_request is not None
    return read_line(ctx.launch_request[1])


def test_a_request_to_launch_names_launch_and_line() -> None:
    """`send` remembers for which launch and to which line; nothing is sent yet."""
    ctx = context(status=ActionStatus(attempts=2))
    ctx.send("gpu", "demo.f", alone=True)
    project = ctx.action.id.project
    assert ctx.launch_request == ("2", Line("gpu", 5, alone=True, fair=project, function="demo.f").name)


def test_a_relaunch_stands_ahead_and_is_drawn_alone() -> None:
    """It has stood in line before; and if it ends its worker once more, it ends nobody else."""
    assert (requested(attempts=1).level, requested(attempts=1).alone) == (5, False)
    assert (requested(attempts=1, launches=1).level, requested(attempts=1, launches=1).alone) == (
        RELAUNCH,
        True,
    )


@pytest.mark.rule("R66")
@pytest.mark.parametrize(("attempts", "previous"), [(0, ""), (1, ""), (2, "1"), (12, "11")])
def test_the_previous_checkpoints_are_those_of_the_attempt_before(attempts: int, previous: str) -> None:
    """From the second attempt on, and never the folder of the attempt itself."""
    ctx = context(status=ActionStatus(attempts=attempts))
    folder = ctx.files.prefix.rpartition("/")[0]
    assert ctx.previous_checkpoint_prefix == (f"{folder}/{previous}/_flytecheckpoints" if previous else "")
    assert ctx.files.checkpoint_prefix == f"{folder}/{max(attempts, 1)}/_flytecheckpoints"


# -- names (22.7) ------------------------------------------------------------------------------------------------------
@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("attempts", "launches", "name"),
    [
        (0, 0, "rabc123-train-0"),
        (1, 0, "rabc123-train-0"),
        (3, 0, "rabc123-train-2"),
        (1, 2, "rabc123-train-0-2"),
    ],
)
def test_the_generated_name_is_unique_for_each_launch(attempts: int, launches: int, name: str) -> None:
    """Record name and retry, the relaunch after a system failure (R29), and what stands for the whole identity."""
    found = context(status=ActionStatus(attempts=attempts, launches=launches)).generated_name
    assert re.fullmatch(f"{name}-[a-z1-6]{{8}}", found)


@pytest.mark.rule("R67")
def test_no_two_installations_projects_or_incarnations_share_a_generated_name() -> None:
    """The name of a record alone says nothing of them, and a service may serve them all."""
    labs = [Lab(cluster=cluster, key_prefix=prefix) for cluster in ("", "east") for prefix in ("cr", "cr2")]
    names = [
        TaskExecutionContext(
            TaskAction(
                ActionId(project, "d", "run", "a0"),
                ActionSpec(run_name="run", action_name="a0", run_output_base="s3://b/base"),
                metadata=Metadata(namespace="flyte", name="run-a0", incarnation=incarnation),
            ),
            lab.reconciler.services,
            PluginStateManager(),
        ).generated_name
        for lab in labs
        for project in ("p", "q")
        for incarnation in ("", "i1", "i2")
    ]
    assert len(set(names)) == len(names) == 24


@pytest.mark.rule("R67")
@pytest.mark.parametrize(("longest", "length"), [(24, 24), (23, 8)])
def test_the_generated_name_keeps_the_plugins_limit(longest: int, length: int) -> None:
    """A name that fits stays; a longer one becomes `f` and a hash."""
    name = context(max_name=longest).generated_name
    assert len(name) == length
    assert name.startswith("rabc123-train-0-") is (longest == 24)


# -- environment (22.7) ------------------------------------------------------------------------------------------------
@pytest.mark.rule("R67")
def test_the_environment_names_the_action() -> None:
    """The four variables of the platform, and those of the run."""
    assert context(env_vars={"MINE": "1"}).environment == {
        "MINE": "1",
        "ACTION_NAME": "train",
        "RUN_NAME": "rabc123",
        "_U_RUN_BASE": "s3://bkt/base",
        "_U_ORG_NAME": "local",
    }


@pytest.mark.rule("R67")
@pytest.mark.parametrize("name", ["ACTION_NAME", "RUN_NAME", "_U_RUN_BASE", "_U_ORG_NAME"])
def test_users_cannot_replace_the_platforms_variables(name: str) -> None:
    """A variable of the run never wins over one of the platform."""
    assert context(env_vars={name: "mine"}).environment == context().environment


# -- labels (22.7) -----------------------------------------------------------------------------------------------------
@pytest.mark.rule("R67")
def test_labels_say_what_a_resource_belongs_to() -> None:
    """Labels of the record, and on top those of the platform."""
    labels = context(labels={"team": "blue"}, status=ActionStatus(attempts=2)).labels
    assert labels == {
        "team": "blue",
        "flyte.org/project": "proj",
        "flyte.org/domain": "dev",
        "flyte.org/run": "rabc123",
        "flyte.org/action": "train",
        "flyte.org/action-type": "task",
        "flyte.org/is-root": "false",
        "organization": "flyte",
        "project": "proj",
        "domain": "dev",
        "flyte.org/managed": "true",
        "run": "rabc123",
        "action": "train",
        "attempt": "2",
        "task-name": "my.task",
    }


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    "name", ["organization", "project", "attempt", "run", "task-name", "flyte.org/managed"]
)
def test_the_platforms_labels_win(name: str) -> None:
    """A label of the record never hides one of the platform."""
    assert context(labels={name: "mine"}).labels[name] == context().labels[name]


@pytest.mark.rule("R67")
def test_a_task_with_secrets_is_labelled() -> None:
    """Only a task with secrets asks for their injection."""
    assert "inject-flyte-secrets" not in context().labels
    labels = context(template=TaskTemplate(secrets=(SecretRef(key="k"),))).labels
    assert labels["inject-flyte-secrets"] == "true"


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    "template",
    [TaskTemplate(), TaskTemplate(id=Identifier()), b"nonsense"],
    ids=["no id", "no name", "unreadable"],
)
def test_a_task_without_a_name_has_no_name_label(template: TaskTemplate | bytes) -> None:
    """An empty label value is left out."""
    assert "task-name" not in context(template=template).labels


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a/b c:d", "a-b-c-d"),
        ("_x_", "xxx"),
        (".", "x"),
        ("é", "x"),
        ("é!", "xx"),
        ("y" * 70, "y" * 63),
        ("y" * 62 + "--", "y" * 62 + "x"),
    ],
)
def test_label_values_are_sanitized(value: str, clean: str) -> None:
    """Invalid characters become `-`, the value is cut to 63, and both ends are alphanumeric."""
    assert sanitize_label(value) == clean


@pytest.mark.rule("R67")
@given(st.text(max_size=100))
def test_a_sanitized_value_is_always_valid(value: str) -> None:
    """Whatever the text, the label value is one that Kubernetes would take."""
    clean = sanitize_label(value)
    assert len(clean) == min(len(value), 63)
    assert clean.isascii()
    assert not clean or (clean[0].isalnum() and clean[-1].isalnum())
    assert all(c.isalnum() or c in "-_." for c in clean)
    assert sanitize_label(clean) == clean


# -- annotations (22.7, 25) --------------------------------------------------------------------------------------------
@pytest.mark.rule("R67")
def test_annotations_are_those_of_the_record() -> None:
    """Without secrets there is nothing to add."""
    assert context(annotations={"a": "b"}).annotations == {"a": "b"}


@pytest.mark.rule("R67")
@pytest.mark.parametrize("mount", ["env", "file"])
def test_secrets_are_annotated_by_reference(mount: str) -> None:
    """Each secret is one annotation in base32, in order; it holds the key, never a value."""
    secrets = (SecretRef(key="one", mount=mount), SecretRef(key="two", group="g"))
    found = context(template=TaskTemplate(secrets=secrets)).annotations
    decoded = [
        msgspec.json.decode(base64.b32decode(found[f"flyte.secrets/s{index}"]), type=SecretRef)
        for index in range(2)
    ]
    assert tuple(decoded) == secrets
    assert len(found) == 2


@pytest.mark.rule("R67")
def test_too_many_secrets_are_refused() -> None:
    """Annotations above 256 KiB are refused, saying what helps."""
    secrets = tuple(SecretRef(key="k" * 4000) for _ in range(50))
    with pytest.raises(BadTaskSpecification, match="refer to fewer secrets"):
        _ = context(template=TaskTemplate(secrets=secrets)).annotations


# -- interruptible (22.7, R75) ----------------------------------------------------------------------------------------
@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("of_run", "of_task", "wanted"),
    [(None, False, False), (None, True, True), (False, True, False), (True, False, True)],
)
def test_the_run_decides_whether_it_may_be_interrupted(
    of_run: bool | None,  # noqa: FBT001  # a parameter of the table
    of_task: bool,  # noqa: FBT001  # as above
    wanted: bool,  # noqa: FBT001  # as above
) -> None:
    """The run's choice wins; without one the task's own counts."""
    template = TaskTemplate(metadata=TaskMetadata(interruptible=of_task))
    assert context(template=template, interruptible=of_run).interruptible is wanted


@pytest.mark.rule("R67")
def test_without_a_template_nothing_is_interruptible() -> None:
    """An unreadable template says no."""
    assert context(template=b"nonsense").interruptible is False


@pytest.mark.parametrize("template", [b"", b"nonsense", b"[]"])
def test_a_template_that_is_none_reads_as_none(template: bytes) -> None:
    """Missing and unreadable templates are the same to whoever can do without."""
    assert template_or_none(record(template=template)) is None
