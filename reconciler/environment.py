"""The native front door: `TaskEnvironment`, `@env.task`, `.delay()`, `.map()`. Translates functions into records."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.queues import check_attempts_queue
from reconciler.api.schedule import LONGEST_FAIR_KEY, Delay, Moment, check_priority
from reconciler.api.secret import Secret
from reconciler.api.template import (
    Identifier,
    Interface,
    RetryStrategy,
    TaskMetadata,
    TaskTemplate,
    Timeouts,
    encode_template,
)
from reconciler.core.cachepolicy import DISABLE, Cache, policy_of, with_policy
from reconciler.core.declaration import (
    Extra,
    read_cache,
    read_policies,
    read_resources,
    read_secrets,
    source_version,
)
from reconciler.core.functions import Needs, registry
from reconciler.core.signature import Signature
from reconciler.core.signature_place import hidden_from_workers, require_function
from reconciler.plugins.function import TASK_TYPE, FunctionConfig
from reconciler.settings import PREFIX, Settings

if TYPE_CHECKING:
    from reconciler.client import Client, Run
    from reconciler.client.aio import AsyncTask

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
    ) -> Any:
        """Make a task of a function, plain or `async def`: `@env.task`, or `@env.task(…)` with options.

        Args:
            function: the function, where there are no options.
            name: second part of the stored name; the function's own name by default.
            retries: attempts after the first one that user errors may cost, or a strategy with back-off.
            timeout: how long one attempt may run (a number: seconds), or limits for queued, running, heartbeat and
                overall.
            queue: Celery queue of its attempts.
            resources: what an attempt holds while it is launched, one unit as `gpu`, several as `gpu=2`; how many there
                are says `RECONCILER_QUOTAS`.
            secrets: what its attempts find in environment variables, by reference.
            cache: whether equal calls share a result: `disable`, `auto` or True (while the function's source stays the
                same), `override` (as `auto`, but the result replaces the stored one), a version of your own, or a `Cache`.
            priority: whose launches go first in the queue, 0 (last) to 9 (first); 5 when nobody says it.
            fair_by: name of the parameter between whose values the workers of the queue take turns, instead of projects.

        Raises:
            InvalidSpec: resources, secrets or cache are not allowed, a policy is contradictory, it is no function, or the
                function's signature cannot be carried.
            InvalidName: a name breaks the rule of names, or the queue is not for attempts.
        """
        metadata = read_policies(retries, timeout)
        resource, units = read_resources(resources)
        extra = Extra(
            {"queue": self.attempts_queue(queue) or self.queue, "resource": resource, "units": units},
            read_secrets(secrets),
            read_cache(cache),
            None if priority is None else check_priority(priority),
            fair_by,
        )
        decorator = _Decorator(self, name or "", metadata, extra)
        return decorator if function is None else decorator(function)

    def attempts_queue(self, name: str | None) -> str:
        """A queue that attempts may be sent to, as far as this process knows; a submission is checked again."""
        if not name:
            return ""
        settings = self._client.settings if self._client is not None else None
        steps = (
            settings.steps_queue if settings else os.environ.get(_STEPS_QUEUE, "") or Settings().steps_queue
        )
        return check_attempts_queue(name, steps)


class _Decorator:
    """Tells what `@env.task(…)` leaves to be called with the function."""

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
        short = check_name("task", self._name or function.__name__, 40)
        name = check_name("task", f"{self._env.name}.{short}", _LONGEST_NAME)
        return Task(self._env, name, function, self._metadata, self._extra)


class Task(Generic[P, R]):
    """A function that can be submitted. Calling it runs it here and now, as a plain function."""

    def __init__(
        self,
        env: TaskEnvironment,
        name: str,
        function: Callable[P, Any],
        metadata: TaskMetadata,
        extra: Extra,
        signature: Signature | None = None,
    ) -> None:
        update_wrapper(self, function)
        self.env = env
        self.name = name
        self.function = function
        needs = Needs(extra.launch["queue"], extra.launch["resource"])
        self.signature = registry.register(name, function, extra.secrets, needs, signature).signature
        interface, version = self.signature.interface, source_version(function)
        policy = policy_of(extra.cache, version, interface["inputs"])
        self.cache_version = policy.version if policy else ""
        self.template = TaskTemplate(
            id=Identifier(name=name, version=version),
            type=TASK_TYPE,
            metadata=with_policy(metadata, policy),
            interface=Interface(inputs=interface["inputs"], outputs=interface["outputs"]),
            custom=msgspec.to_builtins(FunctionConfig(function=name, **extra.launch)),
            secrets=extra.secrets,
        )
        self.priority = extra.priority
        self._parameters = inspect.signature(function)  # made once: it takes longer than all else of a call
        self.fair_by = self._fair_parameter(extra.fair_by)
        self._encoded: dict[tuple[str, str], bytes] = {}
        self._hidden = hidden_from_workers(function)

    def _fair_parameter(self, name: str) -> str:
        names = [*self._parameters.parameters]
        if name and name not in names:
            raise InvalidSpec(
                f"fair_by must name a parameter of {self.name} ({', '.join(names) or 'it has none'}), got {name!r}"
            )
        return name

    def _fair_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The value that `fair_by` names, as text."""
        if not self.fair_by:
            return ""
        bound = self._parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        return str(bound.arguments[self.fair_by])[:LONGEST_FAIR_KEY]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function in this process, without the backend."""
        return cast("R", self.function(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @property
    def aio(self) -> AsyncTask[P, R]:
        """`delay`, `submit` and `map` for asyncio."""
        from reconciler.client.aio import AsyncTask  # noqa: PLC0415  # as in `TaskEnvironment.client`

        return AsyncTask(self.delay, self.submit, self.map)

    def decode_result(self, data: bytes) -> R:
        """Read a stored result as the type of the return hint; for `Client.run`."""
        return cast("R", self.signature.decode_result(data))

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Submit one call; it is stored when this returns.

        Raises:
            InvalidArguments: the arguments do not fit; nothing was stored.
            StoreUnavailable: the store does not answer.
        """
        return self.submit(args, kwargs)

    def submit(
        self,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        run: str = "",
        idempotency_key: str = "",
        env_vars: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        priority: int | None = None,
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
    ) -> Run[R]:
        """Submit one call, with options.

        Args:
            args: positional arguments of the function.
            kwargs: its keyword arguments.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission; the same key and arguments again give the first run. Not with `run`,
                which does the same.
            env_vars: environment variables of the attempts.
            labels: attached to the record.
            priority: whose launch goes first in the queue, 0 (last) to 9 (first); by default that of the task.
            countdown: how long to wait before it may start, by the store's clock: seconds or a timedelta.
            eta: when it may start, a datetime with a time zone, years ahead if need be.
            expires: when it is aborted unless it has begun: seconds or a timedelta from now, or a datetime.

        Raises:
            As `delay`; InvalidSpec: an option is not allowed; ActionConflict: the name or key was used with other arguments.
        """
        spec = self.spec(args, kwargs or {}, run=run, env_vars=env_vars)
        client = self.env.client
        return client.submit(
            spec,
            idempotency_key=idempotency_key,
            labels=labels,
            priority=self.priority if priority is None else priority,
            fair_key=self._fair_key(args, kwargs or {}),
            countdown=countdown,
            eta=eta,
            expires=expires,
            decode=self.signature.decode_result,
        )

    def map(
        self,
        items: Iterable[Any],
        *,
        run: str = "",
        idempotency_key: str = "",
        keep_failures: bool = False,
        priority: int | None = None,
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
        **fixed: Any,  # noqa: ANN401  # arguments of the function
    ) -> Run[list[R]]:
        """Submit one call for each item, as one run, in a few round trips.

        Args:
            items: values of the first parameter; without any, the run succeeds with an empty list.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission; the same again stores only what is missing. Not with `run`, which
                does the same.
            keep_failures: the run succeeds even when calls do not; read them with `Run.outcomes`.
            priority: of each call, as for `submit`.
            countdown: of each call, as for `submit`.
            eta: of each call, as for `submit`.
            expires: of each call, as for `submit`.
            **fixed: further arguments, the same for each call.

        Raises:
            As `delay`; nothing was stored when any item's arguments do not fit.
        """
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise InvalidArguments(
                f"{self.name}.map takes one item for each call, as in map([…]), got {items!r:.100}"
            )
        values = list(items)
        specs = [self.spec((item,), fixed) for item in values]
        return self.env.client.submit_many(
            specs,
            run=run,
            idempotency_key=idempotency_key,
            keep_failures=keep_failures,
            priority=self.priority if priority is None else priority,
            fair_key=[self._fair_key((item,), fixed) for item in values] if self.fair_by else "",
            countdown=countdown,
            eta=eta,
            expires=expires,
            stem=self.name,
            decode=self.signature.decode_result,
        )

    def spec(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        run: str = "",
        env_vars: dict[str, str] | None = None,
    ) -> ActionSpec:
        """The spec of one call, for the plain `Client`.

        Raises:
            InvalidArguments: the arguments do not fit.
            InvalidSpec: the task is declared where no worker finds it, and the client is none of a `Lab`.
        """
        settings = self.env.client.settings
        if self._hidden and getattr(self.env.client.messenger, "sends", True):
            raise InvalidSpec(self._hidden)
        return ActionSpec(
            run_name=run,
            task_type=TASK_TYPE,
            short_name=self.name[:_LONGEST_NAME],
            task_template=self._template_for(settings.project, settings.domain),
            inputs=self.signature.encode_arguments(args, kwargs),
            cache_key=self.cache_version,
            env_vars=env_vars or {},
        )

    def _template_for(self, project: str, domain: str) -> bytes:
        known = self._encoded.get((project, domain))
        if known is None:
            identity = msgspec.structs.replace(
                self.template.id or Identifier(), project=project, domain=domain
            )
            known = encode_template(msgspec.structs.replace(self.template, id=identity))
            self._encoded[(project, domain)] = known
        return known
