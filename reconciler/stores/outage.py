"""Tell which failures of Redis and S3 may pass by themselves, and which somebody has to repair."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import (
    ClientError,
    EndpointResolutionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from reconciler.api.errors import Outage, Unavailable
from reconciler.core.retries import causes

_TO_MEND = (
    AuthenticationError,
    NoPermissionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    EndpointResolutionError,
)
_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "unknown command", "invalid DB index")
"""What Redis says when it will go on saying it."""


def problem_of(error: Unavailable) -> str:
    """Turn the error into its sentence; an `Outage` when waiting may help."""
    return str(error) if any(_is_to_be_mended(cause) for cause in causes(error)) else Outage(error)


def looked(look: Callable[[], list[str]]) -> list[str]:
    """List the problems that a look at a server finds, and that it does not answer."""
    try:
        return look()
    except Unavailable as error:
        return [problem_of(error)]


def status_of(error: ClientError) -> int:
    """Read the HTTP status of an error; 0 = unknown."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_to_be_mended(cause: BaseException) -> bool:
    if isinstance(cause, ClientError):
        return not (status_of(cause) >= 500 or status_of(cause) in {0, 408, 429})
    if isinstance(cause, RedisError) and any(word in str(cause) for word in _REFUSALS):
        return True
    return isinstance(cause, _TO_MEND)
