"""Turn boto3's errors into one sentence that names server, bucket and remedy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointResolutionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError

from reconciler.api.errors import BlobUnavailable
from reconciler.stores.outage import status_of

CUT = (ReadTimeoutError, ResponseStreamingError, IncompleteReadError, HTTPError)
"""An answer that began and did not end; boto3 does not try these again."""

MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
_SKEW = 600.0
"""Difference of clocks from which on a refusal is blamed on it, seconds; AWS allows 15 minutes."""
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile AWS_PROFILE names)"
_PERMISSIONS = (
    f"{_CREDENTIALS}, and allow their owner s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket; "
    "a clock of this machine that is minutes off is refused as well"
)
_REGION = "lies in another region: set RECONCILER_S3_REGION to the bucket's own"
_NO_BUCKET = "does not exist: create it, or correct RECONCILER_S3_BUCKET or the URI that names it"
_CODES = {
    "InvalidAccessKeyId": f"refuses our credentials: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"refuses our credentials: {_CREDENTIALS}",
    "AuthFailure": f"refuses our credentials: {_CREDENTIALS}",
    "InvalidToken": f"refuses our session token: {_CREDENTIALS}, and AWS_SESSION_TOKEN",
    "ExpiredToken": "refuses our session token, which has expired: renew AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "refuses our clock: set this machine's time right (NTP)",
    "NoSuchBucket": _NO_BUCKET,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "NotImplemented": "is served by a server that lacks a needed feature: use one with conditional writes",
    "EntityTooLarge": "refuses an object of this size: lower RECONCILER_MAX_OBJECT_SIZE to what it allows",
}
_STATUSES = {
    400: f"refuses the request; a bucket that {_REGION}",  # to HEAD nobody says why
    301: _REGION,
    403: f"refuses us: {_PERMISSIONS}",
    404: _NO_BUCKET,  # a missing object is told from it before
    507: "has no room left: make room on the server",
}


_SILENCES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError),
        "cannot be asked without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({error})",
    ),
    ((ProfileNotFound,), "cannot be asked: {error}; correct or unset AWS_PROFILE"),
    (
        (EndpointResolutionError,),
        "cannot be asked: correct RECONCILER_S3_ENDPOINT, as in http://127.0.0.1:8333 ({error})",
    ),
    (
        (EndpointConnectionError, ConnectTimeoutError),
        "cannot be reached: start the server, or correct RECONCILER_S3_ENDPOINT",
    ),
    (
        (ReadTimeoutError,),
        "gave no answer within RECONCILER_SOCKET_TIMEOUT, several times: look at its server and its load",
    ),
    (
        (HTTPClientError, IncompleteReadError, HTTPError),
        "broke off in the middle, several times: look at its server and at the network ({kind})",
    ),
    ((Exception,), "cannot be asked: {kind}: {error}; check the RECONCILER_S3_* settings"),
)
"""What an error without an answer means; the first row that fits."""


def code_of(error: ClientError) -> str:
    """Read S3's code from an error; answers to HEAD have only the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def was_retried(error: ClientError) -> bool:
    """Tell whether the request was sent more than once, so that an earlier copy may have been carried out."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def safe_endpoint(url: str) -> str:
    """Write the endpoint for messages: without user and password; `AWS` when none is set."""
    head, at, tail = url.rpartition("@")
    return (f"{head.partition('://')[0]}://{tail}" if at else url) or "AWS"


@contextmanager
def explained(endpoint: str, bucket: str) -> Iterator[None]:
    """Turn boto3's errors into one sentence with a remedy.

    Raises:
        BlobUnavailable: for every way the server can fail us.
    """
    try:
        yield
    except (BotoCoreError, ClientError, HTTPError) as error:
        why = _refusal(error) if isinstance(error, ClientError) else _silence(error)
        text = f"S3 at {endpoint or 'AWS'}: bucket {bucket!r} {why}."
        raise BlobUnavailable(
            text.replace(endpoint, safe_endpoint(endpoint)) if endpoint else text
        ) from error


def _refusal(error: ClientError) -> str:
    code, status = code_of(error), status_of(error)
    said = str(error.response.get("Error", {}).get("Message", ""))[:200]
    ahead = _clock_ahead(error) if status == 403 else 0.0
    if abs(ahead) > _SKEW:
        way = "ahead" if ahead > 0 else "behind"
        return f"refuses our clock, which is {abs(ahead) / 60:.0f} minutes {way}: set this machine's time right (NTP)"
    why = _CODES.get(code) or _STATUSES.get(status)
    if why is None and status >= 500:
        why = (
            "is served by a server that fails or is overloaded: look at its log; trying again later may help"
        )
    return f"{why or 'refused a request'} (it answered {status} {code}: {said})"


def _clock_ahead(error: ClientError) -> float:
    """Return how far our clock is ahead of the server's, seconds, by the date of its answer; 0 when it has none."""
    text = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return time.time() - parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _silence(error: Exception) -> str:
    why = next(text for kinds, text in _SILENCES if isinstance(error, kinds))
    return why.format(error=str(error).rstrip("."), kind=type(error).__name__)
