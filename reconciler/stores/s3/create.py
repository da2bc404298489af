"""Creates many small objects side by side: signed PUTs over connections that stay open.

One `put_object` of boto3 costs 1.3 ms of CPU, most of it not for S3. Outputs of functions are small, many, and written
once, so they get a way of their own: a request is some 30 us of signing and one send; eight are on their way at a time
(64 when the server is far), from one thread. It knows no retry and no error: what is not answered with 200 or 412 is left
to boto3, which is also the only source of credentials. What boto3 would do otherwise than a plain signed PUT (a proxy,
another kind of endpoint) is left to it altogether.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import socket
import ssl
import struct
import time
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

AT_ONCE: Final = 8
"""Requests of one call that are on their way at a time: more would only wait in the server, and let others wait there."""
AT_ONCE_FAR: Final = 8 * AT_ONCE
"""The same of a far server, which is not what they wait for."""
_FAR: Final = 0.01
"""Seconds within which a near server, however busy, answers the first request of one call in some."""
NEW_AT_ONCE: Final = 8
"""Connections one call makes before it waits for answers: each takes some journeys to the server, one after the other."""
_KEPT: Final = AT_ONCE_FAR
"""Connections a process keeps open: several threads may create objects at a time."""

_OF_EACH: Final = ("x-amz-checksum-sha256", "x-amz-content-sha256", "x-amz-date")
"""The headers that differ from request to request, sorted."""
_LONGEST_HEAD: Final = 64 * 1024
_HEAD_ENDS: Final = re.compile(rb"\r?\n\r?\n")
_TELLING: Final = re.compile(
    rb"^(content-length|connection|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
"""The headers of an answer that tell where it ends."""
_TO_QUOTE: Final = re.compile(r"[^A-Za-z0-9/_.~-]+")
_REST_TOO_LONG: Final = 3.0
"""Seconds after which a connection that rested is not trusted: servers close idle ones without a word."""


def _quoted(found: re.Match[str]) -> str:
    """Quote only the parts of a key that need it: `quote` on a whole key takes longer than signing."""
    return quote(found[0], safe="")


class Created(Enum):
    """The result for one object."""

    DONE = "done"
    EXISTS = "exists"
    """Something lies there, and this request did not write it."""
    REFUSED = "refused"
    """Not written by this request: credentials, permissions, a conflict. boto3 knows what to make of it."""
    UNKNOWN = "unknown"
    """No answer, or a fault of the server: it may have been written."""


_ANSWERS: Final = {200: Created.DONE, 412: Created.EXISTS}


class Place(msgspec.Struct, frozen=True):
    """The server that requests go to.

    Attributes:
        host: name and port of the `Host` header.
        address: name and port to connect to.
        tls: whether to speak TLS; None: not. Its context verifies the server.
        path: what stands before each key, URL-quoted, with a slash at its end.
        region: for the signature.
    """

    host: str
    address: tuple[str, int]
    tls: ssl.SSLContext | None
    path: str
    region: str


def place_of(endpoint: str, url: str, bucket: str, region: str, authorities: str | None) -> Place | None:
    """Return where objects of a bucket are created; None where only boto3 knows.

    Args:
        endpoint: of the settings; empty means AWS.
        url: the endpoint boto3 has chosen.
        bucket: name of the bucket.
        region: its region.
        authorities: file with the certificates of authorities to trust; None means those boto3 brings.
    """
    parts = urlsplit(url)
    name = parts.hostname or ""
    if not name or parts.username or parts.query or _proxied(parts.scheme, parts.netloc):
        return None
    path = f"{quote(parts.path.rstrip('/'))}/"
    if endpoint:  # a server of one's own has rarely a DNS name for each bucket
        path, host = f"{path}{quote(bucket)}/", parts.netloc
    elif name == f"s3.{region}.amazonaws.com" and bucket.replace("-", "").isalnum() and bucket.islower():
        name = host = f"{bucket}.{name}"
    else:
        return None
    tls = _context(authorities) if parts.scheme == "https" else None
    return Place(host, (name, parts.port or (443 if tls else 80)), tls, path, region)


def _context(authorities: str | None) -> ssl.SSLContext:
    from botocore.httpsession import where  # noqa: PLC0415  # certifi's bundle, or that of botocore: 4 MB

    return ssl.create_default_context(cafile=authorities or where())


def _proxied(scheme: str, host: str) -> bool:
    proxies = urllib.request.getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(host)


class Credentials(msgspec.Struct, frozen=True):
    """The keys that a request is signed with. Never printed."""

    access_key: str
    secret_key: str
    token: str = ""

    def __repr__(self) -> str:
        return "<Credentials>"


class Signer:
    """Signature version 4 of a PUT with a known body; the key of a day is derived once."""

    def __init__(self, place: Place, credentials: Credentials, headers: Mapping[str, str]) -> None:
        """Sign for a place.

        Args:
            place: where the requests go.
            credentials: whose they are.
            headers: further headers of each request, lower case, as those of encryption.
        """
        self._place = place
        self._credentials = credentials
        given = {"host": place.host, "if-none-match": "*", **headers}
        if credentials.token:
            given["x-amz-security-token"] = credentials.token
        known = {name: value.replace("%", "%%") for name, value in given.items()}
        names = dict(sorted({**known, **dict.fromkeys(_OF_EACH, "%s")}.items()))
        self._signed = ";".join(names)
        self._to_sign = "".join(f"{name}:{value}\n" for name, value in names.items())
        self._to_send = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        self._day, self._key = "", b""
        self._stamp = (-1, "", "")

    def request(self, key: str, data: bytes, now: float) -> bytes:
        """Write the whole request that creates one object if nothing lies there.

        Args:
            key: of the object.
            data: its bytes.
            now: seconds since the epoch.
        """
        stamp, scope = self._stamp_of(int(now))
        digest = hashlib.sha256(data)
        path = self._place.path + _TO_QUOTE.sub(_quoted, key)
        of_each = (base64.b64encode(digest.digest()).decode(), digest.hexdigest(), stamp)
        canonical = f"PUT\n{path}\n\n{self._to_sign % of_each}\n{self._signed}\n{of_each[1]}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(stamp[:8]), text.encode(), "sha256").hex()
        return (
            f"PUT {path} HTTP/1.1\r\n{self._to_send % of_each}content-length: {len(data)}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={self._credentials.access_key}/{scope}, "
            f"SignedHeaders={self._signed}, Signature={signature}\r\n\r\n"
        ).encode() + data

    def _stamp_of(self, second: int) -> tuple[str, str]:
        known, stamp, scope = self._stamp
        if second != known:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            scope = f"{stamp[:8]}/{self._place.region}/s3/aws4_request"
            self._stamp = (second, stamp, scope)  # at once: threads share this
        return stamp, scope

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._credentials.secret_key}".encode()
            for part in (day, self._place.region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key


class _Connection:
    """One connection that stays open between requests."""

    def __init__(self, place: Place, connect_timeout: float, timeout: float) -> None:
        plain = socket.create_connection(place.address, timeout=connect_timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = (
                place.tls.wrap_socket(plain, server_hostname=place.address[0]) if place.tls else plain
            )
        except BaseException:
            plain.close()
            raise
        self._limit(timeout)
        self.used = time.monotonic()
        self.open = True

    def _limit(self, seconds: float) -> None:
        """Limit the time of each call. Python would ask the kernel before each whether it can be done at once."""
        if isinstance(self._socket, ssl.SSLSocket):  # it would go on after the kernel has given up
            self._socket.settimeout(seconds)
            return
        self._socket.settimeout(None)
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def status(self) -> int:
        """Read the HTTP status of the next answer; 0 for a success with a body: S3 may still report an error in it.

        Raises:
            OSError: no answer came, or none in time.
            ValueError: what came is no answer.
        """
        data = b""
        while (end := _HEAD_ENDS.search(data)) is None:
            if len(data) > _LONGEST_HEAD:
                raise ConnectionError("the head of the answer has no end")
            data += self._more()
        if not data.startswith(b"HTTP/1.1 "):
            raise ConnectionError("this is no HTTP/1.1")
        length = 0
        for name, value in _TELLING.findall(data, 0, end.start()):
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"connection":
                    self.open = value.strip().lower() != b"close"
                case _:
                    raise ConnectionError("the answer has no end that can be seen")
        missing = length - (len(data) - end.end())
        while missing > 0:
            missing -= len(self._more())
        if missing:
            raise ConnectionError("more than an answer came")
        self.used = time.monotonic()
        status = int(data[9:12])
        return 0 if status == 200 and length else status

    def _more(self) -> bytes:
        if not (data := self._socket.recv(_LONGEST_HEAD)):
            raise ConnectionError("the server closed the connection")
        return data

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


class Window:
    """The number of requests of one call that are on their way at a time, by how far the server is. Threads may share it."""

    def __init__(self) -> None:
        self._answered: deque[float] = deque(maxlen=16)

    @property
    def size(self) -> int:
        """Larger when none of the last first answers came soon: then the server is far."""
        return AT_ONCE_FAR if min(self._answered, default=0.0) > _FAR else AT_ONCE

    def note(self, seconds: float) -> None:
        """Note how long the first answer of one call took."""
        self._answered.append(seconds)


class Creator:
    """Sends the requests of one process to one place. Threads may share it.

    Args:
        connect_timeout: seconds a connection may take to be made.
        timeout: seconds an answer may take.
    """

    def __init__(self, *, connect_timeout: float, timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._idle: deque[tuple[Place, _Connection]] = deque()
        self._sent: dict[int, deque[_Connection | None]] = {}  # of each call at work, by its `id`
        self._pid = os.getpid()
        self._window = Window()

    def create(self, signer: Signer, place: Place, objects: Sequence[tuple[str, bytes]]) -> list[Created]:
        """Create objects, each a key and its bytes, side by side; return a result for each, in order.

        Calls at the same time share what may be on its way, but each may send one request whatever the others do.
        """
        sent: deque[_Connection | None] = deque()
        self._sent[id(sent)] = sent
        try:
            return self._created(signer, place, objects, sent)
        finally:
            del self._sent[id(sent)]

    def _created(
        self,
        signer: Signer,
        place: Place,
        objects: Sequence[tuple[str, bytes]],
        sent: deque[_Connection | None],
    ) -> list[Created]:
        found: list[Created] = []
        at_once, new, began = self._window.size, 0, time.monotonic()

        def answer() -> None:
            found.append(self._answer(place, sent.popleft()))
            if len(found) == 1:
                self._window.note(time.monotonic() - began)

        for key, data in objects:
            if (sent and sum(map(len, list(self._sent.values()))) >= at_once) or (
                sent and new >= NEW_AT_ONCE and not self._idle
            ):
                answer()
            rested = self._rested(place)
            new += rested is None
            sent.append(self._send(rested, place, signer.request(key, data, time.time())))
        while sent:
            answer()
        return found

    def _send(self, rested: _Connection | None, place: Place, request: bytes) -> _Connection | None:
        connection = rested
        try:
            connection = connection or _Connection(place, self._connect_timeout, self._timeout)
            connection.send(request)
        except OSError:
            if connection is not None:
                connection.close()
            return None
        return connection

    def _answer(self, place: Place, connection: _Connection | None) -> Created:
        if connection is None:
            return Created.UNKNOWN
        try:
            status = connection.status()
        except (OSError, ValueError):
            connection.close()
            return Created.UNKNOWN
        if connection.open:
            self._idle.append((place, connection))
        else:
            connection.close()
        if len(self._idle) > _KEPT:
            self._idle.popleft()[1].close()
        if status in _ANSWERS:
            return _ANSWERS[status]
        return Created.REFUSED if 400 <= status < 500 else Created.UNKNOWN

    def _rested(self, place: Place) -> _Connection | None:
        """Take an open connection that is not in use; None when there is none."""
        if self._pid != os.getpid():  # the sockets are the parent's
            self._idle, self._pid = deque(), os.getpid()
        while self._idle:
            try:
                known, connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if known == place and time.monotonic() - connection.used < _REST_TOO_LONG:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop()[1].close()

    def __del__(self) -> None:
        self.close()
