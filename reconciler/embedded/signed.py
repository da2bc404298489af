"""Signed requests without a body to an S3 server on this machine, without boto3: that takes 14 MB."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time

from reconciler.embedded.folder import Credentials
from reconciler.embedded.ports import LOOPBACK

REGION = "us-east-1"
_NOTHING = hashlib.sha256(b"").hexdigest()


def status_of(method: str, port: int, path: str, credentials: Credentials, timeout: float = 2.0) -> int:
    """Send one request, and return the HTTP status of the answer.

    Args:
        method: as `PUT`.
        port: of the server, on the loopback interface.
        path: bucket and key, of characters that need no quoting.
        credentials: sign the request.
        timeout: seconds to wait for the answer.

    Raises:
        OSError: no answer came.
        http.client.HTTPException: what came is no answer.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request(method, path, headers=_headers(method, f"{LOOPBACK}:{port}", path, credentials))
        return connection.getresponse().status
    finally:
        connection.close()


def _headers(method: str, host: str, path: str, credentials: Credentials) -> dict[str, str]:
    """Sign by version 4 of Amazon's signatures."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {"host": host, "x-amz-content-sha256": _NOTHING, "x-amz-date": stamp}
    names = ";".join(headers)
    listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    canonical = f"{method}\n{path}\n\n{listed}\n{names}\n{_NOTHING}"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (stamp[:8], REGION, "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = f"SignedHeaders={names}, Signature={key.hex()}"
    return {
        **headers,
        "authorization": f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, {signature}",
    }
