"""The door of submissions: queues, places, durations, variables and texts that are refused before anything is stored."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from reconciler.api.action import ActionId, ActionSpec, RunId
from reconciler.api.errors import InvalidInput, InvalidName, InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.phase import ActionPhase
from reconciler.api.queues import check_queue
from reconciler.api.template import RetryStrategy, TaskMetadata, TaskTemplate, Timeouts, encode_template
from reconciler.broker.conf import celery_settings
from reconciler.core.policies import LONGEST
from reconciler.core.validation import check_types
from reconciler.settings import Settings
from reconciler.testing import Lab

OURS = "s3://memory"


def function_spec(**custom: object) -> ActionSpec:
    """Return a call of a function, as a template of anybody says it."""
    template = TaskTemplate(type="function", custom={"function": "demo.f", **custom})
    return ActionSpec(task_type="function", task_template=encode_template(template), inputs=b"{}")


def refused(spec: ActionSpec, **settings: Any) -> str:
    """Why a spec is refused; nothing was stored."""
    lab = Lab(**settings)
    with pytest.raises(InvalidInput) as told:
        lab.run(spec)
    assert not lab.client.runs()
    return str(told.value)


# -- queues --------------------------------------------------------------------------------------------------------------
def test_no_queue_can_have_the_name_of_a_key_of_the_transport() -> None:
    """By construction: what the transport writes beside queues has a name that no queue can have."""
    options: Any = celery_settings(Settings())["broker_transport_options"]
    keys = [value for name, value in options.items() if name.endswith("_key")]
    assert len(keys) == 3
    for key in (*keys, "_kombu.binding.attempts", "_kombu.binding_deadlines", "attempts\x06\x163"):
        with pytest.raises(InvalidName):
            check_name("queue", key)


@pytest.mark.parametrize(
    "queue",
    ["steps", "attempts_unacked", "unacked", "unacked_index", "attempts_unacked_mutex", "celeryev", "celeryev.1",
     "celery.pidbox", "x.reply.celery.pidbox", "amq.direct", "a\x06\x163", "_kombu.binding.x", "a" * 64, "a:b", ":unacked",
     "a b", "a\n", "{q}", "é", ".", "../x"],
)  # fmt: skip
def test_a_queue_that_is_not_the_users_is_refused(queue: str) -> None:
    """The steps queue, what the message system uses itself, and what is no name, in a template of anybody."""
    assert "queue" in refused(function_spec(queue=queue))


def test_the_steps_queue_is_the_one_of_the_settings() -> None:
    """Not the default's name is kept, but whatever the installation calls it; so is the exchange of events."""
    names = {"steps_queue": "rounds", "events_exchange": "news"}
    assert "reconcile steps" in refused(function_spec(queue="rounds"), **names)
    assert "exchange of events" in refused(function_spec(queue="news"), **names)
    Lab(**names).run(function_spec(queue="steps"))


@pytest.mark.parametrize("queue", ["gpu", "celery", "a" * 63, "eu-west.gpu_1", "attempts"])
def test_other_queues_are_accepted(queue: str) -> None:
    """Any other name may be had."""
    assert check_queue(queue) == queue
    Lab().run(function_spec(queue=queue))


def test_a_launch_to_the_steps_queue_never_leaves() -> None:
    """The last line: a record that no door has looked at ends at once, and sends nothing."""
    lab = Lab()
    action = lab.run(function_spec()).action
    record = lab.store.get(action)
    assert record is not None
    other = ActionId("default", "development", "smuggled", "a0")
    bad = msgspec.structs.replace(
        record.spec, run_name="smuggled", task_template=function_spec(queue="steps").task_template
    )
    record.id, record.spec = other, bad
    lab.store.create([record])
    lab.settle()
    error = lab.get(other).status.error_state
    assert error is not None
    assert (error.code, lab.get(other).phase) == ("BadTaskSpecification", ActionPhase.FAILED)
    assert set(lab.messenger.tickets) == {"attempts"}


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({"units": 0}, "units must be between"),
        ({"units": -3, "resource": "gpu"}, "units must be between"),
        ({"resource": "a}b"}, "resource"),
        ({"function": "a/b"}, "function"),
    ],
)
def test_a_template_asks_for_what_can_be_had(custom: dict[str, object], words: str) -> None:
    """Units, resources and functions are checked as the decorator checks them."""
    assert words in refused(function_spec(**custom))


