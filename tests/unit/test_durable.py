"""`durable(task)`: Celery tasks as actions, in a lab; `tests/integration/test_celery_tasks.py` compares them with Celery."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from celery import Celery, Task, _state, shared_task
from celery.exceptions import Retry
from celery.result import AsyncResult

from reconciler import TaskEnvironment, current_attempt, durable
from reconciler.api.action import TaskAction
from reconciler.api.asked import LARGEST_STATE
from reconciler.api.errors import ActionFailed, InvalidArguments, InvalidName, InvalidSpec
from reconciler.celery_tasks import DurableTask
from reconciler.celery_tasks.softly import soft_limit
from reconciler.core.functions import registry
from reconciler.plugins.function import config_of
from reconciler.testing import Lab
from worker.app import make_app

pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s).*'queue' task attribute:celery.exceptions.CDeprecationWarning"
)
NOWHERE = "redis://127.0.0.1:1/0"


def _nothing() -> None:
    """Do nothing."""


@pytest.fixture
def app() -> Iterator[Celery]:
    """An application whose servers do not answer: who asks them fails."""
    known, shared = dict(registry._functions), set(_state._on_app_finalizers)
    own = {share for share in shared if share.__module__ == "celery.app.builtins"}
    _state._on_app_finalizers.intersection_update(own)  # not what other tests have imported
    made = Celery("shop", broker=NOWHERE, backend=NOWHERE, set_as_current=False)
    made.conf.update(broker_connection_timeout=0.2, redis_socket_connect_timeout=0.2)
    try:
        yield made
    finally:
        registry._functions.clear()
        registry._functions.update(known)
        _state._on_app_finalizers.clear()
        _state._on_app_finalizers.update(shared)
        made.close()


@pytest.fixture
def lab() -> Lab:
    """Where the tasks run."""
    return Lab()


@pytest.fixture
def make(app: Celery, lab: Lab) -> Callable[..., DurableTask]:
    """Makes a durable task of a function."""

    def make(function: Callable[..., Any], options: dict[str, Any] | None = None, **ours: Any) -> DurableTask:
        task = app.task(function, name=f"shop.{function.__name__}", **(options or {}))
        return durable(app.tasks[task.name], env=TaskEnvironment("shop", client=lab.client), **ours)

    return make


def ended(lab: Lab, task: DurableTask, *args: Any, **kwargs: Any) -> tuple[TaskAction, Any]:
    """Return its record at its end, and its result or error."""
    run = task.delay(*args, **kwargs)
    lab.work()
    try:
        return lab.get(run.action), run.result()
    except ActionFailed as error:
        return lab.get(run.action), error


def refused(lab: Lab, task: DurableTask, *args: Any) -> str:
    """Return the sentence with which it fails, at its first attempt, whatever retries it has."""
    record, error = ended(lab, task, *args)
    assert record.status.attempts == 1
    assert isinstance(error, ActionFailed)
    assert error.code.endswith("CeleryUnsupported"), error
    return error.message


# -- what it is given ------------------------------------------------------------------------------------------------


def test_the_request_names_the_action(lab: Lab, make: Any) -> None:
    """Its id is the path of the action, the same in each attempt; the queue is where a message would have come from."""
    seen = []

    def look(self: Task) -> None:
        request = self.request
        seen.append(
            (request.id, request.retries, request.delivery_info["routing_key"], request.hostname[:11])
        )
        if not request.retries:
            self.retry(countdown=1)

    record, _ = ended(lab, make(look, {"bind": True, "queue": "pictures"}))
    assert seen == [(record.id.path, n, "pictures", "reconciler@") for n in (0, 1)]


def test_it_is_an_attempt_of_ours_as_well(lab: Lab, make: Any) -> None:
    """`current_attempt()` says what it says in any function."""

    def look() -> str:
        now = current_attempt()
        assert now is not None
        return now.launch

    assert ended(lab, make(look))[1] == "1"


@pytest.mark.parametrize(
    ("options", "routes", "queue", "found"),
    [
        ({"queue": "own"}, {}, "", "own"),
        ({}, {"shop.add": {"queue": "routed"}}, "", "routed"),
        ({}, {"shop.*": "routed"}, "", "routed"),
        ({"queue": "own"}, {}, "ours", "ours"),
        ({}, {}, "", ""),
    ],
)
def test_its_queue(
    app: Celery, make: Any, options: Any, routes: Any, queue: str, found: str
) -> None:  # a table
    """What `durable` says, else the task, else the routes of its application, else the installation's."""
    app.conf.task_routes = routes

    def add() -> None:
        """Do nothing."""

    assert config_of(make(add, options, queue=queue).template.custom).queue == found


