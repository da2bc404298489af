"""What `@env.task`, `.map()` and `.delay()` take: accepted where the meaning is plain, else one sentence of ours."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from reconciler import Cache, Secret, TaskEnvironment
from reconciler.api.errors import InvalidArguments, InvalidInput, InvalidName, InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import RetryStrategy, Timeouts
from reconciler.testing import Lab

env = TaskEnvironment("declared")


def double(x: int) -> int:
    """Return a function to declare."""
    return 2 * x


def declared(**options: Any) -> Any:
    """Return the task of `double` with these options."""
    return env.task(**options)(double)


def test_a_bare_decorator_makes_a_task() -> None:
    """`@env.task` without parentheses is `@env.task()`."""
    task = env.task(double)
    assert task(2) == 4
    assert task.template == declared().template


@pytest.mark.parametrize(
    ("given", "seconds"), [(30, 30.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (None, None)]
)
def test_a_timeout_is_a_number_of_seconds(given: Any, seconds: float | None) -> None:
    """A number is seconds, in `timeout=` and in each limit."""
    for timeout in (given, Timeouts(running=given)):
        limit = declared(timeout=timeout).template.metadata.timeouts.running
        assert (limit.total_seconds() if limit else None) == seconds


def test_other_plain_values_are_accepted() -> None:
    """True for a cache, one secret without a list, seconds in a strategy, and None for "not given"."""
    assert declared(cache=True).template.metadata == declared(cache="auto").template.metadata
    assert declared(cache=False).template == declared(cache=None).template == declared().template
    assert declared(secrets=Secret("a")).template == declared(secrets=[Secret("a")]).template
    ignoring = [declared(cache=Cache(version="1", ignored_inputs=names)) for names in ("x", ("x",))]  # type: ignore[arg-type]  # no tuple
    assert ignoring[0].template == ignoring[1].template
    nothing: dict[str, Any] = dict.fromkeys(("name", "retries", "timeout", "queue", "resources", "secrets"))
    assert declared(**nothing).template == declared().template
    strategy = RetryStrategy(retries=1, backoff=2)  # type: ignore[arg-type]  # seconds
    assert declared(retries=strategy).template.metadata.retries.backoff == timedelta(seconds=2)


@pytest.mark.parametrize(
    "options",
    [{"retries": "3"}, {"retries": True}, {"retries": 3.0}, {"retries": -1}, {"retries": RetryStrategy(retries="3")},  # type: ignore[arg-type]  # wrong
     {"retries": RetryStrategy(factor="2")}, {"retries": RetryStrategy(factor=float("nan"))},  # type: ignore[arg-type]  # wrong
     {"timeout": "10m"}, {"timeout": True}, {"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")},
     {"timeout": float("inf")}, {"timeout": 1e300}, {"timeout": 10**400}, {"timeout": timedelta.max}, {"timeout": []},
     {"timeout": Timeouts(queued="1h")},  # type: ignore[arg-type]  # wrong
     {"cache": 1}, {"cache": ["auto"]}, {"cache": ""},
     {"cache": Cache(ignored_inputs=5)}, {"cache": Cache(ignored_inputs=(5,))}, {"secrets": Secret("a", env=5)},  # type: ignore[arg-type]  # wrong
     {"resources": 1}, {"resources": {"gpu": 1}}, {"resources": "gpu=0"},
     {"secrets": "db"}, {"secrets": ["db"]}, {"secrets": 5}, {"secrets": Secret("../x")}, {"name": "a/b"}, {"name": 5},
     {"queue": 5}, {"queue": "steps"}, {"queue": "attempts_unacked"}, {"queue": "celery.pidbox"}, {"queue": "a:b"}],
    ids=str,
)  # fmt: skip
def test_anything_else_is_told_in_one_sentence(options: dict[str, Any]) -> None:
    """A wrong option is an error of ours when the task is declared, on one line."""
    with pytest.raises(InvalidInput) as told:
        declared(**options)
    assert "\n" not in str(told.value)


def test_the_environment_takes_no_such_queue() -> None:
    """The queue of a whole environment is checked as that of a task."""
    assert TaskEnvironment("x", queue=None).queue == ""
    for queue in ("steps", "unacked", "a b"):
        with pytest.raises(InvalidName):
            TaskEnvironment("x", queue=queue)


def test_the_steps_queue_of_this_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment variables, or the client, call the steps queue counts."""
    monkeypatch.setenv("RECONCILER_STEPS_QUEUE", "rounds")
    with pytest.raises(InvalidName, match="reconcile steps"):
        declared(queue="rounds")
    with pytest.raises(InvalidName, match="reconcile steps"):
        TaskEnvironment("x", queue="ticks", client=Lab(steps_queue="ticks").client)