@pytest.mark.parametrize("queue", ["attempts_unacked", "amq.x", "celery.pidbox"])
@pytest.mark.parametrize("setting", ["steps_queue", "attempts_queue"])
def test_settings_name_no_queue_of_the_message_system(setting: str, queue: str) -> None:
    """The same for the installation's own queues."""
    assert any(setting.upper() in problem for problem in Settings(**{setting: queue}).problems())


# -- places --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("field", ["input_uri", "run_output_base"])
@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "http://x/y", "nowhere", "s3:/memory/x", "S3://memory/x", "gs://memory/x", "s3://", "s3:///x",
     "s3://me mory/x", "s3://memory", "s3://memory/", f"{OURS}/a/../b", f"{OURS}/./a", f"{OURS}/..", f"{OURS}/a//b",
     f"{OURS}//a", f"{OURS}/a//", f"{OURS}/a?b", f"{OURS}/a#b", f"{OURS}/%2e%2e/a", f"{OURS}/a\\b", f"{OURS}/a\nb",
     f"{OURS}/a\x00", f"{OURS}/\u202ea", f"{OURS}/a\u200b", f"{OURS}/\ud800", f"{OURS}/{'x' * 769}", "s3://other/x",
     "s3://user:password@memory/x", " s3://memory/x"],
)  # fmt: skip
def test_a_place_is_refused_at_the_door(field: str, uri: str) -> None:
    """Another scheme, another bucket, and every spelling that servers read in two ways."""
    spec = ActionSpec(task_type="echo", task_template=b"{}", **{field: uri})
    assert {"input_uri": "inputUri", "run_output_base": "runOutputBase"}[field] in refused(spec)


@pytest.mark.parametrize("uri", [f"{OURS}/a", f"{OURS}/a/", f"{OURS}/a b/ü=1/inputs.pb", "s3://further/x"])
def test_a_place_is_accepted(uri: str) -> None:
    """A folder in our bucket, or in one that the settings list."""
    lab = Lab(buckets=("further",))
    lab.run(ActionSpec(task_type="echo", task_template=b"{}", input_uri=uri))
    lab.run(ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}", run_output_base=uri))


def test_inputs_that_ride_along_have_to_be_there() -> None:
    """`inline:` without inputs is no place."""
    assert "none are given" in refused(ActionSpec(task_type="echo", task_template=b"{}", input_uri="inline:"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"s3_prefix": "a/../b"}, "S3_PREFIX"),
        ({"s3_prefix": "a?b"}, "S3_PREFIX"),
        ({"buckets": ("s3://x",)}, "BUCKETS"),
    ],
)
def test_settings_name_no_such_place(settings: dict[str, Any], words: str) -> None:
    """The installation's own prefix and buckets keep the same rule."""
    assert any(words in problem for problem in Settings(**settings).problems())
    assert not Settings(s3_prefix="/a/b/", buckets=("other-bucket",)).problems()


