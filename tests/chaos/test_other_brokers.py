"""Brokers and servers of the machine (Debian's packages) under kills: RabbitMQ, Redis 7.0, and Sentinels that fail over."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import chaos_tasks
import pytest
from rabbit import NO_RABBIT, Rabbit, installed
from redis_servers import NO_DEBIAN, Server, User, await_primary, debian_redis, keeping, watching
from subjects import HERE, lasts, until

from reconciler.api.errors import Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.client import Client, Run
from reconciler.embedded.ports import LOOPBACK
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.testing.invariants import check_due_index, check_run

LONG = bool(os.environ.get("CHAOS_LONG"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800 if LONG else 400)]
ROUNDS = 12 if LONG else 3
AT_ONCE = 300 if LONG else 60


class AnyStack(Stack):
    """Also where the records are behind Sentinels: asks as the product does whether a worker is alive."""

    def _start(self, names: Iterable[str]) -> None:
        starting = list(names)
        store = RedisStore(self._settings)
        for name in starting:
            self.processes[name].start()
        nodes = {self._nodes[name] for name in starting if name in self._nodes}
        until(lambda: nodes <= set(store.workers()), 90, "not all workers are alive")
        store.close()


class Load:
    """Runs of short calls, submitted until they are accepted, as a careful user does."""

    def __init__(self, client: Client, tally: Path) -> None:
        chaos_tasks.env.client = self.client = client
        self._tally = tally
        self.runs: list[Run[Any]] = []
        self.refused = 0

    def more(self) -> None:
        """Submit one run of calls."""

        def accepted() -> bool:
            try:
                run = chaos_tasks.timed.map(
                    range(AT_ONCE), seconds=0.02, tally=str(self._tally), keep_failures=True,
                    idempotency_key=f"run-{len(self.runs)}",
                )  # fmt: skip
            except Unavailable:
                self.refused += 1
                return False
            self.runs.append(run)
            return True

        until(accepted, 90, "a submission was never accepted")

    def settled(self) -> str:
        """Wait for all; each call succeeded exactly once, with a whole history. A line of figures."""
        phases: Counter[ActionPhase] = Counter()
        for run in self.runs:
            run.wait(180)
            phases += check_run(self.client, run.id)
        check_due_index(self.client)
        assert set(phases) == {ActionPhase.SUCCEEDED}
        begun = len(self._tally.read_text().splitlines())
        calls = AT_ONCE * len(self.runs)
        return f"{calls} calls of {calls} succeeded, {begun - calls} begun again, {self.refused} submissions repeated"


@contextmanager
def installation(
    folder: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, redis: bool
) -> Iterator[tuple[Stack, Load]]:
    """Provide workers on S3 of the embedded stack, and what `env` names."""
    with EmbeddedServers(folder / "servers", redis=redis) as servers:
        for name, value in servers.env().items():
            monkeypatch.setenv(name, value)
        with AnyStack(folder / "stack", imports=["chaos_tasks"], cwd=HERE, env=env, servers=servers) as stack:
            yield stack, Load(Client.from_settings(Settings.from_env(stack.env())), folder / "tally")


@pytest.mark.skipif(not installed(), reason=NO_RABBIT)
def test_rabbitmq_and_workers_are_killed(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost when the broker and the workers are killed in turn, and no worker ends by itself."""
    with (
        Rabbit(tmp_path / "rabbit") as rabbit,
        installation(tmp_path, {"RECONCILER_BROKER_URL": rabbit.url}, monkeypatch, redis=True) as (
            stack,
            load,
        ),
    ):
        for number in range(2 * ROUNDS):
            load.more()
            lasts(rng.uniform(0.2, 1.5))
            if number % 2:
                alive = {name: one.pid for name, one in stack.processes.items()}
                rabbit.kill()
                lasts(rng.uniform(0.1, 1))
                rabbit.start()
                assert {name: one.pid for name, one in stack.processes.items() if one.alive} == alive
            else:
                stack.kill_workers()
                stack.start_workers()
        figures = load.settled()
    print(f"RabbitMQ killed {ROUNDS} times, all workers {ROUNDS} times: {figures}")


