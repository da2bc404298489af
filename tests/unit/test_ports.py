from __future__ import annotations

import secrets
import socket
import subprocess
import sys

import pytest

from reconciler.embedded.ports import LOOPBACK, LOWEST, listens, pick_ports

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems let no server beside a held port"
)
ELSEWHERE = """
import secrets, sys
from reconciler.embedded.ports import LOWEST, pick_ports
draws = iter([int(sys.argv[1]) - LOWEST])
secrets.randbelow = lambda _: next(draws)
try:
    pick_ports(1)
except StopIteration:
    print("refused")
"""
"""Another process that draws this port and no other."""


def test_the_port_of_a_server_that_is_down_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server leaves its port and comes back: meanwhile neither this process nor another is given that port."""
    mine, other = pick_ports(2)
    for _ in range(2):
        with socket.create_server((LOOPBACK, mine)):
            assert listens(mine)
        assert not listens(mine)
        draws = iter([mine - LOWEST, other - LOWEST])
        with monkeypatch.context() as patch:
            patch.setattr(secrets, "randbelow", lambda _, draws=draws: next(draws))
            with pytest.raises(StopIteration):
                pick_ports(1)
        command = [sys.executable, "-c", ELSEWHERE, str(mine)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
