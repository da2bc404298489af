"""Connections to Redis that end in time, and errors that say what to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit

import redis
from redis.backoff import ConstantBackoff
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
from reconciler.api.errors import StoreUnavailable
from reconciler.lines import drop_idle, guard
from reconciler.settings import Settings
from reconciler.stores.redis.confirm import ConfirmingRedis

P = ParamSpec("P")
R = TypeVar("R")


def connect(settings: Settings) -> redis.Redis:
    """A client for the records. Nothing is sent yet.

    One retry after a *broken* connection covers a server that restarted; a timed-out command is never repeated: redis-py's
    default retries made one call last minutes. All verbs may be repeated safely (docs/guarantees.md).
    """
    options: dict[str, Any] = {
        "socket_timeout": settings.socket_timeout.total_seconds(),
        "socket_connect_timeout": settings.connect_timeout.total_seconds(),
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,)),
        "client_name": "reconciler",
    }
    kind = ConfirmingRedis if settings.durability == "safe" else redis.Redis
    if settings.redis_url.startswith("sentinel://"):
        client = _through_sentinel(settings.redis_url, kind, options)
    else:
        client = kind.from_url(settings.redis_url, **options)
    guard(client.connection_pool)
    return client.guarded_by(settings) if isinstance(client, ConfirmingRedis) else client


def _through_sentinel(url: str, kind: type[redis.Redis], options: dict[str, Any]) -> redis.Redis:
    """`sentinel://[:password@]host:port[;sentinel://host:port…]/db?master_name=NAME`: as the broker's URL is written."""
    parts = [urlsplit(part) for part in url.split(";")]
    nodes = [(part.hostname or "", part.port or 26379) for part in parts]
    query = {key: value for part in parts for key, value in parse_qsl(part.query)}
    database = next((int(part.path.strip("/")) for part in parts if part.path.strip("/")), 0)
    password = next((part.password for part in parts if part.password), None)
    patience = {k: v for k, v in options.items() if k.startswith("socket")}
    sentinel: Any = Sentinel(nodes, sentinel_kwargs=patience)  # type: ignore[no-untyped-call]  # redis-py has no types here
    name = query.get("master_name", "mymaster")
    primary: redis.Redis = sentinel.master_for(name, kind, password=password, db=database, **options)
    return primary


def safe_url(url: str) -> str:
    """The URL without user, password and query, for messages and logs."""
    bare = url.partition("?")[0]
    head, at, tail = bare.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else bare


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
        raise StoreUnavailable(f"Redis at {safe_url(url)} {_why(error)}") from error
    except RedisError as error:
        raise StoreUnavailable(f"Redis at {safe_url(url)} failed: {type(error).__name__}: {error}") from error


def _why(error: RedisError) -> str:
    text = str(error)
    refused = any(word in text for word in ("NOAUTH", "WRONGPASS", "NOPERM"))  # a pipeline puts words before
    if isinstance(error, AuthenticationError) or refused:
        return f"refuses our credentials ({text}): check user and password in RECONCILER_REDIS_URL"
    if isinstance(error, OutOfMemoryError) or "maxmemory" in text:
        return "is full (maxmemory reached): nothing was written; raise maxmemory or shorten RECONCILER_RETENTION"
    if isinstance(error, RedisTimeoutError):
        return "did not answer within RECONCILER_SOCKET_TIMEOUT: it is frozen, overloaded or unreachable"
    if isinstance(error, RedisConnectionError):
        return f"cannot be reached ({text}): start it, or correct RECONCILER_REDIS_URL"
    remedy = next((remedy for word, remedy in _REFUSALS.items() if word in text), "")
    return remedy.format(text) if remedy else f"refused a command ({text})"


_REFUSALS = {
    "WRONGTYPE": "holds foreign data under our keys ({}): give this installation its own RECONCILER_KEY_PREFIX",
    "NOREPLICAS": "has too few replicas to accept writes ({}): bring them back, or lower min-replicas-to-write",
    "READONLY": "is a replica ({}): let RECONCILER_REDIS_URL name the primary, or Sentinel with sentinel://",
}


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
    """Name of a verb in the metrics: catalog, quotas and channel have verbs as the store has."""
    owner = method.__module__.rpartition(".")[2]
    return f"{owner}.{method.__name__}" if owner in {"catalog", "quotas", "channel"} else method.__name__
