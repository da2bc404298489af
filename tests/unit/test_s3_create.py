"""Objects that are created without boto3: signed as boto3 signs, and only where the way is the same."""

from __future__ import annotations

import itertools
import random
import socket
import string
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from reconciler.stores.s3.create import (
    AT_ONCE,
    AT_ONCE_FAR,
    NEW_AT_ONCE,
    Created,
    Creator,
    Credentials,
    Place,
    Signer,
    Window,
    place_of,
)

AT = datetime(2026, 11, 28, 2, 3, 4, tzinfo=UTC)
PLACE = Place("127.0.0.1:8333", ("127.0.0.1", 8333), None, "/bucket/", "us-east-1")


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a request."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    return line.split(" ")[1], dict(text.split(": ", 1) for text in lines), body


@pytest.mark.parametrize("token", ["", "session/token=="])
def test_a_request_is_signed_as_boto3_signs_it(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same request gets the same signature, with any key that may name an object. The seed is printed."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: AT.replace(tzinfo=None), raising=False)
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    signer = Signer(PLACE, Credentials("AKID", "secret", token), {"x-amz-server-side-encryption": "AES256"})
    for _ in range(50):
        key = "".join(rng.choices(string.ascii_letters + string.digits + "/-_.~ +=;,é%&", k=20)).strip("/")
        path, headers, body = parsed(signer.request(key, b"data", AT.timestamp()))
        assert body == b"data"
        given = {k: v for k, v in headers.items() if k not in {"authorization", "host", "content-length"}}
        theirs = AWSRequest("PUT", f"http://{PLACE.host}{path}", headers=given, data=b"data")
        theirs.context["timestamp"] = headers["x-amz-date"]
        theirs.context["signing"] = {}
        auth = S3SigV4Auth(BotoCredentials("AKID", "secret", token or None), "s3", "us-east-1")
        canonical = auth.canonical_request(theirs)
        signature = auth.signature(auth.string_to_sign(theirs, canonical), theirs)
        assert headers["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("endpoint", "url", "bucket", "host", "path"),
    [
        ("http://127.0.0.1:8333", "http://127.0.0.1:8333", "b", "127.0.0.1:8333", "/b/"),
        ("https://s3.example.org/base", "https://s3.example.org/base", "b", "s3.example.org", "/base/b/"),
        ("", "https://s3.eu-west-1.amazonaws.com", "my-b", "my-b.s3.eu-west-1.amazonaws.com", "/"),
    ],
)
def test_places_that_are_known(endpoint: str, url: str, bucket: str, host: str, path: str) -> None:
    """A server of one's own is addressed by path, AWS by the name of the bucket."""
    place = place_of(endpoint, url, bucket, "eu-west-1", None)
    assert place is not None
    assert (place.host, place.path) == (host, path)
    assert (place.tls is not None) == url.startswith("https")


@pytest.mark.parametrize(
    ("endpoint", "url", "bucket"),
    [
        ("", "https://s3-fips.eu-west-1.amazonaws.com", "b"),
        ("", "https://s3.eu-west-1.amazonaws.com", "my.bucket"),
        ("http://user:word@host", "http://user:word@host", "b"),
    ],
)
def test_other_places_are_left_to_boto3(endpoint: str, url: str, bucket: str) -> None:
    """Other endpoints, and buckets no certificate fits, are boto3's."""
    assert place_of(endpoint, url, bucket, "eu-west-1", None) is None


def test_a_proxy_is_left_to_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has to go through a proxy goes with boto3."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert place_of("", "https://s3.eu-west-1.amazonaws.com", "b", "eu-west-1", None) is None


def test_credentials_are_never_printed() -> None:
    """Not even by accident."""
    assert "secret" not in repr(Credentials("AKID", "secret", "token"))


class Server:
    """An HTTP server that takes each PUT; a path that ends with `/late` is answered once so many of them have come.

    Attributes:
        connections: their count; `next` of it tells how many were made.
        creator: what creates objects there.
    """

    def __init__(self, late: int = 0) -> None:
        self.connections = itertools.count()
        all_came, numbers, connections = threading.Event(), itertools.count(1), self.connections

        class Handler(BaseHTTPRequestHandler):
            """Answers at once, or late."""

            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                """Count a connection."""
                super().setup()
                next(connections)

            def do_PUT(self) -> None:
                """Answer, early or late."""
                self.rfile.read(int(self.headers["content-length"]))
                waits = self.path.endswith("/late")
                if waits and next(numbers) == late:
                    all_came.set()
                self.send_response(200 if not waits or all_came.wait(10) else 500)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Callable[[Sequence[str]], list[Created]]:
        """Serve; give what creates objects there, with one `Creator`."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        place = msgspec.structs.replace(PLACE, address=("127.0.0.1", self._server.server_port))
        self.creator = Creator(connect_timeout=10, timeout=30)
        signer = Signer(place, Credentials("AKID", "secret", ""), {})
        return lambda keys: self.creator.create(signer, place, [(key, b"data") for key in keys])

    def __exit__(self, *_: object) -> None:
        self.creator.close()
        self._server.shutdown()
        self._server.server_close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "result"),
    [
        ((OK + b"Server: x\r\nContent-Le", b"ngth: 0\r\n\r", b"\n"), Created.DONE),
        ((OK + b"\r\n",), Created.DONE),
        ((b"HTTP/1.1 412 No\r\ncontent-length:6\r\n\r\n<", b"Error>"[:5]), Created.EXISTS),
        ((b"HTTP/1.1 403 No\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n",), Created.REFUSED),
        ((OK + b"content-length: 7\r\n\r\n<Error>",), Created.UNKNOWN),
        ((OK + b"content-length: 0\r\n\r\nmore",), Created.UNKNOWN),
        ((OK + b"content-length: 9\r\n\r\n<Error>",), Created.UNKNOWN),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",), Created.UNKNOWN),
        ((OK + b"content-length: many\r\n\r\n",), Created.UNKNOWN),
        ((OK + b"content-le",), Created.UNKNOWN),
        ((OK + b"x: " + b"y" * 100_000,), Created.UNKNOWN),
        ((b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",), Created.UNKNOWN),
        ((), Created.UNKNOWN),
    ],
)
def test_only_a_whole_answer_counts(pieces: Sequence[bytes], result: Created) -> None:
    """What breaks off, has no end that can be seen, or goes on behind its end, tells nothing; boto3 asks again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=_answer, args=(server, pieces))
        answering.start()
        assert _created(server, timeout=30) is result
        answering.join()


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_allowed() -> None:
    """Its connection is made by the kernel, and nobody ever reads from it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert _created(server, timeout=0.1) is Created.UNKNOWN


def _answer(server: socket.socket, pieces: Sequence[bytes]) -> None:
    connection, _ = server.accept()
    with connection:
        asked = b""
        while not asked.endswith(b"\r\n\r\ndata"):
            asked += connection.recv(65536)
        with suppress(
            OSError
        ):  # the client goes when it has seen enough, also with a part of the answer unread
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def _created(server: socket.socket, timeout: float) -> Created:
    place = msgspec.structs.replace(PLACE, address=server.getsockname())
    creator = Creator(connect_timeout=30, timeout=timeout)
    try:
        [found] = creator.create(
            Signer(place, Credentials("AKID", "secret", ""), {}), place, [("key", b"data")]
        )
    finally:
        creator.close()
    return found


def test_an_answer_makes_room_for_the_next_request() -> None:
    """Nobody waits for the slowest of those on their way: here all but the first are answered once the last has come."""
    with Server(late=AT_ONCE) as create:
        create(["soon"] * AT_ONCE)
        create(["soon"] * AT_ONCE)  # so many connections are open now
        assert create(["soon", *["late"] * AT_ONCE]) == [Created.DONE] * (AT_ONCE + 1)


def test_connections_are_made_a_few_at_a_time() -> None:
    """Each takes some journeys to the server: a call that needs many would wait longer for them than for its answers."""
    server = Server()
    with server as create:
        assert create(["soon"] * 2 * AT_ONCE) == [Created.DONE] * 2 * AT_ONCE
    assert next(server.connections) == NEW_AT_ONCE


def test_calls_at_the_same_time_share_what_may_be_on_its_way() -> None:
    """More would only wait in the server. But each may send one request, or a lone call would wait for a large batch."""
    server = Server()
    with server as create:
        server.creator._sent[0] = deque([None] * AT_ONCE)  # of a call at work in another thread
        assert create(["soon"] * AT_ONCE) == [Created.DONE] * AT_ONCE
        assert [*server.creator._sent] == [0]
    assert next(server.connections) == 1


def test_a_far_server_is_sent_more_at_a_time() -> None:
    """What waits there waits for the way; a near one that is busy answers the first request of some call soon."""
    window = Window()
    assert window.size == AT_ONCE
    window.note(0.03)
    assert window.size == AT_ONCE_FAR
    window.note(0.001)
    window.note(0.03)
    assert window.size == AT_ONCE
