"""The native front door: `TaskEnvironment`, `@env.task`, `.delay()`, `.map()`. Translates functions into records."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from reconciler.api.errors import InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.queues import check_attempts_queue
from reconciler.api.schedule import check_priority
from reconciler.api.secret import Secret
from reconciler.api.template import (
    RetryStrategy,
    TaskMetadata,
    Timeouts,
)
from reconciler.core.cachepolicy import DISABLE, Cache
from reconciler.core.declaration import (
    Extra,
    read_cache,
    read_policies,
    read_resources,
    read_secrets,
    task_name,
)
from reconciler.core.signature_place import require_function
from reconciler.settings import PREFIX, Settings
from reconciler.task import Task

if TYPE_CHECKING:
    from reconciler.client import Client

P = ParamSpec("P")
R = TypeVar("R")
_LONGEST_NAME = 63
_STEPS_QUEUE = f"{PREFIX}STEPS_QUEUE"


class TaskEnvironment:
    """A named group of tasks. The name is the first part of each task's stored name, whatever module they live in.

    Args:
        name: letters, digits, `.`, `_`, `-`.
        queue: Celery queue of its attempts; the installation's attempts queue when empty.
        client: used by `.delay()` and `.map()`; made from the environment variables on first use when not given.
    """

    def __init__(self, name: str, *, queue: str | None = "", client: Client | None = None) -> None:
        self.name = check_name("environment", name, 40)
        self._client = client
        self.queue = self.attempts_queue(queue)

    @property
    def client(self) -> Client:
        """The client in use.

        Raises:
            InvalidSettings: it has to be made, and the environment variables are wrong.
        """
        if self._client is None:
            from reconciler.client import Client  # noqa: PLC0415  # a function's process submits nothing: 40 MB less

            self._client = Client.from_settings()
        return self._client

    @client.setter
    def client(self, client: Client) -> None:
        self._client = client

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = "",
        retries: int | RetryStrategy | None = 0,
        timeout: float | timedelta | Timeouts | None = None,
        queue: str | None = "",
        resources: str | None = "",
        secrets: Secret | Sequence[Secret] | None = (),
        cache: bool | str | Cache | None = DISABLE,
        priority: int | None = None,
        fair_by: str = "",
        suspend: bool = True,
        redact: bool | str | Sequence[str] = (),
    ) -> _Decorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = "",
        retries: int | RetryStrategy | None = 0,
        timeout: float | timedelta | Timeouts | None = None,
        queue: str | None = "",
        resources: str | None = "",
        secrets: Secret | Sequence[Secret] | None = (),
        cache: bool | str | Cache | None = DISABLE,
        priority: int | None = None,
        fair_by: str = "",
        suspend: bool = True,
        redact: bool | str | Sequence[str] = (),
    ) -> Any:
        """Make a task of a function, plain or `async def`: `@env.task`, or `@env.task(…)` with options.

        Args:
            function: the function, where there are no options.
            name: second part of the stored name; the function's own name by default.
            retries: how many more attempts there are after user errors, or a strategy with back-off.
            timeout: how long one attempt may run (a number: seconds), or limits for queued, running, heartbeat and
                overall.
            queue: Celery queue of its attempts.
            resources: units of a quota that an attempt holds: `gpu` for one, `gpu=2` for two. `RECONCILER_QUOTAS` says how
                many there are.
            secrets: secrets, by reference, that its attempts find in environment variables.
            cache: whether equal calls share a result: `disable`, `auto` or True (while the function's source stays the
                same), `override` (as `auto`, but the result replaces the stored one), a version of your own, or a `Cache`.
            priority: launches of a higher one go first in the queue, 0 (last) to 9 (first); 5 by default.
            suspend: whether it gives its worker away while it only waits for what it has started, and is called again
                afterwards. False keeps the worker: for a function that must not be called again.
            redact: what pages, commands and logs show as `[redacted]`: names of parameters, `return` for the output, or True
                for all. It stays readable in the record and in S3.
            fair_by: name of a parameter; workers of the queue take turns between its values, instead of between projects.

        Raises:
            InvalidSpec: resources, secrets or cache are not allowed, a policy is contradictory, it is no function, or the
                function's signature cannot be carried.
            InvalidName: a name breaks the rule of names, or the queue is not for attempts.
        """
        metadata = read_policies(retries, timeout)
        resource, units = read_resources(resources)
        extra = Extra(
            {
                "queue": self.attempts_queue(queue) or self.queue,
                "resource": resource,
                "units": units,
                "suspend": _flag("suspend", suspend),
            },
            read_secrets(secrets),
            read_cache(cache),
            None if priority is None else check_priority(priority),
            fair_by,
            redact,
        )
        decorator = _Decorator(self, "" if name is None else name, metadata, extra)
        return decorator if function is None else decorator(function)

    def attempts_queue(self, name: str | None) -> str:
        """Check a queue that attempts may be sent to, as far as this process knows; a submission is checked again."""
        if name is None or name == "":
            return ""
        settings = self._client.settings if self._client is not None else None
        steps = (
            settings.steps_queue if settings else os.environ.get(_STEPS_QUEUE, "") or Settings().steps_queue
        )
        return check_attempts_queue(name, steps)


class _Decorator:
    """The result of `@env.task(…)`: it is called with the function."""

    def __init__(self, env: TaskEnvironment, name: str, metadata: TaskMetadata, extra: Extra) -> None:
        self._env, self._name, self._metadata, self._extra = env, name, metadata, extra

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Task[Any, Any]:
        """Make the task.

        Raises:
            InvalidSpec, InvalidName: see `TaskEnvironment.task`.
        """
        require_function(function, self._name)
        short = task_name(self._name, function.__name__, 40, 'env.task(name="resize")')
        name = check_name("task", f"{self._env.name}.{short}", _LONGEST_NAME)
        return Task(self._env, name, function, self._metadata, self._extra)


def _flag(what: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidSpec(f"{what} must be True or False, got {value!r:.100}")
    return value
