"""`Task`: a function that can be submitted, as a run of its own or, inside a task, as a child."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.api.schedule import LONGEST_FAIR_KEY, Delay, Moment, Schedule, options_of, schedule
from reconciler.api.template import (
    Identifier,
    Interface,
    TaskMetadata,
    TaskTemplate,
    encode_template,
)
from reconciler.children.current import current_parent
from reconciler.children.submitting import Calls, Group, Options, start, start_many
from reconciler.core.cachepolicy import policy_of, with_policy
from reconciler.core.declaration import Extra, source_version
from reconciler.core.functions import Needs, registry
from reconciler.core.members import write_items
from reconciler.core.published import document_of
from reconciler.core.redaction import hides, read_redaction
from reconciler.core.signature import Signature
from reconciler.core.signature_place import hidden_from_workers
from reconciler.plugins.function import TASK_TYPE, FunctionConfig

if TYPE_CHECKING:
    from reconciler.client import Client, Run
    from reconciler.client.async_task import AsyncTask
    from reconciler.core.results import Results

P = ParamSpec("P")
R = TypeVar("R")
_LONGEST_NAME = 63


class Environment(Protocol):
    """The part of `TaskEnvironment` that a task needs."""

    @property
    def client(self) -> Client:
        """The client in use."""

    @client.setter
    def client(self, client: Client) -> None: ...


class Task(Generic[P, R]):
    """A function that can be submitted. Calling it runs it in this process, as a plain function."""

    def __init__(
        self,
        env: Environment,
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
            redact=read_redaction(extra.redact, interface["inputs"]),
        )
        self.priority = extra.priority
        self._parameters = inspect.signature(function)  # made once: it takes longer than all else of a call
        self.fair_by = self._fair_parameter(extra.fair_by)
        self._encoded: dict[tuple[str, str], bytes] = {}
        if signature is None:  # one of its own writes what no other process can
            registry.publish(name, lambda: document_of(self))
        self._hidden = hidden_from_workers(function)

    def _fair_parameter(self, name: object) -> str:
        if name is None or name == "":
            return ""
        if not isinstance(name, str):
            raise InvalidSpec(f"fair_by must be the name of a parameter of {self.name}, got {name!r:.100}")
        if self.template.redact and hides(self.template.redact, name):
            raise InvalidSpec(
                f"fair_by names {name}, which is redacted, and a fair key is shown: name another parameter of {self.name}"
            )
        names = [*self._parameters.parameters]
        if name not in names:
            raise InvalidSpec(
                f"fair_by must name a parameter of {self.name} ({', '.join(names) or 'it has none'}), got {name!r}"
            )
        return name

    def _fair_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the value that `fair_by` names as text."""
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
        from reconciler.client.async_task import AsyncTask  # noqa: PLC0415  # as in `TaskEnvironment.client`

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
        detached: bool = False,
    ) -> Run[R]:
        """Submit one call, with options. Inside a task it becomes a child of the action that runs.

        Args:
            args: positional arguments of the function.
            kwargs: its keyword arguments.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission; the same key and arguments again give the first run. Not with `run`,
                which does the same.
            env_vars: environment variables of the attempts.
            labels: attached to the record.
            priority: launches of a higher one go first in the queue, 0 (last) to 9 (first); by default that of the task.
            countdown: how long to wait before it may start, by the store's clock: seconds or a timedelta.
            eta: when it may start, a datetime with a time zone, years ahead if need be.
            expires: when it is aborted unless it has begun: seconds or a timedelta from now, or a datetime.
            detached: inside a task: a run of its own instead of a child.

        Raises:
            As `delay`; InvalidSpec: an option is not allowed; ActionConflict: the name or key was used with other arguments.
        """
        args, kwargs = _call_of(self.name, args, kwargs)
        spec = self.spec(args, kwargs, run=run, env_vars=env_vars)
        priority = self.priority if priority is None else priority
        fair_key = self._fair_key(args, kwargs)
        parent = current_parent()
        if parent is not None:
            plan = schedule(
                priority=priority, fair_key=fair_key, countdown=countdown, eta=eta, expires=expires
            )
            options = Options(plan=plan, labels=labels or {}, key=idempotency_key, detached=detached)
            return cast("Run[R]", start(parent, spec, options, self.signature.decode_result))
        return self.env.client.submit(
            spec,
            idempotency_key=idempotency_key,
            labels=labels,
            priority=priority,
            fair_key=fair_key,
            countdown=countdown,
            eta=eta,
            expires=expires,
            decode=self.signature.decode_result,
        )

    @overload
    def map(
        self,
        items: Iterable[Any],
        *,
        concurrency: None = None,
        **options: Any,  # noqa: ANN401  # those below
    ) -> Run[list[R]]: ...
    @overload
    def map(
        self,
        items: Iterable[Any],
        *,
        concurrency: int,
        **options: Any,  # noqa: ANN401  # those below
    ) -> Run[Results[R]]: ...
    def map(
        self,
        items: Iterable[Any],
        *,
        run: str = "",
        idempotency_key: str = "",
        keep_failures: bool = False,
        return_exceptions: bool = False,
        concurrency: int | None = None,
        priority: int | None = None,
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
        **fixed: Any,  # arguments of the function
    ) -> Run[Any]:
        """Submit one call for each item, as one run, in a few round trips. Inside a task its calls are below the action.

        Args:
            items: values of the first parameter; without any, the run succeeds with an empty list.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission; the same again stores only what is missing. Not with `run`, which
                does the same.
            keep_failures: the run succeeds even when calls do not; read them with `Run.outcomes`.
            return_exceptions: keep failures; the result has the error of a call in its place, instead of raising it.
            concurrency: how many calls may be open at a time; the others are started as these end. For very many calls: the
                items are stored as one object, and results are read in parts. After a failure no further call is
                started, unless failures are kept. Without it all are started at once.
            priority: of each call, as for `submit`.
            countdown: of each call, as for `submit`.
            eta: of each call, as for `submit`.
            expires: of each call, as for `submit`.
            **fixed: further arguments, the same for each call.

        Raises:
            As `delay`; nothing was stored when any item's arguments do not fit.
        """
        calls = self._calls(items, fixed)
        priority = self.priority if priority is None else priority
        plan = schedule(priority=priority, countdown=countdown, eta=eta, expires=expires)
        keeps = keep_failures or return_exceptions
        parent = current_parent()
        if parent is not None:
            options = Options(plan=plan, key=idempotency_key or run)
            group = Group(self.name, keeps, options, return_exceptions, concurrency)
            return cast("Run[Any]", start_many(parent, calls, group, self.signature.decode_result))
        names = {"run": run, "idempotency_key": idempotency_key}
        return self._submitted(
            calls, plan, concurrency, keep_failures=keeps, return_exceptions=return_exceptions, **names
        )

    def _calls(self, items: Iterable[Any], fixed: dict[str, Any]) -> Calls:
        spec, values = self._spec(b""), _items_of(self.name, items)
        inputs = write_items(values, lambda item: self.signature.encode_arguments((item,), fixed))
        return Calls(
            spec, inputs, [self._fair_key((item,), fixed) for item in values] if self.fair_by else []
        )

    def _submitted(
        self,
        calls: Calls,
        plan: Schedule,
        concurrency: int | None,
        **options: Any,  # noqa: ANN401  # of the client
    ) -> Run[Any]:
        client = self.env.client
        options = {**options_of(plan), **options, "stem": self.name, "decode": self.signature.decode_result}
        options["fair_key"] = calls.fair_keys or ""
        if concurrency is None:
            return client.submit_many(calls.specs(), **options)
        return client.submit_map(calls.spec, calls.inputs, concurrency=concurrency, **options)

    def spec(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        run: str = "",
        env_vars: dict[str, str] | None = None,
    ) -> ActionSpec:
        """Make the spec of one call, for the plain `Client`.

        Raises:
            InvalidArguments: the arguments do not fit.
            InvalidSpec: the task is declared where no worker finds it, and the client does not belong to a `Lab`.
        """
        spec = self._spec(self.signature.encode_arguments(args, kwargs))
        return msgspec.structs.replace(spec, run_name=run, env_vars=env_vars or {})

    def _spec(self, inputs: bytes) -> ActionSpec:
        parent = current_parent()
        if parent is None and self._hidden and getattr(self.env.client.messenger, "sends", True):
            raise InvalidSpec(self._hidden)
        place = self.env.client.settings if parent is None else parent.attempt
        return ActionSpec(
            task_type=TASK_TYPE,
            short_name=self.name[:_LONGEST_NAME],
            task_template=self._template_for(place.project, place.domain),
            inputs=inputs,
            cache_key=self.cache_version,
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


def _items_of(task: str, items: object) -> list[Any]:
    """Read the items of a map.

    Raises:
        InvalidArguments: they cannot be iterated, or, inside a task, their order could differ in the next pass.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise InvalidArguments(f"{task}.map takes one item for each call, as in map([…]), got {items!r:.100}")
    if isinstance(items, set | frozenset) and current_parent() is not None:
        raise InvalidArguments(
            f"{task}.map inside a task takes items in an order that stays the same, and a set has another one in each "
            "process: sort it first"
        )
    return list(items)


def _call_of(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the arguments of a call that were given to `submit`.

    Raises:
        InvalidArguments: they are none.
    """
    if not isinstance(args, tuple | list):
        raise InvalidArguments(
            f"{task}.submit takes the positional arguments as a tuple, as in submit((7,)), got {args!r:.100}"
        )
    if not isinstance(kwargs, Mapping | None):
        raise InvalidArguments(
            f"{task}.submit takes keyword arguments as a dict, as in submit((), {{'name': 7}}), got {kwargs!r:.100}"
        )
    return tuple(args), dict(kwargs or {})
