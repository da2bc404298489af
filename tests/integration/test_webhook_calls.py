"""Calling a webhook over real sockets: bounded in time and size, to no address that was not checked (R55)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from webhook_support import OK, Receiver, receiver, repeats, says, silent, tls_for

from reconciler.webhooks.caller import AT_ONCE, HttpWebhooks, Resolver, WebhookFailed, WebhooksBusy, resolve

pytestmark = pytest.mark.rule("R55")
HERE = ("127.0.0.1",)
DOCUMENT = b'{"prompt":"Go on?"}'
LIMIT = 1.0


def post(
    url: str, allowed: Sequence[str] = HERE, *, resolver: Resolver = resolve, limit: float = 5.0
) -> None:
    """Make one try."""
    HttpWebhooks(allowed, resolver=resolver).post(url, DOCUMENT, "key-1", limit)


def failure(
    url: str, allowed: Sequence[str] = HERE, *, resolver: Resolver = resolve, limit: float = 5.0
) -> WebhookFailed:
    """Return the error of a failing try."""
    with pytest.raises(WebhookFailed) as caught:
        post(url, allowed, resolver=resolver, limit=limit)
    assert "hush" not in str(caught.value)
    return caught.value


# -- taken -------------------------------------------------------------------------------------------------------------
def test_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """One POST of the document to path and query, with key and name; proxies of the environment are not asked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver(says(OK)) as there:
        post(f"http://127.0.0.1:{there.port}/ask?key=hush#top")
        [(head, body)] = there.requests
    first, *headers = head.splitlines()
    assert first == "POST /ask?key=hush HTTP/1.1"
    assert body == DOCUMENT
    assert {
        f"Host: 127.0.0.1:{there.port}",
        "Content-Type: application/json",
        'Idempotency-Key: "key-1"',
        f"Content-Length: {len(DOCUMENT)}",
    } <= set(headers)


def test_a_huge_answer_is_not_read() -> None:
    """The status decides: a receiver that goes on sending for ever has taken the question at once."""
    endless = repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536, 0.0)
    with receiver(endless) as there:
        began = time.monotonic()
        post(f"http://127.0.0.1:{there.port}/", limit=60)
        assert time.monotonic() - began < 30


# -- not taken ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [199, 400, 404, 500, 503])
def test_other_answers_are_failures(status: int) -> None:
    """Only 2xx counts; the failure names host and status, and may be tried again."""
    with receiver(says(f"HTTP/1.1 {status} Hush\r\nContent-Length: 0\r\n\r\n".encode())) as there:
        error = failure(f"http://127.0.0.1:{there.port}/hush")
    assert str(error).startswith(f"http://127.0.0.1:{there.port} ")
    assert not error.final


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is a failure; where it leads nobody is called."""
    with receiver(says(OK)) as elsewhere:
        answer = f"HTTP/1.1 {status} Go\r\nLocation: http://127.0.0.1:{elsewhere.port}/hush\r\n\r\n"
        with receiver(says(answer.encode())) as there:
            error = failure(f"http://127.0.0.1:{there.port}/")
        assert elsewhere.connections == 0
    assert f"answered {status}; redirects are not followed" in str(error)


@pytest.mark.parametrize("answer", [b"", b"hush\r\n\r\n", b"HTTP/1.1 hush\r\n\r\n", b"\x16\x03\x01"])
def test_nonsense_is_a_failure(answer: bytes) -> None:
    """A receiver that speaks something else, or nothing, fails the try; what it said is not repeated."""
    with receiver(says(answer)) as there:
        assert not failure(f"http://127.0.0.1:{there.port}/").final


def test_nobody_listens() -> None:
    """A closed port is a failure with its reason."""
    with receiver(says(OK)) as there:
        port = there.port
    assert "cannot be reached (Connection refused)" in str(failure(f"http://127.0.0.1:{port}/"))


# -- bounded in time ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "behaviour",
    [
        silent,
        repeats(b"", b"H", 0.05),
        repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
        repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    ],
    ids=["silent", "a character at a time", "a header at a time", "to be continued"],
)
def test_a_slow_receiver_is_left(behaviour: object) -> None:
    """A try ends in time, whatever the receiver does to keep it busy."""
    with receiver(behaviour) as there:  # type: ignore[arg-type]  # behaviours, for pytest only objects
        began = time.monotonic()
        error = failure(f"http://127.0.0.1:{there.port}/", limit=LIMIT)
        assert LIMIT * 0.9 <= time.monotonic() - began < LIMIT + 30
        assert len(there.requests) == 1
    assert "did not answer in time" in str(error)


@pytest.mark.parametrize(
    "behaviour", [silent, repeats(b"\x16\x03\x03\x3f\xff", b"\x02", 0.05)], ids=["silent", "slow"]
)
def test_an_endless_handshake_is_left(behaviour: object) -> None:
    """A TLS handshake ends in time as well, also when it goes on by a byte at a time."""
    with receiver(behaviour, rude=True) as there:  # type: ignore[arg-type]  # as above
        began = time.monotonic()
        failure(f"https://127.0.0.1:{there.port}/", limit=LIMIT)
        assert time.monotonic() - began < LIMIT + 30
        assert there.connections == 1


def test_a_name_that_takes_too_long_is_left() -> None:
    """A resolver without an answer holds up nobody; without its answer nothing is connected."""
    release = threading.Event()

    def slow(_host: str, _port: int) -> list[str]:
        release.wait(30)
        return ["127.0.0.1"]

    with receiver(says(OK)) as there:
        try:
            error = failure(f"http://hooks.example.org:{there.port}/", resolver=slow, limit=LIMIT)
        finally:
            release.set()
        assert there.connections == 0
    assert "not resolved in time" in str(error)


def test_few_are_called_at_once() -> None:
    """Slow receivers take a bounded number of threads; who comes beyond is told, and gets a turn when one has ended."""
    webhooks = HttpWebhooks(HERE)
    with receiver(silent) as there:
        url = f"http://127.0.0.1:{there.port}/"

        def call() -> None:
            with pytest.raises(WebhookFailed):
                webhooks.post(url, DOCUMENT, "key", 30)

        threads = [threading.Thread(target=call) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        _until(lambda: len(there.requests) == AT_ONCE)
        with pytest.raises(WebhooksBusy):
            webhooks.post(url, DOCUMENT, "key", 30)
        there.closing.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    with receiver(says(OK)) as there:
        webhooks.post(f"http://127.0.0.1:{there.port}/", DOCUMENT, "key", 5)


def _until(condition: object) -> None:
    deadline, tick = time.monotonic() + 60, threading.Event()
    while not condition():  # type: ignore[operator]  # a function
        assert time.monotonic() < deadline
        tick.wait(0.01)


# -- to checked addresses only -----------------------------------------------------------------------------------------
class Names:
    """A resolver that gives the next answer each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> list[str]:
        """Return the next answer."""
        self.asked.append(host)
        return self.answers.pop(0)