# -- durations -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "policies",
    [
        TaskMetadata(timeouts=Timeouts(running=timedelta.max)),
        TaskMetadata(timeouts=Timeouts(overall=LONGEST + timedelta(seconds=1))),
        TaskMetadata(timeouts=Timeouts(heartbeat=timedelta(microseconds=1))),
        TaskMetadata(timeouts=Timeouts(queued=timedelta.min)),
        TaskMetadata(retries=RetryStrategy(retries=-1)),
        TaskMetadata(retries=RetryStrategy(backoff=timedelta(seconds=-1))),
        TaskMetadata(retries=RetryStrategy(backoff=timedelta.max)),
        TaskMetadata(retries=RetryStrategy(max_backoff=timedelta.max)),
        TaskMetadata(retries=RetryStrategy(factor=1e308)),
        TaskMetadata(retries=RetryStrategy(factor=0.5)),
    ],
)
def test_policies_that_cannot_be_kept_are_refused(policies: TaskMetadata) -> None:
    """Durations that end an action at once, or that no due index can hold, and back-offs that overflow."""
    template = encode_template(TaskTemplate(metadata=policies))
    refused(ActionSpec(task_type="echo", task_template=template, inputs=b"{}"))


@pytest.mark.parametrize(
    "value", ["P999999999D", "PT99999999999999S", 1e300, -1, -0.5, 10**30, "P-1D", "nan", None]
)
def test_a_sleep_without_an_end_is_an_error_of_the_spec(value: object) -> None:
    """A duration that cannot be waited for fails the action in its first round, by no fault of the platform."""
    lab = Lab()
    template = b'{"interface":{"inputs":{"t":"duration"}}}'
    spec = ActionSpec(
        task_type="core-sleep", task_template=template, inputs=msgspec.json.encode({"t": value})
    )
    action = lab.run(spec).action
    lab.step(action)
    found = lab.get(action)
    assert found.status.error_state is not None
    assert (found.phase, found.status.error_state.code) == (ActionPhase.FAILED, "BadTaskSpecification")
    assert found.status.system_failures == 0


def test_a_group_expects_no_negative_number() -> None:
    """A group that expects fewer than no children is told so."""
    lab = Lab()
    action = lab.run(ActionSpec(task_type="group", task_template=b"{}", inputs=b'{"expected":-1}')).action
    lab.step(action)
    error = lab.get(action).status.error_state
    assert error is not None
    assert error.code == "BadTaskSpecification"


# -- variables -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "RECONCILER_REDIS_URL",
     "SECRET_DB", "PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "http_proxy", "HTTPS_PROXY", "CELERY_BROKER_URL", "BOTO_CONFIG",
     "GIT_SSH_COMMAND", "BASH_ENV", "MALLOC_PERTURB_", "LD_X\nY", "", "A=B", "A\0",
     "DOCKER_HOST", "KUBECONFIG", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CONFIG_DIR", "NODE_EXTRA_CA_CERTS",
     "PIP_INDEX_URL", "UV_INDEX_URL", "npm_config_registry", "PGSERVICEFILE", "PGHOST", "PGSSLROOTCERT",
     "REDISCLI_AUTH", "KRB5_CONFIG", "KRB5CCNAME", "SSH_ASKPASS", "SSH_AUTH_SOCK",
     "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "HF_ENDPOINT", "CUDA_INJECTION64_PATH", "DOTNET_STARTUP_HOOKS",
     "COR_PROFILER_PATH", "CLASSPATH", "JAVA_HOME", "LUA_INIT", "PHPRC", "R_PROFILE_USER", "PERL5DB",
     "grpc_proxy", "PROXY", "NETRC", "PAGER", "LESSOPEN", "OMP_TOOL_LIBRARIES", "GTK_MODULES",
     "GIO_EXTRA_MODULES", "GOFLAGS",
     "A\nB", "A\x1b[31mB", "A B", "1A", "Ä", "A\u202eB", "\n"],
)  # fmt: skip
def test_a_variable_that_changes_the_process_is_refused(name: str) -> None:
    """A submission decides neither how the function's process starts nor whom its clients talk to."""
    spec = ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}", env_vars={name: "x"})
    text = refused(spec)
    assert "environment variable" in text
    assert text.isprintable()


