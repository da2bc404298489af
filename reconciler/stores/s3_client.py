"""One boto3 client per process, made when it is first needed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from reconciler.api.errors import BlobUnavailable
from reconciler.settings import Settings
from reconciler.stores.s3_errors import safe_endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 3
"""How often a request is sent at most; waits of up to 1 s and 2 s lie between."""
CONNECTIONS = 32
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class _Slot:
    """The client of one process. A forked child gets a slot, hence a lock, of its own: nobody can hold it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.client: S3Client | None = None
        self.session: boto3.session.Session | None = None


class ClientSource:
    """Gives each process its own client: sockets of a parent must not be used by its forked children."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots: dict[int, _Slot] = {}

    def get(self) -> S3Client:
        """The client of this process; its threads share it.

        Raises:
            BlobUnavailable: the endpoint is no URL.
            BotoCoreError: the configuration of boto3 cannot be used.
        """
        slot = self._slots.setdefault(os.getpid(), _Slot())
        with slot.lock:
            if slot.client is None:
                slot.session = boto3.session.Session()  # the default session must not be shared by threads
                slot.client = _make(self._settings, slot.session)
            return slot.client

    def session(self) -> boto3.session.Session:
        """The session the client of this process belongs to: the one source of its credentials.

        Raises:
            As `get`.
        """
        self.get()
        session = self._slots[os.getpid()].session
        assert session is not None
        return session


def _make(settings: Settings, session: boto3.session.Session) -> S3Client:
    try:
        return session.client(
            "s3",
            endpoint_url=settings.s3_endpoint or None,
            region_name=settings.s3_region,
            config=_config(settings),
        )
    except ValueError as error:
        raise BlobUnavailable(
            f"S3 cannot be asked: {safe_endpoint(settings.s3_endpoint)} is no endpoint. "
            "Correct RECONCILER_S3_ENDPOINT, as in http://127.0.0.1:8333."
        ) from error


def _config(settings: Settings) -> Config:
    """The client's limits and ways.

    Raises:
        ValueError: the endpoint is no URL.
    """
    loopback = urlsplit(settings.s3_endpoint).hostname in _LOOPBACK
    return Config(
        connect_timeout=settings.connect_timeout.total_seconds(),
        read_timeout=settings.socket_timeout.total_seconds(),
        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
        # A server of one's own has rarely a DNS name for each bucket.
        s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
        # This machine is never behind the proxy of HTTP_PROXY.
        proxies={} if loopback else None,
    )
