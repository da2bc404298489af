"""Read what `@env.task(…)` was given into records: accepted where the meaning is plain, else refused in one sentence."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from reconciler.api.errors import InvalidName, InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.resource import read_units
from reconciler.api.secret import Secret
from reconciler.api.template import RetryStrategy, SecretRef, TaskMetadata, Timeouts
from reconciler.core.cachepolicy import AUTO, DISABLE, Cache
from reconciler.core.policies import policy_problems

_LIMITS = ("queued", "running", "heartbeat", "overall")


class Extra(NamedTuple):
    """The part of a declaration beside its policies: fields of `FunctionConfig`, secrets, a cache, its turn."""

    launch: dict[str, Any]
    secrets: tuple[SecretRef, ...]
    cache: str | Cache
    priority: int | None = None
    fair_by: str = ""
    redact: object = ()


def task_name(given: str, own: str, most: int, remedy: str) -> str:
    """Return the name of a task: the one it was given, else its own.

    Args:
        given: the name it was given; empty: none.
        own: what its function is called, or what Celery calls it.
        most: most characters allowed.
        remedy: how to give it a name, which is said when its own name cannot be used.

    Raises:
        InvalidName: the name breaks the rule.
    """
    try:
        return check_name("task", own if given == "" else given, most)
    except InvalidName as error:
        if given != "":
            raise
        raise InvalidName(f"{error}. Give it a name of its own here: {remedy}") from None


def read_policies(retries: object, timeout: object) -> TaskMetadata:
    """Check and read the policies of a task.

    Args:
        retries: a whole number, or a strategy; None: none.
        timeout: seconds, a `timedelta`, or limits of time; None: none.

    Raises:
        InvalidSpec: they have another type, or contradict themselves; lists all that is wrong.
    """
    try:
        metadata = TaskMetadata(retries=_strategy(retries), timeouts=_limits(timeout))
        problems = policy_problems(metadata)
    except InvalidSpec as error:
        problems = [str(error)]
    if problems:
        raise InvalidSpec("this task cannot be declared: " + "; ".join(problems))
    return metadata


def _strategy(given: object) -> RetryStrategy:
    if given is None:
        return RetryStrategy()
    if not isinstance(given, RetryStrategy):
        return RetryStrategy(retries=_count("retries", given))
    if isinstance(given.factor, bool) or not isinstance(given.factor, int | float):
        raise InvalidSpec(f"the factor of the back-off must be a number, got {given.factor!r:.100}")
    return msgspec.structs.replace(
        given,
        retries=_count("retries", given.retries),
        backoff=read_duration("backoff", given.backoff),
        max_backoff=read_duration("max_backoff", given.max_backoff),
    )


def _limits(given: object) -> Timeouts:
    if not isinstance(given, Timeouts):
        return Timeouts(running=None if given is None else read_duration("timeout", given))
    found = {name: getattr(given, name) for name in _LIMITS}
    return Timeouts(**{k: None if v is None else read_duration(f"timeout {k}", v) for k, v in found.items()})


def _count(what: str, given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidSpec(f"{what} must be a whole number, as in {what}=3, got {given!r:.100}")
    return given


def read_duration(what: str, given: object) -> timedelta:
    """Read a duration: a `timedelta`, or a number of seconds.

    Raises:
        InvalidSpec: it is neither, or no length of time.
    """
    if isinstance(given, timedelta):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidSpec(f"{what} must be a timedelta or a number of seconds, got {given!r:.100}")
    try:
        if math.isfinite(given):
            return timedelta(seconds=given)
    except OverflowError:
        pass
    raise InvalidSpec(
        f"{what} must be a length of time, got {given!r:.100} seconds; leave it out for no limit"
    )


def read_resources(given: object) -> tuple[str, int]:
    """Read resource and units of `gpu` or `gpu=2`; none for None or an empty text.

    Raises:
        InvalidSpec: not of that form.
    """
    if given is None or given == "":
        return "", 1
    if not isinstance(given, str):
        raise InvalidSpec(f"resources must be a text as in 'gpu' or 'gpu=2', got {given!r:.100}")
    resource, units = read_units(given)
    if units < 1:
        raise InvalidSpec(f"resources={given!r} asks for nothing; ask for 1 unit or more")
    return resource, units


def read_secrets(given: object) -> tuple[SecretRef, ...]:
    """Read the references of one `Secret`, or of several.

    Raises:
        InvalidName, InvalidSpec: they are none, or cannot go into their variables.
    """
    if given is None:
        return ()
    secrets = (given,) if isinstance(given, Secret) or not isinstance(given, Iterable) else tuple(given)
    if isinstance(given, str) or not all(isinstance(secret, Secret) for secret in secrets):
        raise InvalidSpec(
            f"secrets must be Secret objects, as in [Secret('db-password')], got {given!r:.100}"
        )
    return tuple(secret.reference() for secret in secrets if isinstance(secret, Secret))


def read_cache(given: object) -> str | Cache:
    """Read what `cache=…` says; True is `auto`, False and None are `disable`.

    Raises:
        InvalidSpec: it is no text and no `Cache`.
    """
    if given is None or given is False:
        return DISABLE
    if given is True:
        return AUTO
    if not isinstance(given, str | Cache):
        raise InvalidSpec(
            f"cache must be 'auto', 'disable', 'override', a version or a Cache, got {given!r:.100}"
        )
    return given if isinstance(given, str) else msgspec.structs.replace(given, ignored_inputs=_ignored(given))


def _ignored(cache: Cache) -> tuple[str, ...]:
    given: object = cache.ignored_inputs
    if isinstance(given, str):
        return (given,)
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    if all(isinstance(name, str) for name in names):
        return names
    raise InvalidSpec(
        f"ignored_inputs of a Cache must name parameters, as in ignored_inputs=('trace_id',), got {given!r:.100}"
    )


def source_version(function: Callable[..., Any]) -> str:
    """Digest the source of a function: it tells with which code an action was submitted. Empty when it cannot be read."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return ""
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