def test_its_limits_of_time(app: Celery, make: Any) -> None:
    """`time_limit`, of the task or its application, is the running limit; `timeout` says another one."""

    def own() -> None:
        """Do nothing."""

    def general() -> None:
        """Do nothing."""

    app.conf.task_time_limit = 50
    limits = [
        make(own, {"time_limit": 20}).template.metadata.timeouts.running,
        make(own, {"time_limit": 20}, timeout=3).template.metadata.timeouts.running,
        make(general).template.metadata.timeouts.running,
    ]
    assert limits == [timedelta(seconds=20), timedelta(seconds=3), timedelta(seconds=50)]


def test_calling_it_calls_the_task(make: Any) -> None:
    """Without the backend, as Celery does."""

    def twice(self: Task, x: int) -> tuple[int, bool]:
        return 2 * x, self.request.called_directly

    assert make(twice, {"bind": True})(4) == (8, True)


def test_a_submission_by_name_needs_nothing_of_celery(lab: Lab, make: Any) -> None:
    """Parameters of the document are those of the task, so the command line and other programs can write it."""

    def add(x: int, y: int = 2) -> int:
        return x + y

    task = make(add)
    spec = msgspec.structs.replace(task.spec((1,), {}), inputs=b'{"x": 5}')
    run = lab.run(spec)
    lab.work()
    outputs = lab.get(run.action).status.outputs
    assert outputs is not None
    assert outputs.inline == b'{"o0": 7}'
    assert task.template.interface.inputs.keys() == {"x", "y"}


# -- its own retries -------------------------------------------------------------------------------------------------


def test_a_retry_waits_as_long_as_it_says(lab: Lab, make: Any) -> None:
    """`countdown` and `eta` are the back-off; without them the delay of the task is."""
    times = []

    def wait(self: Task) -> None:
        times.append(lab.clock())
        count = self.request.retries
        if count == 0:
            self.retry(countdown=100)
        if count == 1:
            self.retry(eta=datetime.now(UTC) + timedelta(hours=1))
        if count == 2:
            self.retry()

    ended(lab, make(wait, {"bind": True, "default_retry_delay": 40}))
    waited = [(later - before) / 1000 for before, later in pairwise(times)]
    assert waited[0] == pytest.approx(100, abs=1)
    assert waited[1] == pytest.approx(3600, abs=5)
    assert waited[2] == pytest.approx(40, abs=1)


def test_arguments_that_did_not_change_are_not_stored_again(lab: Lab, make: Any) -> None:
    """Large ones can be retried all the same; changed ones have a bound, and beyond it the message is rejected."""

    def large(self: Task, text: str, more: str = "") -> int:
        if not self.request.retries:
            self.retry(kwargs={"more": more + "!"} if more else None, countdown=0)
        return len(text)

    task = make(large, {"bind": True})
    assert ended(lab, task, "x" * LARGEST_STATE * 2)[1] == LARGEST_STATE * 2
    record, error = ended(lab, task, "x", "y" * LARGEST_STATE * 2)
    assert (error.code, record.status.attempts) == ("ValueError", 1)
    assert "store large data yourself, and pass where it lies" in error.message


def test_failures_are_ours_to_count_and_retries_its_own(lab: Lab, make: Any) -> None:
    """A plain raise spends one of `durable(…, retries=…)`, and the next attempt goes on with the state of the last retry."""
    seen = []

    def both(self: Task, x: int) -> int:
        seen.append((self.request.retries, x))
        if len(seen) in {2, 3}:
            raise ValueError("plain")
        if self.request.retries < 2:
            self.retry(args=[x + 1], countdown=0)
        return x

    record, result = ended(lab, make(both, {"bind": True, "max_retries": 2}, retries=2), 0)
    assert seen == [(0, 0), (1, 1), (1, 1), (1, 1), (2, 2)]
    assert (result, record.status.attempts, record.status.asked_retries) == (2, 5, 2)


