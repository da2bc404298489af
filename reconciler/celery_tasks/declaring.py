"""`durable(task)`: makes a registered Celery task a task of ours, without changing it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery, current_app
from celery import Task as CeleryTask
from celery.local import Proxy

from reconciler.api.errors import InvalidSpec
from reconciler.api.schedule import check_priority
from reconciler.api.template import RetryStrategy, Timeouts
from reconciler.celery_tasks.calling import run_traced
from reconciler.celery_tasks.carrying import CarriedSignature
from reconciler.celery_tasks.request import Limits
from reconciler.core.current import current_attempt
from reconciler.core.declaration import Extra, read_policies, read_resources, task_name
from reconciler.environment import TaskEnvironment
from reconciler.task import Task

_LONGEST_NAME = 63
_HOW = "write durable(app.tasks['shop.resize']), or durable('shop.resize', app=app)"


class _Shared:
    """The environment of tasks that name none: they share one client."""

    env: TaskEnvironment | None = None


class DurableTask(Task[..., Any]):
    """A Celery task that can be submitted as an action. Calling it runs it in this process, as in Celery."""

    celery_task: CeleryTask

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # of the task
        """Run the Celery task in this process, without the backend."""
        return self.celery_task(*args, **kwargs)


def durable(  # options of a task
    task: CeleryTask | str,
    *,
    app: Celery | None = None,
    env: TaskEnvironment | None = None,
    name: str = "",
    retries: int | RetryStrategy | None = 0,
    timeout: float | timedelta | Timeouts | None = None,
    queue: str = "",
    resources: str | None = "",
    priority: int | None = None,
) -> DurableTask:
    """Make a registered Celery task durable: `durable(app.tasks["shop.resize"]).delay(7)`.

    The task itself is not changed; a plain worker of Celery runs it as before. Declare it in a module that
    `RECONCILER_IMPORTS` names.

    Args:
        task: the task, or its name.
        app: the application that has it, where it is given by name; the current one by default.
        env: whose client submits it; a shared one by default.
        name: its name in actions; its own name by default.
        retries: how many more attempts there are after raised errors. Attempts that the task itself asks for, by `retry()`
            or `autoretry_for`, are counted by its own `max_retries`.
        timeout: how long one attempt may run; its `time_limit` by default.
        queue: of its attempts; that of the environment, of the task or of `task_routes` by default.
        resources: what an attempt holds, as for `TaskEnvironment.task`.
        priority: as for `TaskEnvironment.task`.

    Raises:
        InvalidSpec: it is no registered task, or one that cannot be carried; the message says what to do.
        InvalidName: its name or queue breaks the rule of names.
    """
    found = _task(task, app)
    _check(found)
    env = env or _shared()
    chosen = task_name(name, found.name, _LONGEST_NAME, 'durable(…, name="resize")')
    limits = Limits(_limit(found, "time_limit"), _limit(found, "soft_time_limit"))
    metadata = read_policies(retries, limits.hard if timeout is None else timeout)
    resource, units = read_resources(resources)
    extra = Extra(
        {
            "queue": env.attempts_queue(queue or env.queue or _queue_of(found)),
            "resource": resource,
            "units": units,
        },
        (),
        "disable",
        None if priority is None else check_priority(priority),
    )
    signature = CarriedSignature(found)
    call = _function(found, extra.launch["queue"], limits)
    call.__module__ = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001  # where it is declared, as of a decorator
    made = DurableTask(env, chosen, call, metadata, extra, signature)
    made.celery_task = found
    return made


def _shared() -> TaskEnvironment:
    if _Shared.env is None:
        _Shared.env = TaskEnvironment("celery")
    return _Shared.env


def _task(given: object, app: Celery | None) -> CeleryTask:
    if isinstance(given, str):
        return _named(given, app or current_app._get_current_object())  # noqa: SLF001  # Celery's way out of its proxy
    if isinstance(given, Proxy):
        given = given._get_current_object()  # noqa: SLF001  # as above
    if not isinstance(given, CeleryTask):
        raise InvalidSpec(f"{given!r:.200} is no Celery task: make it one with @app.task, and {_HOW}")
    known = given.app.tasks.get(given.name)
    if known is None:
        raise InvalidSpec(
            f"the Celery application {given.app.main or 'without a name'!r} has no task {given.name!r}: "
            "add it first, as with app.register_task(…)"
        )
    return known


def _named(name: str, app: Celery) -> CeleryTask:
    if name not in app.tasks:
        app.loader.import_default_modules()  # what `imports`, `include` and `autodiscover_tasks` promise
    found = app.tasks.get(name)
    if found is None:
        own = ", ".join(sorted(n for n in app.tasks if not n.startswith("celery."))[:10]) or "none"
        raise InvalidSpec(
            f"the Celery application {app.main or 'without a name'!r} has no task {name!r}; it has {own}. Import the module "
            f"that declares it first, or correct the name; {_HOW}"
        )
    return found


def _check(task: CeleryTask) -> None:
    serializer = task.serializer or task.app.conf.task_serializer
    if serializer not in {"json", "application/json"}:
        raise InvalidSpec(
            f"the Celery task {task.name!r} is sent with the serializer {serializer!r}, and an action carries JSON: set "
            "serializer='json' on it, and pass what JSON can carry"
        )
    if inspect.iscoroutinefunction(inspect.unwrap(task.run)):
        raise InvalidSpec(
            f"the Celery task {task.name!r} is `async def`, which Celery does not await: make the function a task "
            "of a TaskEnvironment instead: use @env.task"
        )


def _limit(task: CeleryTask, name: str) -> float | None:
    seconds = getattr(task, name) or getattr(task.app.conf, f"task_{name}")
    return float(seconds) if seconds else None


def _queue_of(task: CeleryTask) -> str:
    """Find the queue a task names, or `task_routes` for it."""
    own = getattr(task, "queue", None)
    if not own and task.app.conf.task_routes:
        route = task.app.amqp.router.lookup_route(task.name, (), {}, {}, task)
        own = route.get("queue") if isinstance(route, dict) else route
    return str(getattr(own, "name", own) or "")


def _function(task: CeleryTask, queue: str, limits: Limits) -> Callable[..., Any]:
    """Return the function that is called under the name of a task."""
    traced = partial(run_traced, task, queue, limits)

    def call(*args: Any, **kwargs: Any) -> Any:  # of the task
        attempt = current_attempt()
        return task(*args, **kwargs) if attempt is None else traced(attempt, args, kwargs)

    call.__doc__ = task.__doc__
    call.__name__ = call.__qualname__ = task.name
    call.__signature__ = inspect.signature(task.run)  # type: ignore[attr-defined]  # `inspect` reads it
    call.__wrapped__ = inspect.unwrap(task.run)  # type: ignore[attr-defined]  # its source is the task's
    return call
