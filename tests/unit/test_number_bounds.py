"""A number that cannot be stored, or never comes, is refused where it is given, in one sentence with the bound."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import InvalidArguments, InvalidInput, InvalidSettings, InvalidSpec, ResultTimeout
from reconciler.api.template import RetryStrategy, Timeouts
from reconciler.children.functions import sleep
from reconciler.settings import Settings
from reconciler.testing import Lab

env = TaskEnvironment("bounds")
DAYS = timedelta(days=4000)
WRONG: list[Any] = [-1, True, float("nan"), float("-inf"), "3", b"3", timedelta(seconds=-1)]
HUGE: list[Any] = [2**63, 10**30, 10**400, 1e300, timedelta.max, DAYS]
DECLARED: dict[str, Any] = {
    "retries": lambda v: {"retries": v},
    "retries of a strategy": lambda v: {"retries": RetryStrategy(retries=v)},
    "factor": lambda v: {"retries": RetryStrategy(retries=1, backoff=timedelta(seconds=1), factor=v)},
    "back-off": lambda v: {"retries": RetryStrategy(retries=1, backoff=v)},
    "longest back-off": lambda v: {"retries": RetryStrategy(retries=1, max_backoff=v)},
    "timeout": lambda v: {"timeout": v},
    "queued": lambda v: {"timeout": Timeouts(queued=v)},
    "running": lambda v: {"timeout": Timeouts(running=v)},
    "heartbeat": lambda v: {"timeout": Timeouts(heartbeat=v)},
    "overall": lambda v: {"timeout": Timeouts(overall=v)},
    "priority": lambda v: {"priority": v},
}  # fmt: skip


@env.task
def one(x: int) -> int:
    """Return what it was given."""
    return x


@env.task
def sleeps(text: str) -> str:
    """Sleep as long as the text says, which is Python."""
    try:
        sleep(eval(text, {"timedelta": timedelta, "nan": float("nan"), "inf": float("inf")}))  # noqa: S307  # our own texts
    except InvalidSpec as error:
        return str(error)
    return "slept"


@pytest.fixture
def lab() -> Lab:
    """An installation the tasks use."""
    made = Lab()
    env.client = made.client
    return made


@pytest.mark.parametrize("option", DECLARED)
@pytest.mark.parametrize("value", [*WRONG, *HUGE], ids=lambda value: repr(value)[:20])
def test_an_option_of_a_task_has_bounds(option: str, value: Any) -> None:
    """Refused when the task is declared."""
    with pytest.raises(InvalidInput):
        env.task(**DECLARED[option](value))(lambda: None)


@pytest.mark.parametrize("option", ["countdown", "expires", "priority"])
@pytest.mark.parametrize(
    "value", [*WRONG, 2**63, 10**400, 1e300, timedelta.max], ids=lambda value: repr(value)[:20]
)
def test_an_option_of_a_submission_has_bounds(lab: Lab, option: str, value: Any) -> None:
    """Refused at the call, and nothing is stored."""
    with pytest.raises(InvalidInput):
        one.submit((1,), **{option: value})
    assert not lab.submitted


@pytest.mark.parametrize("value", [0, *WRONG, *HUGE], ids=lambda value: repr(value)[:20])
def test_the_concurrency_of_a_map_has_bounds(lab: Lab, value: Any) -> None:
    """As above; the sentence names the bound."""
    with pytest.raises(InvalidSpec, match="from 1 to 2147483647"):
        one.map([1, 2], concurrency=value)
    assert not lab.submitted


@pytest.mark.parametrize("value", [-1, True, 1.5, 2**31, 10**30])
def test_the_limit_of_a_queue_has_bounds(lab: Lab, value: Any) -> None:
    """As above."""
    with pytest.raises(InvalidSpec, match="up to 2147483647"):
        lab.client.limit_queue("attempts", value)


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "True", "10**30", "timedelta.max", "timedelta(days=4000)", "timedelta(-1)"]
)
def test_a_sleep_has_bounds(lab: Lab, text: str) -> None:
    """Told to the function, whose error it is; it was a failure of the platform, again and again."""
    run = sleeps.delay(text)
    lab.work()
    assert "the duration of a sleep must be" in run.result()


@pytest.mark.parametrize("verb", ["wait", "result", "outcomes"])
@pytest.mark.parametrize("value", [True, float("nan"), "3", timedelta(seconds=1)], ids=repr)
def test_a_wait_has_a_time_or_none(lab: Lab, verb: str, value: Any) -> None:
    """`nan` would wait for ever."""
    run = one.delay(1)
    with pytest.raises(InvalidArguments, match="timeout must be a number of seconds or None"):
        getattr(run, verb)(timeout=value)
    with pytest.raises(ResultTimeout):
        getattr(run, verb)(timeout=-1)
    lab.work()
    assert run.result(timeout=10**400) == 1


FIELDS = [
    name for name in Settings.__struct_fields__ if type(getattr(Settings(), name)) in {int, float, timedelta}
]


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_has_bounds(name: str) -> None:
    """Too large, negative, or no number: the variable is named."""
    for text in ("9" * 30, "-1", "nan", "inf", "1e300", "true", "99999999d"):
        with pytest.raises(InvalidSettings) as caught:
            Settings.from_env({f"RECONCILER_{name.upper()}": text})
        told = str(caught.value)
        assert f"RECONCILER_{name.upper()}" in told or "executor: " in told, text
