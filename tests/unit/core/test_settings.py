"""All settings come from the environment, and all mistakes are reported at once."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.api.errors import InvalidSettings
from reconciler.settings import PREFIX, Settings, parse_duration

pytestmark = pytest.mark.rule("R8")


def problems(**env: str) -> list[str]:
    """What is wrong with these variables (named without their prefix)."""
    with pytest.raises(InvalidSettings) as raised:
        Settings.from_env({f"{PREFIX}{name}": value for name, value in env.items()})
    return raised.value.problems


def read(**env: str) -> Settings:
    """Return the settings of these variables (named without their prefix)."""
    return Settings.from_env({f"{PREFIX}{name}": value for name, value in env.items()})


# -- reading -----------------------------------------------------------------------------------------------------------
def test_without_variables_the_defaults_hold() -> None:
    """An empty environment gives the defaults of the specification."""
    settings = read()
    assert settings == Settings()
    assert (settings.max_system_failures, settings.requeue_duration) == (3, timedelta(seconds=10))
    assert (settings.retention, settings.namespace, settings.cluster) == (timedelta(hours=1), "flyte", "")
    assert settings.problems() == []


def test_other_variables_are_left_alone() -> None:
    """Only variables with the prefix are read."""
    assert Settings.from_env({"PATH": "/bin", "SHARDS": "x"}) == Settings()


def test_the_processes_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping the variables of the process count."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{PREFIX}CLUSTER", "blue")
    assert Settings.from_env().cluster == "blue"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SHARDS", "4", 4),
        ("CLUSTER", "blue", "blue"),
        ("RETENTION", "2h", timedelta(hours=2)),
        ("IMPORTS", "a.b, c ,,d", ("a.b", "c", "d")),
        ("IMPORTS", "", ()),
        ("DURABILITY", "safe", "safe"),
        ("BROKER_URL", "redis://other:6379/1", "redis://other:6379/1"),
    ],
)
def test_each_kind_of_value_is_read(name: str, text: str, value: object) -> None:
    """Numbers, texts, durations, lists and choices are read as what they are."""
    assert getattr(read(**{name: text}), name.lower()) == value


def test_a_given_value_wins() -> None:
    """What the caller gives wins over the environment."""
    assert Settings.from_env({f"{PREFIX}SHARDS": "4"}, shards=2).shards == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5m", 90),
        ("2h", 7200),
        ("7d", 604800),
        ("250ms", 0.25),
        (" 5s ", 5),
        ("-3s", -3),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """A bare number means seconds; ms, s, m, h and d mean themselves."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@given(st.text(max_size=12) | st.from_regex(r"-?[0-9]{1,40}(ms|s|m|h|d)", fullmatch=True))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Whatever the text, it is read as a duration or refused as a mistake to be listed; nothing else is raised."""
    try:
        settings = read(RETENTION=text)
    except InvalidSettings as refused:
        assume(len(refused.problems) == 1)
    else:
        assert settings.retention == parse_duration(text)


def test_an_endless_duration_is_refused() -> None:
    """A duration beyond all time is a mistake like any other."""
    (problem,) = problems(RETENTION="99999999999999d")
    assert problem.startswith("RECONCILER_RETENTION='99999999999999d': too long")


# -- mistakes ----------------------------------------------------------------------------------------------------------
def test_all_mistakes_are_reported_at_once() -> None:
    """Unknown variables, unreadable values and contradictions come in one message."""
    found = problems(
        SHARDZ="1", SHARDS="many", RETENTION="soon", DURABILITY="maybe", STEP_BATCH="0", S3_BUCKET=""
    )
    assert len(found) == 6
    for part in (
        "SHARDZ is not a setting",
        "SHARDS='many'",
        "RETENTION='soon': not a duration",
        "must be one of fast, safe",
        "STEP_BATCH must be at least 1, got 0",
        "S3_BUCKET must not be empty",
    ):
        assert sum(part in problem for problem in found) == 1, part


