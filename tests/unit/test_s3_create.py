"""Objects that are created without boto3: signed as boto3 signs, and only where the way is the same."""

from __future__ import annotations

import itertools
import random
import string
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from reconciler.stores.s3.create import AT_ONCE, Created, Creator, Credentials, Place, Signer, place_of

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


def test_an_answer_makes_room_for_the_next_request() -> None:
    """Nobody waits for the slowest of those on their way: here all but the first are answered once the last has come."""
    all_came, numbers = threading.Event(), itertools.count(1)  # they come in any order

    class Handler(BaseHTTPRequestHandler):
        """Answers the first request at once, and the others once all have come."""

        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            """Answer, early or late."""
            self.rfile.read(int(self.headers["content-length"]))
            if next(numbers) > AT_ONCE:
                all_came.set()
            self.send_response(200 if self.path.endswith("/key0") or all_came.wait(10) else 500)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = msgspec.structs.replace(PLACE, address=("127.0.0.1", server.server_port))
        creator = Creator(connect_timeout=10, timeout=30)
        signer = Signer(place, Credentials("AKID", "secret", ""), {})
        made = creator.create(signer, place, [(f"key{number}", b"data") for number in range(AT_ONCE + 1)])
        creator.close()
        server.shutdown()
    assert made == [Created.DONE] * (AT_ONCE + 1)
