"""Redis or Valkey servers as people run them: with TLS, with users, behind Sentinels that have both as well."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.embedded.valkey import valkey_binary

_PATIENCE = 60.0
NO_DEBIAN = (
    "redis-server is not installed here (apt-get install redis-server); the embedded Valkey speaks no TLS"
)


def debian_redis() -> Path | None:
    """Return the Redis server of the machine, if it has one."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


class User(msgspec.Struct, frozen=True):
    """Who may do everything on a server."""

    name: str = "app"
    password: str = "p;a:s/s@w%3B#?&+d"

    def acl(self) -> list[str]:
        """Return the rules of a configuration file; everybody else is refused."""
        return [f"user {self.name} on >{self.password} ~* &* +@all", "user default off"]


class Certificate:
    """A certificate for this machine that only itself vouches for."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key = folder / "cert.pem", folder / "key.pem"
        kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2"
        names = ("-addext", f"subjectAltName=DNS:localhost,IP:{LOOPBACK}")
        files = ("-keyout", str(self.key), "-out", str(self.file))
        subprocess.run(["openssl", *kind.split(), *names, *files], check=True, capture_output=True)

    def lines(self) -> list[str]:
        """What makes a server use it, for its replicas too."""
        return [
            f"tls-cert-file {self.file}",
            f"tls-key-file {self.key}",
            f"tls-ca-cert-file {self.file}",
            "tls-auth-clients no",
            "tls-replication yes",
        ]


class Server:
    """One server, or one Sentinel, from a configuration file of its own.

    Attributes:
        port: where it listens, with TLS if it has a certificate.
        client: a connection of an administrator.
    """

    def __init__(
        self,
        folder: Path,
        lines: Iterable[str],
        *,
        binary: Path | None = None,
        certificate: Certificate | None = None,
        user: User | None = None,
        sentinel: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        [self.port] = pick_ports(1)
        listens = f"tls-port {self.port}\nport 0" if certificate else f"port {self.port}"
        name = "sentinel" if sentinel else "server"
        config = folder / f"{name}-{self.port}.conf"
        given = [listens, f"bind {LOOPBACK}", f"dir {folder}"]
        given += [*(certificate.lines() if certificate else []), *(user.acl() if user else []), *lines]
        config.write_text("\n".join(given) + "\n")
        command = [str(binary or valkey_binary()), str(config), *(["--sentinel"] if sentinel else [])]
        self.process = ManagedProcess(name, command, log=folder / f"{name}-{self.port}.log", cwd=folder)
        self.client = _administrator(self.port, certificate, user)
        self.process.start()
        try:
            await_ready(self.process, self.answers, _PATIENCE)
        except BaseException:
            self.close()
            raise

    def answers(self) -> bool:
        """Whether it has loaded its data."""
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def close(self) -> None:
        """SIGKILL, and forget the connection."""
        self.process.kill()
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _administrator(port: int, certificate: Certificate | None, user: User | None) -> redis.Redis:
    options: dict[str, Any] = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0)}
    if certificate:
        options |= {"ssl": True, "ssl_ca_certs": str(certificate.file)}
    if user:
        options |= {"username": user.name, "password": user.password}
    return redis.Redis(host=LOOPBACK, port=port, **options)


def keeping(folder: Path) -> list[str]:
    """What records ask of a server."""
    return ["appendonly yes", 'save ""', f"unixsocket {folder / 'socket'}"]


def watching(
    port: int, user: User | None, *, name: str = "main", quorum: int = 1, patience: int = 2000
) -> list[str]:
    """What makes a Sentinel look after a primary, and promote another one after `patience` milliseconds."""
    found = [f"sentinel monitor {name} {LOOPBACK} {port} {quorum}"]
    if user:
        found += [f"sentinel auth-user {name} {user.name}", f"sentinel auth-pass {name} {user.password}"]
    return [
        *found,
        f"sentinel down-after-milliseconds {name} {patience}",
        f"sentinel failover-timeout {name} 10000",
    ]


def await_primary(sentinel: Server, name: str, port: int, replicas: int = 0) -> None:
    """Wait until a Sentinel names this primary and knows its replicas."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(redis.RedisError):
            told: Any = sentinel.client.execute_command("SENTINEL", "get-master-addr-by-name", name)  # type: ignore[no-untyped-call]  # redis-py has no types here
            known: Any = sentinel.client.execute_command("SENTINEL", "replicas", name)  # type: ignore[no-untyped-call]  # as above
            if told and int(told[1]) == port and len(known) >= replicas:
                return
        assert time.monotonic() < deadline, "the Sentinel does not know its primary"