def test_what_a_retry_sets_on_the_task_is_gone(lab: Lab, app: Celery, make: Any) -> None:
    """The process serves other calls: `max_retries` of one, and what stands in for the broker, do not reach the next."""

    def again(self: Task) -> None:
        if not self.request.retries:
            self.retry(countdown=0, max_retries=7)

    task = make(again, {"bind": True})
    before = dict(vars(app.tasks["shop.again"]))
    ended(lab, task)
    assert vars(app.tasks["shop.again"]) == before


# -- what it cannot do ------------------------------------------------------------------------------------------------


def test_what_is_refused_says_what_to_do(lab: Lab, make: Any) -> None:
    """Retries that go on, other queues and canvas end the action with a sentence, also past `autoretry_for` and retries."""

    def goes_on(self: Task) -> None:
        self.retry(throw=False)

    def swallows(self: Task) -> str:
        try:
            self.retry()
        except Retry:
            return "went on"
        return ""

    def elsewhere(self: Task) -> None:
        self.retry(queue="slow", countdown=1)

    def replaces(self: Task) -> None:
        self.replace(self.s())

    def adds(self: Task) -> None:
        self.add_to_chord(self.s())

    def raises() -> None:
        raise Retry

    def others(self: Task) -> None:
        self.update_state(task_id="other", state="X")

    options = {"bind": True, "autoretry_for": (Exception,)}
    said = [
        refused(lab, make(f, options, retries=3))
        for f in (goes_on, swallows, elsewhere, replaces, adds, others)
    ]
    said.append(refused(lab, make(raises, retries=3)))
    parts = [
        "retry(throw=False): raise what retry() raises",
        "asked for a retry and went on: let what retry() raises leave the task",
        "retry(queue=…): a retry can change countdown, eta, max_retries, args and kwargs",
        "self.replace(): an action has no canvas",
        "self.add_to_chord(): an action has no canvas",
        "update_state of another task",
        "raised Retry without self.retry()",
    ]
    assert [part for part, text in zip(parts, said, strict=True) if part not in text] == [], said