def test_the_message_lists_each_mistake() -> None:
    """The error is one text with a line for each mistake."""
    with pytest.raises(InvalidSettings) as raised:
        Settings.from_env({f"{PREFIX}SHARDS": "0", f"{PREFIX}STEP_BATCH": "0"})
    assert str(raised.value).splitlines()[0] == "the settings cannot be used:"
    assert len(str(raised.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"max_system_failures": -1}, "executor: maxSystemFailures must be non-negative, got -1"),
        (
            {"requeue_duration": timedelta(seconds=-1)},
            "executor: requeueDuration must not be negative, got -1s",
        ),
        ({"shards": 0}, "RECONCILER_SHARDS must be at least 1, got 0"),
        ({"max_cleanup_tries": 0}, "RECONCILER_MAX_CLEANUP_TRIES must be at least 1, got 0"),
        ({"max_countdown": timedelta(0)}, "RECONCILER_MAX_COUNTDOWN must be longer than 0 seconds"),
        ({"attempt_lease": timedelta(0)}, "RECONCILER_ATTEMPT_LEASE must be longer than 0 seconds"),
        (
            {"step_budget": timedelta(seconds=10)},
            "RECONCILER_STEP_BUDGET must be shorter than RECONCILER_STEP_LEASE",
        ),
        ({"confirm_replicas": 1}, "RECONCILER_CONFIRM_REPLICAS works with RECONCILER_DURABILITY=safe only"),
        ({"pack_outputs": -1}, "RECONCILER_PACK_OUTPUTS must not be negative, got -1"),
        ({"plugin_routes": ("spark",)}, "RECONCILER_PLUGIN_ROUTES: 'spark' must be written task-type=plugin"),
        ({"inline_limit": 2**40}, "RECONCILER_INLINE_LIMIT must not exceed RECONCILER_MAX_OBJECT_SIZE"),
        ({"attempts_queue": "steps"}, "RECONCILER_STEPS_QUEUE and RECONCILER_ATTEMPTS_QUEUE must differ"),
        ({"s3_bucket": ""}, "RECONCILER_S3_BUCKET must not be empty"),
        ({"redis_url": "http://x"}, "RECONCILER_REDIS_URL must start with"),
        ({"project": "a/b"}, "RECONCILER_PROJECT: project 'a/b' is not allowed"),
        ({"key_prefix": ""}, "RECONCILER_KEY_PREFIX: key_prefix must not be empty"),
        ({"namespace": "{x}"}, "RECONCILER_NAMESPACE: namespace '{x}' is not allowed"),
        ({"events_exchange": "a b"}, "RECONCILER_EVENTS_EXCHANGE: events_exchange 'a b' is not allowed"),
        ({"events_exchange": "amq.topic"}, "RECONCILER_EVENTS_EXCHANGE must not start with 'amq.'"),
        ({"events_exchange": "steps"}, "RECONCILER_EVENTS_EXCHANGE must not be the name of a queue"),
        (
            {"events_exchange_url": "amqp://x"},
            "RECONCILER_EVENTS_EXCHANGE_URL is set, but no exchange is named",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_contradiction_is_a_sentence(values: dict[str, Any], text: str) -> None:
    """Each value that cannot be used is named with what is expected, and is the only complaint."""
    (problem,) = Settings(**values).problems()
    assert problem.startswith(text)


# -- in force ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("configured", "seconds"), [(0, 10), (-5, 10), (3, 3)])
def test_the_requeue_duration_in_force(configured: int, seconds: int) -> None:
    """Zero and less mean the default of 10 seconds."""
    settings = Settings(requeue_duration=timedelta(seconds=configured))
    assert settings.effective_requeue() == timedelta(seconds=seconds)


@pytest.mark.parametrize(("broker", "wanted"), [("", "redis://r"), ("amqp://b", "amqp://b")])
def test_the_broker_in_force(broker: str, wanted: str) -> None:
    """Without a broker of its own the record server carries the messages."""
    assert Settings(redis_url="redis://r", broker_url=broker).effective_broker_url() == wanted


def test_settings_do_not_change() -> None:
    """A process reads its settings once; nobody changes them afterwards."""
    with pytest.raises(AttributeError):
        Settings().shards = 3  # type: ignore[misc]  # what must not work
