"""Free ports on the loopback interface."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from reconciler.api.errors import ReconcilerError

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
"""SeaweedFS's maintenance worker looks for the admin server's gRPC port this far above its HTTP port."""
LOWEST = 10_000
TRIES = 2_000
_held: list[socket.socket] = []
"""Keeps the ports handed out to this process."""


def pick_ports(count: int, *, paired: bool = False) -> list[int]:
    """Choose free ports. On Linux no other call, in any process, gets them while this process lives.

    So a server that is down for a moment finds its port free when it comes back, whoever picks ports meanwhile.
    Another program may still take one before it is used: choose again then.

    Args:
        count: how many.
        paired: the last port is `GRPC_OFFSET` above the one before it.

    Raises:
        ReconcilerError: there are not that many free ports.
    """
    below = _first_ephemeral()
    chosen: list[int] = []
    for _ in range(TRIES):
        wanted = [LOWEST + secrets.randbelow(below - LOWEST)]
        if paired and len(chosen) == count - 2:
            wanted = [LOWEST + secrets.randbelow(below - GRPC_OFFSET - LOWEST)]
            wanted.append(wanted[0] + GRPC_OFFSET)
        if not set(wanted) & set(chosen) and _hold(wanted):
            chosen += wanted
        if len(chosen) == count:
            return chosen
    raise ReconcilerError(
        f"no {count} free ports between {LOWEST} and {below} on {LOOPBACK}; stop other servers."
    )


def all_free(ports: Iterable[int]) -> bool:
    """Tell whether a server can have all these ports now; ports that `pick_ports` keeps count as free."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a port in TIME_WAIT is free for a server
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


def listens(port: int) -> bool:
    """Tell whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _hold(ports: list[int]) -> bool:
    """Keep these ports for the life of this process if nobody has them; tell whether it worked.

    Each is bound by a socket that does not listen: exclusively at first, so two processes cannot both have it. Then
    the socket allows others beside it, which Linux grants to a server (they all set SO_REUSEADDR), but not to the next
    exclusive bind, of another call. Other systems grant it to nobody: there a port is only seen to be free.
    """
    if sys.platform != "linux":
        return all_free(ports)
    taken: list[socket.socket] = []
    for port in ports:
        taken.append(socket.socket())
        try:
            taken[-1].bind((LOOPBACK, port))
        except OSError:
            for each in taken:
                each.close()
            return False
        taken[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.extend(taken)
    return True


def _first_ephemeral() -> int:
    """Return the lowest port that the system gives to outgoing connections.

    A server's port must lie below: while the server is down, a client that keeps connecting to a port of that
    range would one day be given the same port as its own, be connected to itself, and keep the server from
    coming back.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        first = 32_768
    return first if first > LOWEST + 2 * GRPC_OFFSET else 32_768