def refused(there: Receiver, host: str, *, resolver: Resolver = resolve, allowed: Sequence[str] = ()) -> None:
    """Check that a try is refused for good before anything is connected."""
    error = failure(f"http://{host}:{there.port}/hush", allowed, resolver=resolver)
    assert error.final
    assert there.connections == 0
    assert "is at no public address: allow it by RECONCILER_WEBHOOK_ALLOW" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_this_machine_is_not_called(host: str) -> None:
    """Without permission nothing private is connected, by whatever name it goes."""
    with receiver(says(OK)) as there:
        refused(there, host)


def test_names_that_lead_inside_are_refused() -> None:
    """The address counts, not the name; one bad address among good ones is enough, and the address is not told."""
    with receiver(says(OK)) as there:
        for addresses in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["8.8.8.8", "10.0.0.1"]):
            refused(there, "hooks.example.org", resolver=Names(addresses))
            error = failure(f"http://hooks.example.org:{there.port}/", (), resolver=Names(addresses))
            assert addresses[-1] not in str(error)


def test_the_checked_address_is_the_one_connected() -> None:
    """A name is resolved once for each try: what it resolves to a moment later changes nothing (DNS rebinding)."""
    with receiver(says(OK)) as there:
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        post(f"http://hooks.example.org:{there.port}/", resolver=names)
        assert names.asked == ["hooks.example.org"]
        assert f"Host: hooks.example.org:{there.port}" in there.requests[0][0]
        assert failure(f"http://hooks.example.org:{there.port}/", resolver=names).final
        assert there.connections == 1


def test_an_allowed_name_may_lead_anywhere() -> None:
    """A name that is allowed is called at the address it has; another name at the same address is not."""
    with receiver(says(OK)) as there:
        post(f"http://localhost:{there.port}/", ("localhost",))
        assert len(there.requests) == 1
        before = there.connections
        assert failure(f"http://127.0.0.1:{there.port}/", ("localhost",)).final
        assert there.connections == before


def test_the_next_address_is_tried() -> None:
    """Of several allowed addresses the first that takes a connection is used."""
    with receiver(says(OK)) as there:
        names = Names(["127.0.0.2", "127.0.0.1"])
        post(f"http://hooks.example.org:{there.port}/", ("127.0.0.0/8",), resolver=names)
        assert len(there.requests) == 1


def test_an_unknown_name_is_a_failure() -> None:
    """A name nobody knows may be known later."""

    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    for resolver in (unknown, Names([])):
        error = failure("http://hooks.example.org/", resolver=resolver)
        assert "cannot be resolved" in str(error)
        assert not error.final


def test_a_stored_url_that_is_none_is_final() -> None:
    """What slipped past the door is refused here."""
    assert failure("http://u:hush@example.org/").final


# -- TLS ---------------------------------------------------------------------------------------------------------------
def test_tls_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SNI and the certificate are those of the name, although the connection is made to the address."""
    asked: list[str | None] = []
    context = tls_for("hooks.example.org", tmp_path)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with receiver(says(OK), context) as there:
        post(f"https://hooks.example.org:{there.port}/ask", resolver=Names(["127.0.0.1"]))
        assert there.requests[0][0].startswith("POST /ask HTTP/1.1\n")
        assert f"Host: hooks.example.org:{there.port}\n" in there.requests[0][0]
    assert asked == ["hooks.example.org"]


@pytest.mark.parametrize(("host", "trusted"), [("other.example.org", True), ("hooks.example.org", False)])
def test_other_certificates_are_refused(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    """A certificate of another name, or one that nobody vouches for, gets no question."""
    context = tls_for("hooks.example.org", tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with receiver(says(OK), context) as there:
        error = failure(f"https://{host}:{there.port}/hush", resolver=Names(["127.0.0.1"]))
        assert there.requests == []
    assert "cannot be reached" in str(error)