@pytest.mark.skipif(debian_redis() is None, reason=NO_DEBIAN)
def test_debians_redis_and_workers_are_killed(
    tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records and messages in Redis 7.0: workers are killed under load, and nothing is lost."""
    with Server(tmp_path / "redis", keeping(tmp_path), binary=debian_redis()) as server:
        env = {"RECONCILER_REDIS_URL": f"redis://{LOOPBACK}:{server.port}/0"}
        with installation(tmp_path, env, monkeypatch, redis=False) as (stack, load):
            for _ in range(ROUNDS):
                load.more()
                lasts(rng.uniform(0.2, 1.5))
                stack.kill_workers()
                stack.start_workers()
            figures = load.settled()
        version = server.client.info("server")["redis_version"]  # type: ignore[index]  # redis-py says it may be awaited
    print(f"Redis {version}, all workers killed {ROUNDS} times: {figures}")


class Watched:
    """A primary, replicas and Sentinels, all with a user; one replica more after each failover."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self.user = folder, stack, User()
        self._binary = debian_redis()
        self.nodes = [self._node()]
        self.nodes.append(self._node(self.nodes[0].port))
        until(lambda: self._follows(self.nodes[1]), 30, "the replica does not follow")
        self.sentinels = [self._sentinel(number) for number in range(3)]
        for sentinel in self.sentinels:
            await_primary(sentinel, "main", self.nodes[0].port, replicas=1)

    @property
    def url(self) -> str:
        """Of the group."""
        hosts = [f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels]
        first = f"sentinel://app:p%3Ba%3As%2Fs%40w%253B%23%3F%26%2Bd@{hosts[0]}/0?master_name=main"
        return ";".join([first, *(f"sentinel://{host}" for host in hosts[1:])])

    def fail_over(self) -> None:
        """Kill the primary; the Sentinels promote the replica, and a new, empty one joins it."""
        primary, replica = self.nodes
        primary.close()
        for sentinel in self.sentinels:
            await_primary(sentinel, "main", replica.port)
        self.nodes = [replica, self._node(replica.port)]
        until(lambda: self._follows(self.nodes[1]), 30, "the new replica does not follow")
        for sentinel in self.sentinels:
            sentinel.client.execute_command("SENTINEL", "RESET", "main")  # type: ignore[no-untyped-call]  # redis-py has no types here
            await_primary(sentinel, "main", replica.port, replicas=1)

    def _node(self, primary: int = 0) -> Server:
        number = len(list(self._folder.glob("node-*")))
        folder = self._folder / f"node-{number}"
        user = self.user
        lines = [
            *keeping(folder),
            f"masteruser {user.name}",
            f"masterauth {user.password}",
            "repl-diskless-sync-delay 0",
        ]
        lines += [f"replicaof {LOOPBACK} {primary}"] if primary else []
        return self._stack.enter_context(Server(folder, lines, binary=self._binary, user=user))

    def _sentinel(self, number: int) -> Server:
        lines = watching(self.nodes[0].port, self.user, quorum=2, patience=1000)
        folder = self._folder / f"sentinel-{number}"
        return self._stack.enter_context(Server(folder, lines, binary=self._binary, sentinel=True))

    @staticmethod
    def _follows(node: Server) -> bool:
        return bool(node.client.info("replication").get("master_link_status") == "up")  # type: ignore[union-attr]  # redis-py says it may be awaited


def test_sentinels_fail_over(tmp_path: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability `safe`: the primary is killed again and again under load, and all that was accepted succeeds."""
    with ExitStack() as stack:
        watched = Watched(tmp_path / "redis", stack)
        env = {"RECONCILER_REDIS_URL": watched.url, "RECONCILER_DURABILITY": "safe"}
        for node in watched.nodes:
            node.client.config_set("appendfsync", "always")
        with installation(tmp_path, env, monkeypatch, redis=False) as (workers, load):
            alive = {name: one.pid for name, one in workers.processes.items()}
            for _ in range(ROUNDS):
                load.more()
                lasts(rng.uniform(0.2, 1))
                watched.fail_over()
                watched.nodes[1].client.config_set("appendfsync", "always")
            figures = load.settled()
            assert {name: one.pid for name, one in workers.processes.items() if one.alive} == alive, (
                "a worker ended"
            )
    print(f"{ROUNDS} failovers by three Sentinels, safe: {figures}")