class _Holder:
    def method(self, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x


def _yields(x: int) -> Iterator[int]:
    yield x


async def _yields_later(x: int) -> AsyncIterator[int]:
    yield x


@pytest.mark.parametrize(
    "thing",
    [_Holder, _Holder().method, _Holder.method, _Holder.__dict__["static"], lambda x: x, functools.partial(double, 1),
     _yields, _yields_later, len, 5, "double", env.task(double)],
    ids=["class", "bound method", "method", "staticmethod", "lambda", "partial", "generator", "async generator", "builtin",
         "number", "text", "task"],
)  # fmt: skip
def test_only_functions_are_declared(thing: Any) -> None:
    """Whatever is no function of its own is refused, with and without parentheses."""
    with pytest.raises(InvalidInput):
        env.task(thing)
    with pytest.raises(InvalidInput):
        env.task()(thing)


# -- map and delay -------------------------------------------------------------------------------------------------------
def task_of(lab: Lab) -> Any:
    """Return a task that submits into a lab."""
    return TaskEnvironment("mapped", client=lab.client).task(double)


@pytest.mark.parametrize("items", [[], (), iter([]), {}], ids=["list", "tuple", "iterator", "dict"])
def test_an_empty_map_succeeds_at_once(items: Any) -> None:
    """Without items there is nothing to wait for: the group ends in its first round, with an empty list."""
    lab = Lab()
    run = task_of(lab).map(items)
    lab.step(run.action)
    assert lab.get(run.action).phase is ActionPhase.SUCCEEDED
    assert run.result(timeout=0) == []
    assert run.outcomes(timeout=0) == []
    assert run.counts.total == 1
    assert run.id.run.startswith("double-")


def test_an_empty_submission_of_many_succeeds_too() -> None:
    """The same for the plain client."""
    lab = Lab()
    run = lab.client.submit_many([])
    lab.step(run.action)
    assert run.result(timeout=0) == []


def test_a_generator_is_mapped() -> None:
    """Anything that can be gone through once has items."""
    lab = Lab()
    assert task_of(lab).map(items=(x for x in range(3))).counts.total == 4


@pytest.mark.parametrize("items", ["abc", b"abc", 5, None])
def test_one_text_is_no_list_of_items(items: Any) -> None:
    """A text would be taken apart, which nobody means; what has no items is told of."""
    lab = Lab()
    with pytest.raises(InvalidArguments, match=r"declared|mapped\.double\.map takes one item"):
        task_of(lab).map(items)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"y": 2}), (("x",), {}), (("\ud800",), {})]
)
def test_arguments_that_do_not_fit_are_told(args: Any, kwargs: Any) -> None:
    """`delay` with wrong arguments says what is wrong; nothing was stored."""
    lab = Lab()
    with pytest.raises(InvalidArguments):
        task_of(lab).delay(*args, **kwargs)
    assert not lab.client.runs()


@pytest.mark.parametrize(
    "options",
    [{"run": "a/b"}, {"run": 5}, {"run": "\ud800"}, {"idempotency_key": "\ud800"}, {"env_vars": ["A"]},
     {"env_vars": {"A": 1}},     {"env_vars": {"LD_PRELOAD": "x"}}, {"labels": {"a": "\ud800"}}, {"labels": "x"}],
    ids=str,
)  # fmt: skip
def test_wrong_options_of_a_submission_are_told(options: dict[str, Any]) -> None:
    """The same for names, variables and labels."""
    with pytest.raises((InvalidName, InvalidSpec)):
        task_of(Lab()).submit((1,), **options)


@pytest.mark.parametrize("option", ["queue", "name", "fair_by"])
@pytest.mark.parametrize("given", [0, False, [], {}, b"", timedelta(0)], ids=repr)
def test_nothing_of_another_type_is_no_text(option: str, given: object) -> None:
    """What counts as false in Python was taken for "not given"; only None and an empty text are."""
    with pytest.raises((InvalidName, InvalidSpec)):
        declared(**{option: given})
    assert declared(**{option: None}).name == declared(**{option: ""}).name


@pytest.mark.parametrize("given", [0, False, [], b""], ids=repr)
def test_nor_is_it_a_queue_of_an_environment(given: Any) -> None:
    """The same for all tasks of an environment."""
    with pytest.raises(InvalidName):
        TaskEnvironment("falsy", queue=given)
