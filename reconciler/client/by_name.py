"""Tasks by their stored name, for processes without their code: built from what workers publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.schedule import LONGEST_FAIR_KEY, Delay, Moment
from reconciler.api.template import Identifier, encode_template
from reconciler.client.async_task import AsyncTask
from reconciler.client.run import Run
from reconciler.core.members import write_items
from reconciler.core.published import Published, read_published
from reconciler.core.signature import Signature
from reconciler.core.validation import LIMITS
from reconciler.plugins.function_config import TASK_TYPE
from reconciler.settings import Settings
from reconciler.stores.base import Store

_FRESH = 10.0
"""Seconds for which a process goes on with what it has read: a deploy is followed so fast, and most calls read nothing."""
_MOST = 1000
"""Tasks a client remembers."""
_SHOWN = 20
_LONGEST_NAME = 63


class Submits(NamedTuple):
    """The verbs of a client that submit: one action, many, or many of a kind some at a time."""

    one: Callable[..., Run[Any]]
    many: Callable[..., Run[list[Any]]]
    map: Callable[..., Run[Any]]


class PublishedTask:
    """A task without its code. Its submissions are those of the task itself, byte by byte.

    Attributes:
        name: the stored name.
        signature: checks and writes arguments.
    """

    def __init__(
        self,
        name: str,
        published: Published,
        signature: Signature,
        settings: Settings,
        submits: Submits,
    ) -> None:
        """Use `Client.task`."""
        self.name = name
        self.signature = signature
        self._published = published
        template = published.template
        identity = msgspec.structs.replace(
            template.id or Identifier(), project=settings.project, domain=settings.domain
        )
        self._template = encode_template(msgspec.structs.replace(template, id=identity))
        policy = template.metadata
        self._cache_version = policy.discovery_version if policy is not None and policy.discoverable else ""
        self._submit, self._submit_many, self._submit_map = submits

    def __repr__(self) -> str:
        return f"<PublishedTask {self.name}>"

    @property
    def aio(self) -> AsyncTask[..., Any]:
        """`delay`, `submit` and `map` for asyncio."""
        return AsyncTask(self.delay, self.submit, self.map)

    def delay(self, *args: Any, **kwargs: Any) -> Run[Any]:  # noqa: ANN401  # arguments of the function
        """Submit one call, as `Client.send` does.

        Raises:
            As `Client.send`.
        """
        return self.submit(args, kwargs)

    def submit(
        self,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        run: str = "",
        env_vars: dict[str, str] | None = None,
        priority: int | None = None,
        **options: Any,  # noqa: ANN401  # those of Client.submit
    ) -> Run[Any]:
        """Submit one call, with the options of `Task.submit`.

        Raises:
            As `Client.send`; ActionConflict: the run or the key was used with other arguments.
        """
        given = kwargs or {}
        return self._submit(
            self.spec(args, given, run=run, env_vars=env_vars),
            priority=self._published.priority if priority is None else priority,
            fair_key=self._fair_key(args, given),
            **options,
        )

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
        **fixed: Any,  # noqa: ANN401  # arguments of the function
    ) -> Run[Any]:
        """Submit one call for each item, as `Task.map` does, with its options.

        Raises:
            As `Client.send`; nothing was stored when any item does not fit.
        """
        values = list(items)
        written = write_items(values, lambda item: self._written((item,), fixed))
        options: dict[str, Any] = {
            "run": run,
            "idempotency_key": idempotency_key,
            "keep_failures": keep_failures,
            "return_exceptions": return_exceptions,
            "priority": self._published.priority if priority is None else priority,
            "countdown": countdown,
            "eta": eta,
            "expires": expires,
            "fair_key": [self._fair_key((item,), fixed) for item in values]
            if self._published.fair_by
            else "",
            "stem": self.name,
        }
        if concurrency is not None:
            return self._submit_map(self._spec(b""), written, concurrency=concurrency, **options)
        return self._submit_many([self._spec(inputs) for inputs in written], **options)

    def spec(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        run: str = "",
        env_vars: dict[str, str] | None = None,
    ) -> ActionSpec:
        """Make the spec of one call, as `Task.spec` does.

        Raises:
            InvalidArguments: the arguments do not fit.
        """
        spec = self._spec(self._written(args, kwargs))
        return msgspec.structs.replace(spec, run_name=run, env_vars=env_vars or {})

    def _spec(self, inputs: bytes) -> ActionSpec:
        return ActionSpec(
            task_type=TASK_TYPE,
            short_name=self.name[: LIMITS["short_name"]],
            task_template=self._template,
            inputs=inputs,
            cache_key=self._cache_version,
        )

    def _written(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Write the inputs. Named arguments may be given in their JSON form, since their types may not exist here."""
        signature = self.signature
        try:
            return signature.encode_arguments(args, kwargs)
        except InvalidArguments:
            if args:
                raise
            try:
                given = signature.decode_arguments(msgspec.json.encode(kwargs))
            except (InvalidArguments, TypeError, ValueError, OverflowError, RecursionError):
                given = None
            if given is None:
                raise
        return signature.encode_arguments(*signature.call_form(given))

    def _fair_key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Write the value of the parameter that is the fair key as text."""
        by = self._published.fair_by
        if not by:
            return ""
        value = kwargs[by] if by in kwargs else self.signature.bound(args, kwargs)[by]
        return str(value)[:LONGEST_FAIR_KEY]


class TasksByName:
    """Finds tasks, and remembers them for some seconds. May be shared between threads.

    Args:
        store: where workers publish.
        settings: of the installation.
        submits: `Client.submit` and its like.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        submits: Submits,
    ) -> None:
        self._store = store
        self._settings = settings
        self._submits = submits
        self._known: dict[str, tuple[float, bytes, PublishedTask]] = {}

    def get(self, name: str) -> PublishedTask:
        """Find one task; see `Client.task`."""
        known = self._known.get(name)
        if known is not None and time.monotonic() - known[0] < _FRESH:
            return known[2]
        found = self._store.find_published(check_name("function", name, _LONGEST_NAME))
        if not found.document:
            raise InvalidSpec(_unknown(name, found.names))
        if known is not None and known[1] == found.document:
            task = known[2]
        else:
            task = PublishedTask(name, *read_published(name, found.document), self._settings, self._submits)
        if len(self._known) >= _MOST:
            self._known = {}
        self._known[name] = (time.monotonic(), found.document, task)
        return task


def _unknown(name: str, names: tuple[str, ...]) -> str:
    """Make the error for a function that no worker has."""
    remedy = "start a worker that has it (RECONCILER_IMPORTS names the module that declares it), or correct the name"
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    known = f" Published: {', '.join(names[:_SHOWN])}{more}." if names else " None publishes any now."
    close = get_close_matches(name, names, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"no worker publishes a function named {name!r}: {remedy}.{known}{hint}"
