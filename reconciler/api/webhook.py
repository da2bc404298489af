"""Check the address of a webhook, and the list of places that may be called beside public ones (R55)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

from reconciler.api.errors import InvalidSpec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_WEBHOOK = 2048
"""Longest URL of a webhook, in characters."""
_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_UNSAFE = re.compile(r"[^\x21-\x7e]|\\")
"""Blanks, control and foreign characters, and the backslash: programs disagree about what they mean in a URL."""


class Target(msgspec.Struct, frozen=True):
    """The place where a webhook is called.

    Attributes:
        scheme: `http` or `https`.
        host: a name, or an IP address without brackets; in lower case, without a dot at its end.
        port: 1 to 65535.
        path: path and query, as they are sent. May hold what only the receiver should know: it is never shown.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them; the default port of the scheme is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """Return what may be shown of it: everything but the path."""
        return f"{self.scheme}://{self.authority}"


def read_target(url: str) -> Target:
    """Read the URL of a webhook.

    Raises:
        InvalidSpec: it is no http(s) URL, is too long, holds a user or password or an unsafe character, or spells an IP
            address in an unusual way. The message never repeats the URL.
    """
    if len(url) > MAX_WEBHOOK:
        raise InvalidSpec(f"the webhook has {len(url)} characters, at most {MAX_WEBHOOK} are allowed")
    if _UNSAFE.search(url):
        raise InvalidSpec(
            "the webhook must not hold blanks, backslashes or characters beyond ASCII: write them percent-encoded, "
            "and a host name in its xn-- form"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidSpec(
            f"the webhook must be an http or https URL; this one cannot be read: {error}"
        ) from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise InvalidSpec("the webhook must be an http or https URL, as in https://hooks.example.org/ask")
    if "@" in parts.netloc:
        raise InvalidSpec("the webhook must not hold a user or password: its token says who is calling")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, _checked_host(host), port or _PORTS[parts.scheme], path)


def _checked_host(host: str) -> str:
    """Check a host name, or an IP address, which must be in its usual spelling; return it."""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise InvalidSpec(
                "the webhook names no IPv6 address that can be called: write https://[2001:db8::1]/path"
            ) from None
    name = host.removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise InvalidSpec("the webhook spells an IP address in an unusual way: write 192.0.2.1") from None
    if len(name) > 253 or not _HOST.fullmatch(name):
        raise InvalidSpec("the webhook must be an http or https URL with a host name or an IP address")
    return name


def read_allowed(text: str) -> Network | str:
    """Read an entry of the list of allowed places: a network such as `10.0.0.0/8`, an address, or a host name.

    Raises:
        InvalidSpec: none of these.
    """
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        name = text.lower().removesuffix(".")
        if _HOST.fullmatch(name) and not _NUMBER.fullmatch(name.rpartition(".")[2]):
            return name
        raise InvalidSpec(
            f"{text!r} is neither a network (10.0.0.0/8, without bits behind its prefix) nor a host name"
        ) from None
