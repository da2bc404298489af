"""Decide which addresses an installation may call on behalf of a user: public ones, and those it allows (R55).

Whoever asks a question names the URL of its webhook, and a worker stands inside of a network the asker may not reach. So
the address itself is looked at, never only the name: names resolve to whatever their owner likes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from reconciler.api.webhook import Network, read_allowed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Lists of our own: what `ipaddress` calls global differs between releases of Python.
_CLOSED_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
"""This host, private, shared, loopback, link-local, documentation, relays, benchmarks, multicast, reserved; and the one
public address at which a cloud answers its own machines (168.63.129.16)."""
_OPEN_6 = ipaddress.IPv6Network("2000::/3")
"""Global unicast; all else is loopback, link-local, unique local, multicast or reserved."""
_CLOSED_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Inside of it: protocol assignments with Teredo, documentation, 6to4."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def address_of(text: str) -> Address:
    """Find the address that is really reached: an IPv4 address wrapped in an IPv6 one (mapped, NAT64) is unwrapped.

    Raises:
        ValueError: no IP address.
    """
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if found in _NAT64:
            return ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
    return found


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)


def may_call(host: str, address: str, allowed: Iterable[str]) -> bool:
    """Tell whether a host may be called at an address.

    Args:
        host: as the URL names it, in lower case.
        address: what it was resolved to, and what will be connected to.
        allowed: networks and host names that may be called though they are not public.
    """
    try:
        found = address_of(address)
    except ValueError:
        return False
    return is_public(found) or any(_covers(read_allowed(entry), host, found) for entry in allowed)


def _covers(entry: Network | str, host: str, address: Address) -> bool:
    return entry == host if isinstance(entry, str) else address in entry
