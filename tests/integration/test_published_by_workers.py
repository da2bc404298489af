"""Real workers publish their functions, so a process without their code submits them: client and command line."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import AsyncClient, Client, Settings
from reconciler.api.errors import InvalidArguments
from reconciler.embedded.stack import Stack
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers

CODE = """
from dataclasses import dataclass
from datetime import date

from reconciler import TaskEnvironment

env = TaskEnvironment("far")

@dataclass
class Trip:
    to: str
    day: date = date(2026, 1, 2)

@env.task(cache="v1", priority=6)
def book(trip: Trip, seats: int = 1, note: str | None = None) -> str:
    return f"{trip.to} {trip.day} {seats} {note}"
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Workers that know a module which no other process can import."""
    folder = tmp_path_factory.mktemp("far")
    (folder / "far_tasks.py").write_text(textwrap.dedent(CODE))
    with Stack(folder / "data", imports=["far_tasks"], cwd=folder) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of this process, which has none of the code."""
    made = Client.from_settings(Settings.from_env({**stack.servers.env()}))
    yield made
    assert isinstance(made.store, RedisStore)
    made.store.close()


def test_send_needs_none_of_the_code(client: Client) -> None:
    """A call by name runs; a second equal one is served from the cache; what does not fit is refused here."""
    run = client.send("far.book", {"to": "Rome"}, seats=2)
    assert run.result(timeout=60) == "Rome 2026-01-02 2 None"
    again = client.send("far.book", trip={"to": "Rome", "day": "2026-01-02"}, seats=2)
    assert again.result(timeout=60) == "Rome 2026-01-02 2 None"
    assert client.get(again.action).status.cache_status != client.get(run.action).status.cache_status
    assert client.run(str(run.id)).result() == "Rome 2026-01-02 2 None"
    with pytest.raises(InvalidArguments, match=r"far\.book: parameter seats does not fit"):
        client.send("far.book", {"to": "Rome"}, seats="two")


def test_send_in_a_loop(client: Client) -> None:
    """Submitted and awaited in an event loop, many at a time."""

    async def story() -> list[object]:
        asynchronous = AsyncClient(client)
        runs = [await asynchronous.send("far.book", {"to": to}) for to in ("Rome", "Oslo", "Bern")]
        return await asyncio.wait_for(asyncio.gather(*runs), 60)

    assert asyncio.run(story()) == [f"{to} 2026-01-02 1 None" for to in ("Rome", "Oslo", "Bern")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["far.book", 'trip={"to":"Rome"}', "seats=3", "note=5"], "Rome 2026-01-02 3 5"),
        (["far.book", 'trip={"to":"Rome"}', "note=null"], "Rome 2026-01-02 1 None"),
        (["far.book", "--args", '{"trip":{"to":"Rome","day":"2026-03-04"}}'], "Rome 2026-03-04 1 None"),
    ],
)
def test_submit_needs_none_of_the_code(stack: Stack, tmp_path: Path, words: list[str], said: str) -> None:
    """`reconciler submit NAME key=value` asks what workers publish."""
    done = submit(stack, tmp_path, *words, "--wait", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [said]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["far.bok", "seats=1"],
            "no worker publishes a function named 'far.bok': start a worker that has it",
        ),
        (["far.book", "seats=1"], "NAME=VALUE does not fit far.book: Object missing required field `trip`"),
        (["far.book", "seats"], "'seats' is no argument: write NAME=VALUE"),
        (["far.book", "seats=1", "seats=2"], "seats is given twice"),
        (["far.book", "seats=1", "--args", "{}"], "give the arguments as NAME=VALUE or as --args, not both"),
        (["far.book", 'trip={"to":"Rome"}', "seats=two"], "Expected `int`, got `str` - at `$.seats`"),
    ],
)
def test_what_submit_refuses(stack: Stack, tmp_path: Path, words: list[str], told: str) -> None:
    """One sentence each."""
    done = submit(stack, tmp_path, *words)
    assert done.returncode not in {0, 1}
    assert told in " ".join(done.stderr.split())


def submit(stack: Stack, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder without any code."""
    env = {name: value for name, value in stack.servers.env().items() if name != "RECONCILER_IMPORTS"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "reconciler"), "submit", *words],
        cwd=folder,
        env={**env, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
