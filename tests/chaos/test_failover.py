"""The primary dies while its replica lags: `safe` keeps all that was accepted, `fast` does not keep the last moments."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from subjects import NAP, lasts, until
from tcp_proxy import TcpProxy
from valkey_pair import ValkeyPair

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionNotFound, Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

LONG = bool(os.environ.get("CHAOS_LONG"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800 if LONG else 300)]
ROUNDS = 20 if LONG else 2
LAG = 0.5
"""Seconds the replica receives nothing before the primary is killed."""


class Load(threading.Thread):
    """Submits one action after the other, each until it is accepted, as a careful user does."""

    def __init__(self, client: Client) -> None:
        super().__init__(name="load", daemon=True)
        self.accepted: list[ActionId] = []
        self.refused = 0
        self._client, self._ends = client, threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        while not self._ends.is_set():
            spec, key = NAP, f"load-{len(self.accepted)}"
            while not self._ends.is_set():
                try:
                    self.accepted.append(self._client.submit(spec, idempotency_key=key).action)
                    break
                except Unavailable:
                    self.refused += 1
                    self._ends.wait(0.05)

    def stop(self) -> None:
        """Submit no more."""
        self._ends.set()
        self.join(30)


@contextmanager
def installation(
    folder: Path, mode: str, rng: random.Random
) -> Iterator[tuple[ValkeyPair, TcpProxy, Client]]:
    """Primary and replica behind one address, workers, and a client."""
    fsync = "always" if mode == "safe" else "everysec"
    with (
        EmbeddedServers(folder / "servers", redis=False) as servers,
        ValkeyPair(folder / "pair", appendfsync=fsync) as pair,
        TcpProxy(pair.primary.port, rng) as line,
    ):
        address = {"RECONCILER_REDIS_URL": f"redis://127.0.0.1:{line.port}/0", "RECONCILER_DURABILITY": mode}
        with Stack(folder / "stack", attempts=0, env=address, servers=servers) as stack:
            yield pair, line, Client.from_settings(Settings.from_env(stack.env()))


@pytest.mark.parametrize("mode", ["safe", "fast"])
def test_a_lagging_replica_is_promoted(mode: str, tmp_path: Path, rng: random.Random) -> None:
    """The replica is frozen under load, the primary killed, the replica promoted; every accepted action is looked for."""
    with installation(tmp_path, mode, rng) as (pair, line, client):
        load = Load(client)
        load.start()
        for _ in range(ROUNDS):
            begun = len(load.accepted)
            until(lambda: len(load.accepted) >= begun + 100, 60, "too few submissions were accepted")  # noqa: B023  # used at once
            pair.freeze_replica()
            lasts(LAG)
            pair.fail_over()
            line.lead_to(pair.primary.port)
        begun = len(load.accepted)
        until(lambda: len(load.accepted) >= begun + 20, 60, "nothing was accepted after the last failover")
        load.stop()
        found, lost = _ended(client, load.accepted)
        phases = Counter[ActionPhase]()
        for action in found:
            phases += check_run(client, action.run_id)
        check_due_index(client)
    print(
        f"{ROUNDS} failovers to a replica that lags {LAG} s, {mode}: {len(load.accepted)} accepted, lost {lost}, "
        f"tries refused {load.refused}, phases {dict(phases)}"
    )
    assert len(load.accepted) > 100 * ROUNDS
    assert set(phases) == {ActionPhase.SUCCEEDED}
    if mode == "safe":
        assert lost == 0
        assert load.refused, "no submission met the frozen replica: the test proved nothing"


def _ended(client: Client, accepted: list[ActionId]) -> tuple[list[ActionId], int]:
    """Return the existing actions once they have ended, and the number of missing ones."""
    there, ends = [], time.monotonic() + 90
    for action in accepted:
        try:
            client.wait(action, timeout=max(1.0, ends - time.monotonic()))
        except ActionNotFound:
            continue
        there.append(action)
    return there, len(accepted) - len(there)
