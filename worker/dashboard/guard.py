"""Decide who may see the pages and press buttons: logins of Flower, or this machine only."""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of ours may load: files of this Flower. No inline script, no frame around it."""
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def closed_because(address: str, host: str, *, login: bool, unix_socket: bool = False) -> str:
    """Say why the pages are refused although no login is asked for; empty when they are not.

    Without a login only this machine is let in: Flower has to listen on it alone, and the browser has to call it by a name
    of it. A page of the internet whose name was made to lead here calls it by its own (DNS rebinding).

    Args:
        address: where Flower listens; empty = everywhere.
        host: what the request calls us, with or without port.
        login: whether Flower has a login.
        unix_socket: whether it listens on a socket in the file system instead.
    """
    if login:
        return ""
    if not unix_socket and not is_loopback(address):
        return (
            f"Flower listens on {address or 'every address'} without a login, so its runs are not shown: "
            "set FLOWER_BASIC_AUTH=user:password or OAuth, or --address=127.0.0.1"
        )
    return "" if unix_socket else _misnamed_because(host)


def rebound_because(address: str, host: str, *, login: bool) -> str:
    """Say why Flower's own pages are refused where it listens on this machine alone; empty when they are not.

    Arguments as of `closed_because`. A Flower that listens elsewhere without a login was opened to everybody on purpose.
    """
    return "" if login or not is_loopback(address) else _misnamed_because(host)


def _misnamed_because(host: str) -> str:
    if is_loopback(_name_of(host)):
        return ""
    return (
        "without a login Flower answers to 127.0.0.1 and localhost alone: open it by one of them, "
        "or set FLOWER_BASIC_AUTH=user:password"
    )


def is_loopback(name: str) -> bool:
    """Tell whether a name or an address is this machine's own."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def foreign_because(headers: Any, host: str) -> str:  # noqa: ANN401  # Tornado's headers
    """Say why a request that changes something is refused: another site made it; empty when ours did.

    Args:
        headers: of the request.
        host: what it calls us.
    """
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site is not None and site != "same-origin":
        return "another site made this request: use the buttons of the page itself"
    if origin is not None and urlsplit(origin).netloc != host:
        return "another origin made this request: use the buttons of the page itself"
    return ""


def _name_of(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""
