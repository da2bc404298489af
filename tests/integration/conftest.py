"""What several files of tests ask for: servers, each file its own; an installation; a runner."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_support import Backend, backend_on, stop_runner
from runner_support import FUNCTIONS, LOG_LIMIT, caller
from tcp_proxy import TcpProxy
from valkey_pair import ValkeyPair

from reconciler.embedded.servers import EmbeddedServers
from worker.runner.runner import Ended, Runner

if TYPE_CHECKING:
    from flower_support import Site


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey and S3 of this module."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers")) as running:
        yield running
    stop_runner()


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An empty installation."""
    with backend_on(servers, monkeypatch) as made:
        yield made


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


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner of the functions in runner_functions.py, closed afterwards."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT) as made:
        yield made


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log of the call lies."""
    return tmp_path / "log"


@pytest.fixture
def run(runner: Runner, log: Path) -> Callable[..., Ended]:
    """Runs a function by name."""
    return caller(runner, log)


@pytest.fixture
def nothing_left(site: Site) -> Iterator[None]:
    """Abort whatever a test leaves behind, or one that failed, so that it takes no worker from the next."""
    yield
    for summary in site.client.runs(200):
        if summary.counts.ended < summary.counts.total:
            site.client.abort(summary.id.action("a0"), "the test is over")
