"""What the S3 store does when the server, the network or the settings are at fault; on a real server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from s3_proxy import FaultyProxy, cut, flipped, head_only, lost, refuses, says

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobUnavailable
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.objects import BlobStat
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3.check import UNCONDITIONAL
from reconciler.stores.s3.client import ATTEMPTS

pytestmark = pytest.mark.servers

TIMEOUT = timedelta(seconds=0.5)
PATIENCE = timedelta(seconds=2)
BOUND = ATTEMPTS * TIMEOUT.total_seconds() + 3 + 5
"""Longest a call may take here: its tries, at most 3 s between them, and 5 s for a busy machine."""
CONFLICT = refuses("409 Conflict", "ConditionalRequestConflict")
VERBS: list[Callable[[S3Blobs, str], object]] = [
    S3Blobs.get,
    S3Blobs.stat,
    S3Blobs.delete_prefix,
    lambda blobs, uri: blobs.put(uri, b"x", overwrite=False),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """A real S3 server, whose credentials are in the environment as boto3 wants them."""
    with (
        EmbeddedServers(tmp_path_factory.mktemp("s3"), redis=False) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in running.env().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def proxy(servers: EmbeddedServers) -> Iterator[FaultyProxy]:
    """A way to the server on which things go wrong."""
    with FaultyProxy(servers.s3_endpoint) as running:
        yield running


@pytest.fixture
def make(servers: EmbeddedServers) -> Callable[..., S3Blobs]:
    """Makes a store in a folder of its own, with the settings given."""

    def make(**given: Any) -> S3Blobs:
        own = {
            "s3_prefix": f"tests/{uuid.uuid4().hex}",
            "socket_timeout": TIMEOUT,
            "connect_timeout": TIMEOUT,
        }
        return S3Blobs(Settings.from_env(servers.env(), **{**own, **given}))

    return make


@pytest.fixture
def blobs(proxy: FaultyProxy, make: Callable[..., S3Blobs]) -> S3Blobs:
    """A store that goes through the proxy; what goes wrong there is told at once, so it has time."""
    return make(s3_endpoint=proxy.endpoint, socket_timeout=PATIENCE, connect_timeout=PATIENCE)


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("verb", VERBS)
def test_wrong_credentials(
    make: Callable[..., S3Blobs], monkeypatch: pytest.MonkeyPatch, variable: str, verb: Callable[..., object]
) -> None:
    """Each verb says which variables hold the credentials that were refused, and not what is in them."""
    monkeypatch.setenv(variable, "wrongwrongwrong")
    with pytest.raises(BlobUnavailable, match="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
        verb(make(), "s3://reconciler/object")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


@pytest.mark.parametrize("verb", VERBS[:2])
def test_missing_bucket(make: Callable[..., S3Blobs], verb: Callable[..., object]) -> None:
    """A missing bucket is named, and never taken for a missing object."""
    with pytest.raises(
        BlobUnavailable, match=r"'nowhere' does not exist: create it, .* RECONCILER_S3_BUCKET"
    ):
        verb(make(), "s3://nowhere/object")


@pytest.mark.parametrize("verb", VERBS)
def test_dead_server(make: Callable[..., S3Blobs], verb: Callable[..., object]) -> None:
    """A server that is not there gives one error in bounded time; it names endpoint, bucket and remedy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(BlobUnavailable, match=f"{endpoint}: bucket 'reconciler' .* RECONCILER_S3_ENDPOINT"):
        verb(make(s3_endpoint=endpoint), "s3://reconciler/object")
    assert time.monotonic() - began < BOUND