def test_other_variables_are_accepted() -> None:
    """Whatever belongs to the function alone can be set, also names that look like kept ones."""
    names = (
        "MODE",
        "TZ",
        "LANG",
        "OMP_NUM_THREADS",
        "LDAP_URL",
        "GITHUB_REF",
        "SECRETARY",
        "AWSOME",
        "PATHS",
        "home_dir",
        "CUDA_VISIBLE_DEVICES",
        "OMP_TOOL",
        "PGVECTOR_DIMENSIONS",
        "DB_HOST",
        "API_TOKEN",
        "NODES",
        "PIPELINE",
        "SSHD",
        "my.setting-1",
    )
    spec = ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}", env_vars=dict.fromkeys(names, "x"))
    Lab().run(spec)


# -- texts and types -----------------------------------------------------------------------------------------------------
def test_half_a_character_is_no_idempotency_key() -> None:
    """What no JSON can carry names no submission."""
    lab = Lab()
    for key in ("\ud800", 5):
        with pytest.raises(InvalidName, match="idempotency key"):
            lab.client.submit(
                ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}"),
                idempotency_key=key,  # type: ignore[arg-type]  # wrong on purpose
            )


@pytest.mark.parametrize("field", ActionSpec.__struct_fields__)
@pytest.mark.parametrize(
    "value", ["\ud800", 5, object(), {"a": 1}, ["x"]], ids=["half", "int", "object", "dict", "list"]
)
def test_no_field_of_a_spec_breaks_the_door(field: str, value: Any) -> None:
    """Whatever a field holds, the answer is an error of ours."""
    good = ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}")
    lab = Lab()
    with pytest.raises(InvalidInput):
        lab.client.submit(msgspec.structs.replace(good, **{field: value}))
    with suppress(InvalidInput):  # the identity of a member is the group's to give
        lab.client.submit_many([msgspec.structs.replace(good, **{field: value})])


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("value", ["\ud800", "a/b", "", "x" * 64, None])
def test_no_identity_reaches_a_key_unchecked(part: int, value: Any) -> None:
    """Names are checked wherever somebody asks for an action or a run, too."""
    lab = Lab()
    parts: list[Any] = ["p", "d", "r", "a"]
    parts[part] = value
    action = ActionId(*parts)
    for ask in (lab.client.get, lab.client.abort, lab.client.events, lab.client.attempts, lab.client.wait):
        with pytest.raises(InvalidName):
            ask(action)
    with pytest.raises(InvalidName):
        lab.client.signal(action, True)
    if part < 3:
        with pytest.raises(InvalidName):
            list(lab.client.actions(RunId(*parts[:3])))
        with pytest.raises(InvalidName):
            lab.client.counts(RunId(*parts[:3]))


def test_labels_and_annotations_are_mappings() -> None:
    """The wrong kind of thing is told of, not stumbled over."""
    good = ActionSpec(task_type="echo", task_template=b"{}", inputs=b"{}")
    for given in ("x", ["x"], 5):
        for field in ("labels", "annotations"):
            with pytest.raises(InvalidSpec, match=field):
                Lab().client.submit(good, **{field: given})


def test_what_is_no_spec_is_told() -> None:
    """Nothing else of it is looked at."""
    with pytest.raises(InvalidSpec, match="described by an ActionSpec, got dict"):
        check_types({"task_type": "x"})


def test_policies_of_an_unreadable_template_are_left_to_its_first_round() -> None:
    """It is accepted, and the round says what is wrong with it."""
    spec = ActionSpec(task_type="echo", task_template=b'{"metadata": nonsense', inputs=b"{}")
    assert Lab().client.submit(spec).phase is ActionPhase.QUEUED


def test_a_text_of_a_kind_of_its_own_is_a_text() -> None:
    """A member of a `StrEnum`, say: it is a str like any other."""
    check_types(ActionSpec(task_type=ActionPhase.QUEUED.name, short_name=Name("short")))


class Name(str):
    """A kind of text of the user's own."""

    __slots__ = ()
