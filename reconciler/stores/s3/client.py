"""Make boto3's client for S3: its limits, and what the server of the settings understands."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.api.errors import BlobUnavailable
from reconciler.settings import Settings
from reconciler.stores.s3.errors import safe_endpoint
from reconciler.stores.s3.renewal import RenewedClient

if TYPE_CHECKING:
    import boto3
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 3
"""How often a request is sent at most; waits of up to 1 s and 2 s lie between."""
CONNECTIONS = 32
_CHECKSUMS: dict[str, dict[str, Any]] = {
    "sha256": {},
    "none": {
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    },
}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ClientSource(RenewedClient["S3Client"]):
    """The client of each process; sockets of a parent must not be used by its forked children.

    Its calls raise `BlobUnavailable` when the endpoint is no URL, and `BotoCoreError` when the configuration of boto3
    cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(lambda session: _make(session, settings))


def _make(session: boto3.session.Session, settings: Settings) -> S3Client:
    try:
        client = session.client(
            "s3",
            endpoint_url=settings.s3_endpoint or None,
            region_name=settings.s3_region,
            config=_config(settings),
        )
    except ValueError as error:
        raise BlobUnavailable(
            f"S3 cannot be asked: {safe_endpoint(settings.s3_endpoint)} is no endpoint. "
            "Correct RECONCILER_S3_ENDPOINT, as in http://127.0.0.1:8333."
        ) from error
    if settings.s3_checksum == "none":
        client.meta.events.register("before-sign.s3.DeleteObjects", _by_md5)
    return client


def _by_md5(request: Any, **_: object) -> None:  # noqa: ANN401  # botocore has no types
    """Send the old digest header where the new ones are not understood: deleting many objects needs one."""
    for name in list(request.headers):
        if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum-", "content-md5")):
            del request.headers[name]
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _config(settings: Settings) -> Config:
    """Set the client's limits and options.

    Raises:
        ValueError: the endpoint is no URL.
    """
    from botocore.config import Config  # noqa: PLC0415  # as in renewal.py

    loopback = urlsplit(settings.s3_endpoint).hostname in _LOOPBACK
    return Config(
        connect_timeout=settings.connect_timeout.total_seconds(),
        read_timeout=settings.socket_timeout.total_seconds(),
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # A server of one's own has rarely a DNS name for each bucket.
        s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
        **_CHECKSUMS[settings.s3_checksum],
        # This machine is never behind the proxy of HTTP_PROXY.
        proxies={} if loopback else None,
    )
