"""Receivers of webhooks on this machine: real sockets that answer as a test says."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Behaviour = Callable[["Receiver", socket.socket], None]
OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class Receiver:
    """A server that reads one request of each connection, then behaves as it was told; a rude one does not read.

    Attributes:
        port: where it listens, on 127.0.0.1.
        requests: head and body of each request, in order.
        connections: how many there were, with or without a request.
        closing: set when the test is over; a behaviour that never ends looks at it.
    """

    def __init__(
        self, behaviour: Behaviour, tls: ssl.SSLContext | None = None, *, rude: bool = False
    ) -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.closing = threading.Event()
        self._tls = tls
        self._rude = rude
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        while not self.closing.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.connections += 1
                thread = threading.Thread(target=self._answer, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        # a caller that hangs up, or trusts no certificate of ours, is what some tests are about
        with connection, suppress(OSError):
            connection.settimeout(5)
            if self._rude:
                self.behaviour(self, connection)
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                head = head_of(stream)
                if head:
                    self.requests.append((head, stream.read(length_of(head))))
                    self.behaviour(self, connection)

    def close(self) -> None:
        """End all its threads."""
        self.closing.set()
        for thread in self._threads:
            thread.join(10)
        self._socket.close()


def head_of(stream: BinaryIO) -> str:
    """Return the request line and headers, a line each; empty when the caller hung up before their end."""
    lines = []
    while line := stream.readline().decode("latin-1"):
        if line == "\r\n":
            return "".join(lines)
        lines.append(line.replace("\r\n", "\n"))
    return ""


def length_of(head: str) -> int:
    """Return the Content-Length of a request."""
    [line] = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
    return int(line.partition(":")[2])


@contextmanager
def receiver(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None, *, rude: bool = False
) -> Iterator[Receiver]:
    """Provide a receiver, closed afterwards."""
    made = Receiver(behaviour, tls, rude=rude)
    try:
        yield made
    finally:
        made.close()


def says(answer: bytes) -> Behaviour:
    """Answer with these bytes and close."""
    return lambda _, connection: connection.sendall(answer)


def repeats(start: bytes, part: bytes, every: float) -> Behaviour:
    """Send a start, then the part again and again, until the caller hangs up."""

    def behave(here: Receiver, connection: socket.socket) -> None:
        connection.sendall(start)
        while not here.closing.wait(every):
            connection.sendall(part)

    return behave


def silent(here: Receiver, _: socket.socket) -> None:
    """Never answers."""
    here.closing.wait()


def tls_for(name: str, folder: Path) -> ssl.SSLContext:
    """Make a server's context with a certificate for a name; `folder/ca.pem` is what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver of a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context
