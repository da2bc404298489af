"""Connections to Redis that end in time, and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from reconciler import metrics
from reconciler.address import Address, mask, read_redis
from reconciler.api.errors import InvalidSettings, StoreUnavailable
from reconciler.connections import drop_idle, guard
from reconciler.core.refusals import plain, refusal_of
from reconciler.settings import Settings
from reconciler.stores.redis.confirm import ConfirmingRedis

P = ParamSpec("P")
R = TypeVar("R")


def connect(settings: Settings) -> redis.Redis:
    """Make a client for the records. Nothing is sent yet.

    One retry after a *broken* connection covers a server that restarted; a timed-out command is never repeated: redis-py's
    default retries made one call last minutes. All verbs may be repeated safely (docs/guarantees.md).

    Raises:
        InvalidSettings: the URL cannot be used.
    """
    address = _address(settings.redis_url)
    options: dict[str, Any] = {
        "socket_timeout": settings.socket_timeout.total_seconds(),
        "socket_connect_timeout": settings.connect_timeout.total_seconds(),
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,)),
        "client_name": "reconciler",
        "db": address.db,
        "username": address.username or None,
        "password": address.password or None,
        **({"ssl": True, **address.tls} if address.tls else {}),
    }
    kind = ConfirmingRedis if settings.durability == "safe" else redis.Redis
    client = _client(address, kind, options)
    guard(client.connection_pool)
    return client.guarded_by(settings) if isinstance(client, ConfirmingRedis) else client


def _address(url: str) -> Address:
    try:
        return read_redis(url)
    except ValueError as error:
        problem = f"RECONCILER_REDIS_URL {mask(url)!r} cannot be used: {error}"
        raise InvalidSettings([problem]) from None  # not chained: what urllib says may quote the password


def _client(address: Address, kind: type[redis.Redis], options: dict[str, Any]) -> redis.Redis:
    if address.path:
        return kind(unix_socket_path=address.path, **options)
    if not address.master_name:
        [(host, port)] = address.hosts
        return kind(host=host, port=port, **options)
    timeouts = {name: value for name, value in options.items() if name.startswith("socket")}
    # redis-py asks a dead Sentinel several times before it asks the next one, unless told not to retry
    asking = {**timeouts, "retry": Retry(NoBackoff(), 0), **address.sentinel_options()}
    sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # redis-py has no types here
    primary: redis.Redis = sentinel.master_for(address.master_name, kind, **options)
    return primary


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn redis-py's errors into one sentence with a remedy.

    Raises:
        StoreUnavailable: for every way the server can fail us.
    """
    try:
        yield
    except (
        AuthenticationError,
        RedisConnectionError,
        RedisTimeoutError,
        OutOfMemoryError,
        ResponseError,
    ) as error:
        raise StoreUnavailable(f"Redis at {mask(url)} {_why(error)}") from error
    except RedisError as error:
        raise StoreUnavailable(f"Redis at {mask(url)} failed: {type(error).__name__}: {error}") from error


def _why(error: RedisError) -> str:
    text = plain(str(error))
    refused = any(word in text for word in ("NOAUTH", "WRONGPASS"))  # a pipeline puts words before
    if isinstance(error, AuthenticationError) or refused:
        return f"refuses our credentials ({text}): check user and password in RECONCILER_REDIS_URL"
    if isinstance(error, OutOfMemoryError) or "maxmemory" in text:
        return "is full (maxmemory reached): nothing was written; raise maxmemory or shorten RECONCILER_RETENTION"
    if isinstance(error, RedisTimeoutError):
        return "did not answer within RECONCILER_SOCKET_TIMEOUT: it is frozen, overloaded or unreachable"
    if isinstance(error, RedisConnectionError) and not refusal_of(text):
        return f"cannot be reached ({text}): start it, or correct RECONCILER_REDIS_URL"
    return refusal_of(text) or f"refused a command ({text}): look at its log"


def explain(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a store method in `explained`, with the URL of the store it belongs to, and time it."""
    op = _op_of(method)

    @wraps(method)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        began = time.perf_counter()
        error = True
        try:
            answer = method(*args, **kwargs)
            error = False
        except RedisError as failure:
            if isinstance(failure, RedisTimeoutError):
                drop_idle()  # they are as old, and each would cost a time limit
            with explained(getattr(args[0], "url", "?")):
                raise
        finally:
            metrics.stored(op, began, error=error)
        return answer

    return wrapped


def _op_of(method: Callable[..., object]) -> str:
    """Name a verb in the metrics: catalog, quotas and channel have verbs of the same names as the store."""
    owner = method.__module__.rpartition(".")[2]
    return f"{owner}.{method.__name__}" if owner in {"catalog", "quotas", "channel"} else method.__name__
