"""A network of its own for one process, whose cable can be pulled: what is sent is lost, and nobody is told."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from typing import Self

PROGRAMS = ("ip", "nsenter")


class CutOff:
    """Context manager: a network namespace, tied to this one by a pair of interfaces. Linux, and root, only.

    Attributes:
        host: address of this side, as seen from inside.
        command: what a command line starts with to run inside.
    """

    def __init__(self) -> None:
        number = secrets.randbelow(200)
        self._name = f"cut-{os.getpid()}-{number}"
        self._outer, self._inner = f"co{number}-{os.getpid() % 10**6}", f"ci{number}-{os.getpid() % 10**6}"
        self.host = f"10.231.{number}.1"
        self._guest = f"10.231.{number}.2"
        self.command = ("nsenter", f"--net=/run/netns/{self._name}")

    @staticmethod
    def possible() -> bool:
        """Whether this machine lets us."""
        if os.geteuid() != 0 or not all(shutil.which(program) for program in PROGRAMS):
            return False
        try:
            with CutOff():
                return True
        except subprocess.CalledProcessError:
            return False

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._outer, "type", "veth", "peer", "name", self._inner, "netns", self._name)
            _ip("addr", "add", f"{self.host}/30", "dev", self._outer)
            self.plug()
            _ip("-n", self._name, "addr", "add", f"{self._guest}/30", "dev", self._inner)
            for device in (self._inner, "lo"):
                _ip("-n", self._name, "link", "set", device, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _ip("netns", "del", self._name)  # the interfaces go with it

    def pull(self) -> None:
        """Cut the cable."""
        _ip("link", "set", self._outer, "down")

    def plug(self) -> None:
        """Join it again."""
        _ip("link", "set", self._outer, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
