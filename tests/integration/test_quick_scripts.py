"""Scripts are sent the short way, and lose nothing that redis-py promises."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from tcp_proxy import TcpProxy

from reconciler import connections
from reconciler.settings import Settings
from reconciler.stores.redis.connect import connect
from reconciler.stores.redis.quick import QuickRedis

pytestmark = pytest.mark.servers
ECHO = "return ARGV[1]"


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    """A client as the stores have it."""
    with connect(Settings(redis_url=url)) as made:
        yield made


def echo(client: redis.Redis, text: str) -> object:
    """Run the script, as a verb does."""
    sha = client.script_load(ECHO)
    return client.execute_command("EVALSHA", sha, 1, "key", text)  # type: ignore[no-untyped-call]  # redis-py has no types here


def lines(client: redis.Redis) -> set[str]:
    """Name the lines that the server sees."""
    return {one["id"] for one in client.client_list()}


def test_one_script_after_the_other_goes_over_one_line(client: redis.Redis) -> None:
    """It is that of all other commands; a script the server does not know leaves it as it is."""
    assert isinstance(client, QuickRedis)
    assert echo(client, "a") == b"a"
    before = lines(client)
    with pytest.raises(redis.exceptions.NoScriptError):
        client.execute_command("EVALSHA", "0" * 40, 1, "key")  # type: ignore[no-untyped-call]  # redis-py has no types here
    assert [echo(client, text) for text in "bcd"] == [b"b", b"c", b"d"]
    assert lines(client) == before


def test_a_script_whose_line_was_closed_is_run_again(client: redis.Redis) -> None:
    """As after a restart of the server: nobody is told."""
    assert echo(client, "a") == b"a"
    client.client_kill_filter(_type="normal", skipme=True)
    assert echo(client, "b") == b"b"


def test_a_late_answer_is_nobodys(line: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that is not answered in time is not run again, and the next one has a line of its own."""
    monkeypatch.setattr(connections, "_TRUSTED_FOR", 600.0)
    settings = Settings(redis_url=f"redis://127.0.0.1:{line.port}/0", socket_timeout=timedelta(seconds=1))
    with connect(settings) as client:
        sha = client.script_load(ECHO)
        assert echo(client, "a") == b"a"
        line.abandon()
        with pytest.raises(redis.TimeoutError):
            client.execute_command("EVALSHA", sha, 1, "key", "late")  # type: ignore[no-untyped-call]  # redis-py has no types here
        connections.drop_idle()
        assert echo(client, "b") == b"b"


def test_a_forked_process_makes_lines_of_its_own(client: redis.Redis) -> None:
    """Parent and child never read the answers of each other."""
    assert echo(client, "a") == b"a"
    before = lines(client)
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe()
    child = fork.Process(target=lambda: theirs.send((echo(client, "child"), lines(client))))
    child.start()
    answer, seen = mine.recv()
    child.join()
    assert (answer, echo(client, "b")) == (b"child", b"b")
    assert len(seen - before) == 1
    assert before <= lines(client)


def test_a_pool_that_was_closed_opens_again(client: redis.Redis) -> None:
    """Who closes the idle lines while nothing is sent takes none away from the next script."""
    assert echo(client, "a") == b"a"
    connections.drop_idle()
    assert echo(client, "b") == b"b"