def test_frozen_server(servers: EmbeddedServers, make: Callable[..., S3Blobs]) -> None:
    """A server stopped in its tracks gives one error per call in bounded time, and is used again later."""
    blobs = make()
    uri = blobs.uri("object")
    blobs.put(uri, b"before")
    verbs: list[Callable[[], object]] = [
        lambda: blobs.get(uri),
        lambda: blobs.stat(uri),
        lambda: blobs.put(uri, b"small", overwrite=False),
        lambda: blobs.put(uri, bytes(8_000_000)),
    ]
    weed = servers.processes["s3"].pid
    os.kill(weed, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(len(verbs)) as pool:
            errors = [future.exception() for future in [pool.submit(verb) for verb in verbs]]
        assert time.monotonic() - began < BOUND
    finally:
        os.kill(weed, signal.SIGCONT)
    for error in errors:
        assert isinstance(error, BlobUnavailable)
        assert f"{blobs.endpoint}: bucket 'reconciler' " in str(error)
        assert "several times" in str(error)
    blobs.put(blobs.uri("after"), b"after")
    assert blobs.get(blobs.uri("after")) == b"after"


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
def test_lost_answer_of_our_own_creation(proxy: FaultyProxy, blobs: S3Blobs, size: int) -> None:
    """A create-once write whose answer was lost succeeds: what lies there is what was to be written."""
    proxy.spoil("PUT", lost)
    digest = blobs.put(blobs.uri("object"), os.urandom(size), overwrite=False)
    assert proxy.requests == ["PUT", "PUT", "GET"]
    blobs.get(blobs.uri("object"), sha256=digest)


@pytest.mark.parametrize("theirs", [b"theirs", b"a much larger object of theirs", b""])
def test_lost_answer_when_others_were_first(proxy: FaultyProxy, blobs: S3Blobs, theirs: bytes) -> None:
    """A create-once write that was sent twice still loses against other bytes."""
    blobs.put(blobs.uri("object"), theirs)
    proxy.spoil("PUT", lost)
    with pytest.raises(BlobExists):
        blobs.put(blobs.uri("object"), b"ourown", overwrite=False)
    assert blobs.get(blobs.uri("object")) == theirs


def test_conflict_is_asked_again(proxy: FaultyProxy, blobs: S3Blobs) -> None:
    """409 means that two writers are at it: the server's next answer decides; at last the other has won."""
    proxy.spoil("PUT", *[CONFLICT] * (ATTEMPTS - 1))
    blobs.put(blobs.uri("object"), b"ours", overwrite=False)
    proxy.spoil("PUT", *[CONFLICT] * ATTEMPTS)
    with pytest.raises(BlobExists):
        blobs.put(blobs.uri("other"), b"ours", overwrite=False)
    assert proxy.requests == ["PUT"] * 2 * ATTEMPTS


def test_tries_do_not_multiply(proxy: FaultyProxy, blobs: S3Blobs) -> None:
    """A server that stays silent is asked a few times, not a few times a few times."""
    proxy.spoil("GET", *[lost] * ATTEMPTS**2)
    with pytest.raises(BlobUnavailable, match="gave no answer within RECONCILER_SOCKET_TIMEOUT"):
        blobs.get(blobs.uri("object"))
    assert proxy.requests == ["GET"] * ATTEMPTS


@pytest.mark.parametrize("break_off", [cut, head_only])
def test_answers_cut_off(proxy: FaultyProxy, blobs: S3Blobs, break_off: Callable[[bytes], bytes]) -> None:
    """An answer that breaks off is asked for again, and after some tries the server counts as unavailable."""
    blobs.put(blobs.uri("object"), b"0123456789")
    proxy.spoil("GET", *[break_off] * (ATTEMPTS - 1))
    assert blobs.get(blobs.uri("object")) == b"0123456789"
    proxy.spoil("GET", *[break_off] * ATTEMPTS)
    with pytest.raises(BlobUnavailable, match="broke off in the middle, several times"):
        blobs.get(blobs.uri("object"))


def test_changed_on_its_way(proxy: FaultyProxy, blobs: S3Blobs) -> None:
    """The server's checksum gives away a changed bit, also to a reader who knows no digest."""
    blobs.put(blobs.uri("object"), b"0123456789")
    proxy.spoil("GET", flipped)
    with pytest.raises(BlobCorrupt, match="checksum"):
        blobs.get(blobs.uri("object"))


def test_limit_before_reading(proxy: FaultyProxy, blobs: S3Blobs) -> None:
    """An object above the limit is refused by its announced size: none of its bytes are needed for that."""
    blobs.put(blobs.uri("object"), b"0123456789")
    proxy.spoil("GET", head_only)
    with pytest.raises(BlobCorrupt, match="has 10 bytes, at most 9"):
        blobs.get(blobs.uri("object"), limit=9)


@pytest.mark.parametrize("status", ["500 Oops", "503 Slow Down"])
def test_passing_trouble_is_not_seen(proxy: FaultyProxy, blobs: S3Blobs, status: str) -> None:
    """A server that recovers within the tries costs time, and nothing else; one that does not is named."""
    proxy.spoil("PUT", *[refuses(status, "SlowDown")] * (ATTEMPTS - 1))
    blobs.put(blobs.uri("object"), b"data")
    proxy.spoil("HEAD", *[says(status)] * ATTEMPTS)
    with pytest.raises(BlobUnavailable, match=f"fails or is overloaded.*{status[:3]}"):
        blobs.stat(blobs.uri("object"))
    assert blobs.stat(blobs.uri("object")) == BlobStat(4)


def test_slow_line(proxy: FaultyProxy, make: Callable[..., S3Blobs]) -> None:
    """A large object on a slow line takes longer than the connect timeout, and arrives."""
    connect = timedelta(seconds=2)
    blobs = make(s3_endpoint=proxy.endpoint, socket_timeout=timedelta(seconds=30), connect_timeout=connect)
    blobs.put(blobs.uri("connected"), b"before")
    proxy.pause = 0.006
    began = time.monotonic()
    digest = blobs.put(blobs.uri("object"), bytes(10_000_000))
    assert time.monotonic() - began > connect.total_seconds()
    assert proxy.requests == ["PUT", "PUT"]
    assert len(blobs.get(blobs.uri("object"), sha256=digest)) == 10_000_000


def test_check_finds_a_server_without_conditional_writes(proxy: FaultyProxy, blobs: S3Blobs) -> None:
    """A server that accepts the second creation of an object is reported, with what gets weaker by it."""
    proxy.spoil("PUT", lambda answer: answer, says("200 OK"))
    assert blobs.check() == [UNCONDITIONAL]
    assert blobs.delete_prefix(blobs.uri(".reconciler")) == 0


@pytest.mark.parametrize(
    ("method", "words"),
    [("PUT", "nothing can be written: .*s3:PutObject"), ("GET", "s3:GetObject"), ("POST", "s3:DeleteObject")],
)
def test_check_finds_missing_permissions(proxy: FaultyProxy, blobs: S3Blobs, method: str, words: str) -> None:
    """What the owner of the credentials may not do is reported, with the permission to give."""
    proxy.spoil(method, *[refuses("403 Forbidden", "AccessDenied")] * (4 if method == "PUT" else 1))
    [problem] = blobs.check()
    assert re.search(words, problem)


def test_check_finds_what_is_missing(make: Callable[..., S3Blobs], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing bucket, a dead server and wrong credentials are one sentence each."""
    assert re.search("'nowhere' does not exist", *make(s3_bucket="nowhere").check())
    assert re.search("cannot be reached", *make(s3_endpoint="http://127.0.0.1:1").check())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert re.search("check AWS_ACCESS_KEY_ID", *make().check())


@pytest.mark.usefixtures("servers")
def test_forked_children_have_their_own_connections() -> None:
    """A store that was used before a fork works in parent and children at the same time."""
    program = """
import os
from reconciler.settings import Settings
from reconciler.stores.s3 import S3Blobs

blobs = S3Blobs(Settings.from_env(s3_prefix="forks"))
blobs.put(blobs.uri("before"), b"fork")
children = [os.fork() for _ in range(2)]
me = blobs.uri(str(os.getpid()))
for round in range(20):
    data = f"{me} {round}".encode()
    assert blobs.get(me, sha256=blobs.put(me, data)) == data
if all(children):
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert blobs.delete_prefix(blobs.uri()) == 5
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
