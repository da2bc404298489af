"""The Redis side of `docker compose --profile ha`, with the commands as they stand there, on loopback: a failover works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from cli_support import eventually

from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.valkey import valkey_binary
from reconciler.settings import Settings
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
NAMES = ["redis", "redis-replica", "sentinel-1", "sentinel-2", "sentinel-3"]


class Composed:
    """The services of a compose file as processes: names are ports on loopback, volumes are folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip(NAMES, pick_ports(len(NAMES)), strict=True))
        self.processes = {name: self._process(name) for name in NAMES}

    def _process(self, name: str) -> ManagedProcess:
        data = self.folder / name
        data.mkdir()
        words = [self._here(str(word), name) for word in SERVICES[name]["command"]]
        if words[0] == "valkey-server":
            words[0] = str(valkey_binary())
            words += [
                "--port",
                str(self.ports[name]),
                "--bind",
                LOOPBACK,
                "--replica-announce-port",
                str(self.ports[name]),
            ]
        return ManagedProcess(name, words, log=self.folder / f"{name}.log", cwd=data)

    def _here(self, text: str, name: str) -> str:
        """Return the text with our places in place of those of containers, and defaults in place of variables."""
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        text = text.replace("$$", "$").replace("/data", str(self.folder / name))
        text = text.replace("redis 6379", f"{LOOPBACK} {self.ports['redis']}")
        text = text.replace("port 26379", f"port {self.ports[name]}\nbind {LOOPBACK}")
        # what the image calls valkey-sentinel is the server with this option behind its file
        text = re.sub(r"exec valkey-sentinel (\S+)", rf"exec {valkey_binary()} \1 --sentinel", text)
        return LOOPBACK if text in {"redis", "redis-replica"} else text

    def client(self, name: str) -> redis.Redis:
        """Who asks one of them."""
        return redis.Redis(host=LOOPBACK, port=self.ports[name], socket_timeout=5)

    def said(self, name: str, *words: str) -> str:
        """What one of them answers; nothing while it does not."""
        with self.client(name) as client:
            try:
                return str(client.execute_command(*words))  # type: ignore[no-untyped-call]  # redis-py has no types here
            except redis.RedisError:
                return ""

    def others(self) -> int:
        """Count how many Sentinels the first one knows of."""
        with self.client("sentinel-1") as client:
            known: Any = client.sentinel_master("records")  # type: ignore[no-untyped-call]  # redis-py has no types here
        return int(known["num-other-sentinels"])

    @property
    def url(self) -> str:
        """That of the head of the file."""
        [url] = re.findall(
            r"RECONCILER_REDIS_URL='(sentinel://\S+)'", (ROOT / "docker-compose.yml").read_text()
        )
        for name in NAMES[2:]:
            url = url.replace(f"{name}:26379", f"{LOOPBACK}:{self.ports[name]}")
        return str(url)


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    """All five, in the order in which compose starts them."""
    made = Composed(tmp_path)
    with ExitStack() as ends:
        for name, process in made.processes.items():
            process.start()
            ends.callback(process.kill)
            eventually(lambda: made.said(name, "PING"), 30)  # noqa: B023  # called at once
        yield made


def test_the_replica_is_promoted_and_the_url_leads_to_it(composed: Composed) -> None:
    """A client with the URL of the file uses the primary, and after its death the replica, as a worker would."""
    eventually(lambda: composed.others() == 2, 60)
    eventually(lambda: "slave" in composed.said("redis-replica", "ROLE"), 30)
    store = RedisStore(Settings(redis_url=composed.url))
    assert store_problems(store) == []
    store.client.set("cr:proof", "1")
    eventually(lambda: "1" in composed.said("redis-replica", "GET", "cr:proof"), 30)
    composed.processes["redis"].kill()
    eventually(lambda: "master" in composed.said("redis-replica", "ROLE"), 60)
    eventually(lambda: _value(store) == b"1", 60)
    store.close()


def _value(store: RedisStore) -> bytes:
    try:
        return bytes(store.client.get("cr:proof") or b"")  # type: ignore[arg-type]  # redis-py says it may be awaited
    except redis.RedisError:
        return b""