def test_a_state_is_said_in_the_log_and_asked_of_no_backend(
    lab: Lab, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the application's servers is reached, also where a base class has an `update_state` of its own."""

    class Reports(Task):  # type: ignore[misc]  # Celery has no types
        def update_state(self, *args: Any, **kwargs: Any) -> None:
            """Say more."""
            super().update_state(*args, meta={"done": 1}, **kwargs)

    def looks(self: Task) -> str:
        assert isinstance(self.AsyncResult(self.request.id), AsyncResult)
        self.update_state(state="PROGRESS")
        return str(self.backend.as_uri())

    with caplog.at_level("INFO", "celery.task"):
        assert ended(lab, make(looks, {"bind": True, "base": Reports}))[1] == "disabled://"
    assert "state PROGRESS: {'done': 1}" in caplog.messages


# -- what is told where it is declared, or called ----------------------------------------------------------------------


def test_what_is_no_task_is_refused_where_it_is_declared(app: Celery) -> None:
    """Each with a sentence that names the way."""

    class Loose(Task):  # type: ignore[misc]  # Celery has no types
        name = "shop.loose"

        def run(self) -> None:
            """Do nothing."""

    async def coroutine() -> None:
        """Do nothing."""

    @app.task(name="shop.known")  # type: ignore[untyped-decorator]  # Celery has no types
    def known() -> None:
        """Do nothing."""

    loose = Loose()
    loose.bind(app)
    pickled = app.task(_nothing, name="shop.pickled", serializer="pickle")
    cases: list[tuple[Any, type[Exception], str]] = [
        (
            lambda: durable(test_what_is_no_task_is_refused_where_it_is_declared),
            InvalidSpec,
            "is no Celery task: make it one",
        ),  # type: ignore[arg-type]  # on purpose
        (
            lambda: durable("shop.nobody", app=app),
            InvalidSpec,
            "'shop' has no task 'shop.nobody'; it has shop.known",
        ),
        (lambda: durable(loose), InvalidSpec, "has no task 'shop.loose': add it first"),
        (lambda: durable(pickled), InvalidSpec, "set serializer='json' on it"),
        (lambda: durable(app.task(coroutine, name="shop.co")), InvalidSpec, "use @env.task"),
        (lambda: durable(known, name="no name"), InvalidName, "no name"),
        (lambda: durable(app.task(_nothing, name="shop resize")), InvalidName, "durable(…, name="),
        (lambda: durable(app.task(_nothing, name="shop.größe")), InvalidName, "durable(…, name="),
        (lambda: durable(app.task(_nothing, name="s" * 64)), InvalidName, "durable(…, name="),
        (lambda: durable(known, queue="steps"), InvalidName, "steps"),
    ]
    for call, kind, part in cases:
        with pytest.raises(kind) as raised:
            call()
        assert part in str(raised.value)


def test_arguments_are_checked_where_it_is_called(make: Any) -> None:
    """What does not fit, also with typing=False, and what JSON cannot carry, is refused before anything is stored."""

    def takes(x: int, y: Any = None) -> None:
        """Do nothing."""

    task = make(takes, {"typing": False})
    for args, part in [
        (
            (),
            "missing a required argument: 'x'. Pass what its signature takes, shop.takes(x: int, y: Any = None)",
        ),
        (
            (1, {2}),
            "parameter y has no JSON form: Object of type set is not JSON serializable; pass what JSON can carry",
        ),
        ((1, float("nan")), "parameter y has no JSON form"),
    ]:
        with pytest.raises(InvalidArguments) as raised:
            task.delay(*args)
        assert part in str(raised.value).replace("'int'", "int").replace("'Any'", "Any")


# -- the process it runs in ------------------------------------------------------------------------------------------


def test_a_soft_limit_leaves_nothing_behind() -> None:
    """The signal, its handler and its thread end with the call, whether it came or not."""
    before, others = signal.getsignal(signal.SIGUSR1), set(threading.enumerate())
    with soft_limit(60):
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before
    left = set(threading.enumerate()) - others  # cancelled timers of other tests may be among those
    assert not [thread for thread in left if isinstance(thread, threading.Timer)]


def test_our_workers_consume_none_of_the_users_tasks(
    app: Celery, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application of the workers has our tasks alone, sets up no Django, and does not become the current one."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "there_is_no_such_module")
    before = _state.default_app, _state._tls.current_app
    app.task(_nothing, name="shop.before")
    ours = make_app(lab.settings)
    assert ours.tasks
    shared_task(_nothing, name="shop.shared")
    assert {name.split(".")[0] for name in ours.tasks} == {"celery", "reconciler"}
    assert {"shop.before", "shop.shared"} <= app.tasks.keys()
    assert (_state.default_app, _state._tls.current_app) == before
    assert ours._fixups == []


def test_a_durable_task_starts_children(lab: Lab, make: Callable[..., DurableTask]) -> None:
    """By the handle that `durable` gives; it is suspended while it waits, through Celery's own tracer."""
    calls: list[int] = []

    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    child = make(double)

    def total(numbers: list[int]) -> int:
        return sum(run.result() for run in [child.delay(number) for number in numbers])

    record, result = ended(lab, make(total), [1, 2, 3])
    assert result == 12
    assert sorted(calls) == [1, 2, 3]
    assert record.children.total == 3
    assert record.status.resumes > 0


def test_what_a_task_sends_itself_is_no_child_and_said(
    app: Celery, lab: Lab, make: Callable[..., DurableTask], caplog: pytest.LogCaptureFixture
) -> None:
    """It goes to the broker of its application, once said for each task however often it is sent."""
    app.conf.broker_url = "memory://"
    other = app.task(_nothing, name="shop.other", ignore_result=True)

    def sends() -> int:
        for _ in range(2):
            other.delay()
        return 1

    with caplog.at_level("INFO", "celery.task"):
        record, result = ended(lab, make(sends))
    assert result == 1
    assert record.children.total == 0
    assert [message for message in caplog.messages if "no child" in message] == [
        "shop.other is sent to the broker of its application, and is no child of this action: durable(…).delay() makes one"
    ]
