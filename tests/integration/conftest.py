"""Servers that several files of tests ask for, each file its own."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tcp_proxy import TcpProxy
from valkey_pair import ValkeyPair

from reconciler.embedded.servers import EmbeddedServers


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers"), s3=False) as servers:
        yield servers.redis_url


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyPair]:
    """Two Valkey servers, the second of which may follow the first."""
    with ValkeyPair(tmp_path_factory.mktemp("pair")) as servers:
        yield servers


@pytest.fixture
def line(pair: ValkeyPair) -> Iterator[TcpProxy]:
    """A line to the first of the two."""
    with TcpProxy(pair.primary.port, random.Random(1)) as proxy:
        yield proxy
