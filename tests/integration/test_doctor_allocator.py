"""`reconciler doctor` knows which memory allocator the record server has."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from redis_servers import Server, keeping

from reconciler.cli.check_servers import check_redis
from reconciler.embedded.ports import LOOPBACK
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings

pytestmark = pytest.mark.servers


def test_that_of_the_c_library_is_noted(tmp_path: Path) -> None:
    """As a note with a remedy, not as a problem; such a server keeps every promise."""
    with Server(tmp_path, keeping(tmp_path)) as server:
        found = check_redis(Settings(redis_url=f"redis://{LOOPBACK}:{server.port}/0"))
    assert not found.problems
    assert "jemalloc" in found.detail


def test_another_one_is_not(servers: EmbeddedServers) -> None:
    """The embedded server is given mimalloc, though it says libc itself."""
    found = check_redis(msgspec.structs.replace(Settings(), redis_url=servers.redis_url))
    assert (found.problems, "note:" in found.detail) == ((), False)
