"""One try of a webhook over HTTP, which ends in time and reaches no address that is not allowed (R55).

The name is resolved once, each address it has is checked, and the connection is made to the very address that was
checked: a name that resolves to something else a moment later changes nothing. TLS and the Host header keep the name.
Redirects are not followed, proxies of the environment are not used, and of the answer only its status is read.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from http.client import HTTPException
from typing import Protocol

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from reconciler.api.errors import InvalidSpec, ReconcilerError
from reconciler.api.webhook import Target, read_target
from reconciler.core.outbound import may_call

AT_ONCE = 8
"""Most calls at the same time in a process: slow receivers must not take all handle threads."""
_CONNECT = 1.5
"""Longest wait for a connection to one address, and again for its whole TLS handshake; seconds."""
_MOST_ADDRESSES = 4

Resolver = Callable[[str, int], Sequence[str]]
"""Resolves host and port to IP addresses."""


class WebhookFailed(ReconcilerError):
    """A webhook was not delivered. The message names its host, never its path.

    Attributes:
        final: whether another try cannot help.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        self.final = final
        super().__init__(message)


class WebhooksBusy(ReconcilerError):
    """This process already calls as many webhooks as it may at once; nothing was sent."""


class Webhooks(Protocol):
    """Calls webhooks."""

    def post(self, url: str, document: bytes, key: str, limit: float) -> None:
        """Send a JSON document; returns once the receiver has taken it (any status from 200 to 299).

        Args:
            url: where to.
            document: what.
            key: the same for each try of the same call, so that the receiver can tell a repetition.
            limit: seconds after which the try ends, whatever the receiver does.

        Raises:
            WebhookFailed: it was not taken, or nobody knows.
            WebhooksBusy: nothing was tried; try again soon.
        """


def resolve(host: str, port: int) -> list[str]:
    """List all addresses of a host, as this machine resolves it."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class HttpWebhooks:
    """`Webhooks` over HTTP. Keeps no connection; safe to use from many threads."""

    def __init__(self, allowed: Sequence[str] = (), *, resolver: Resolver = resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolver = resolver
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def post(self, url: str, document: bytes, key: str, limit: float) -> None:
        """Send a JSON document, as `Webhooks` promises."""
        if not self._slots.acquire(blocking=False):
            raise WebhooksBusy(f"{AT_ONCE} webhooks are being called; others wait")
        try:
            target = read_target(url)
            status = self._status(target, document, key, time.monotonic() + limit)
        except InvalidSpec as error:
            raise WebhookFailed(str(error), final=True) from None
        finally:
            self._slots.release()
        if 300 <= status < 400:
            raise WebhookFailed(
                f"{target.place} answered {status}; redirects are not followed: name the final URL"
            )
        if not 200 <= status < 300:
            raise WebhookFailed(f"{target.place} answered {status}")

    def _status(self, target: Target, document: bytes, key: str, ends: float) -> int:
        addresses = self._addresses(target, ends)
        with closing(_connected(target, addresses, ends)) as connection:
            connection.timeout = _left(target, ends)  # of each read; the watch bounds all of them together
            watch = threading.Timer(connection.timeout, _hang_up, (connection,))
            watch.daemon = True
            watch.start()
            try:
                headers = _headers(target, key)
                connection.request("POST", target.path, document, headers, preload_content=False)
                with closing(connection.getresponse()) as response:
                    _left(target, ends)  # headers that were cut off by the watch look like complete ones
                    return response.status
            except (OSError, HTTPException, HTTPError) as error:
                _left(target, ends)
                raise WebhookFailed(f"{target.place} broke off ({type(error).__name__})") from None
            finally:
                watch.cancel()

    def _addresses(self, target: Target, ends: float) -> list[str]:
        """Find the addresses of a target, all of which may be called."""
        answers: list[Sequence[str] | Exception] = []
        # the resolver has time limits of its own, which may be much longer
        asking = threading.Thread(target=self._ask, args=(target, answers), name="webhook-name", daemon=True)
        asking.start()
        asking.join(_left(target, ends))
        if not answers:
            raise WebhookFailed(f"the name of {target.place} was not resolved in time")
        if isinstance(answers[0], Exception) or not answers[0]:
            raise WebhookFailed(f"the name of {target.place} cannot be resolved ({answers[0]})")
        for address in answers[0]:
            if not may_call(target.host, address, self._allowed):
                # the address is left out: it would tell the asker about a network he does not see
                raise WebhookFailed(
                    f"{target.place} is at no public address: allow it by RECONCILER_WEBHOOK_ALLOW of the steps "
                    "workers, or name another URL",
                    final=True,
                )
        return list(answers[0])

    def _ask(self, target: Target, answers: list[Sequence[str] | Exception]) -> None:
        try:
            answers.append(self._resolver(target.host, target.port))
        except (OSError, UnicodeError) as error:
            answers.append(error)


def _connected(target: Target, addresses: Sequence[str], ends: float) -> HTTPConnection:
    """Connect to the first address that accepts a connection."""
    why = ""
    for address in addresses[:_MOST_ADDRESSES]:
        connection = _connection(target, address, min(_CONNECT, _left(target, ends) / 2))
        try:
            connection.connect()
        except (OSError, HTTPError) as error:
            connection.close()
            why = _reason(error)
        else:
            return connection
    raise WebhookFailed(f"{target.place} cannot be reached ({why})")


def _connection(target: Target, address: str, timeout: float) -> HTTPConnection:
    if target.scheme == "http":
        return HTTPConnection(address, target.port, timeout=timeout)
    return HTTPSConnection(
        address,
        target.port,
        timeout=timeout,
        server_hostname=target.host,
        ssl_context=ssl.create_default_context(),
    )


def _headers(target: Target, key: str) -> dict[str, str]:
    return {
        "Host": target.authority,
        "Content-Type": "application/json",
        "User-Agent": "celery-reconciler",
        "Idempotency-Key": f'"{key}"',
        "Connection": "close",
    }


def _left(target: Target, ends: float) -> float:
    """Return the seconds that are left of a try.

    Raises:
        WebhookFailed: none.
    """
    left = ends - time.monotonic()
    if left <= 0:
        raise WebhookFailed(f"{target.place} did not answer in time")
    return left


def _hang_up(connection: HTTPConnection) -> None:
    """End a try whose receiver takes too long, whatever it is reading or writing."""
    if connection.sock is not None:
        with suppress(OSError):
            # not the method of a TLS socket, which would pull its state from under the other thread
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    text = cause.strerror if isinstance(cause, OSError) else ""
    return text or type(error).__name__
