"""A broker's URL, translated into what Celery and kombu expect, and into a form that may be shown.

| as written | transport |
|---|---|
| what `reconciler/address.py` reads: `redis`, `rediss`, `unix`, `redis+socket`, `sentinel` | ours |
| `amqp://…`, `amqps://…`, also a list of them; `ssl_…` options as there, `heartbeat`, `login_method` | kombu's own |
| whatever else kombu knows | kombu's own, untouched |
"""

from __future__ import annotations

import ssl
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec
from kombu.transport import TRANSPORT_ALIASES

from reconciler.address import (
    OPTIONS,
    PORTS,
    TLS_OPTIONS,
    Address,
    mask,
    read_options,
    read_redis,
    read_tls,
    scheme_of,
    split_list,
)
from reconciler.api.errors import InvalidSettings
from reconciler.broker import transport

_TRANSPORTS = {"redis": transport.PLAIN, "rediss": transport.TLS, "sentinel": transport.SENTINEL}
_AMQP = frozenset({"amqp", "amqps", "pyamqp"})
_AMQP_OPTIONS = TLS_OPTIONS | {"heartbeat", "login_method"}
_CHECKS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class BrokerAddress(msgspec.Struct, frozen=True):
    """The place of the broker, and the credentials for it.

    Attributes:
        url: what Celery gets; holds the password.
        shown: the URL as it was written, with `**` for the password.
        family: `redis` for all that our transport serves, `other` for the rest.
        transport: name of the transport class; None when the URL itself names it.
        tls: TLS options, as `broker_use_ssl` takes them; None without TLS.
        master_name: the group to ask Sentinel for; empty without Sentinel.
        sentinel: how to be let in by the Sentinels, as redis-py takes it.
    """

    url: str
    shown: str
    family: Literal["redis", "other"]
    transport: str | None = None
    tls: dict[str, object] | None = None
    master_name: str = ""
    sentinel: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"BrokerAddress({self.shown})"


def read_address(url: str, variable: str = "RECONCILER_BROKER_URL") -> BrokerAddress:
    """Translate a broker URL.

    Args:
        url: as it was written.
        variable: the setting that errors speak of.

    Raises:
        InvalidSettings: not a URL, a scheme kombu does not know, or a part that would be ignored.
    """
    scheme = scheme_of(url)
    try:
        if scheme in OPTIONS:
            return _redis(read_redis(url))
        return _amqp(url) if scheme in _AMQP else _other(url, scheme)
    except ValueError as error:
        problem = f"the broker URL {mask(url)!r} cannot be used: {error}. Correct {variable}"
        # Not chained: what urllib says of a wrong URL may quote the password.
        raise InvalidSettings([f"{problem} (or RECONCILER_REDIS_URL, where none is set)"]) from None


def _other(url: str, scheme: str) -> BrokerAddress:
    if not scheme:
        raise ValueError("it has no scheme, as redis:// or amqp:// would be")
    if scheme.partition("+")[0] not in TRANSPORT_ALIASES:
        raise ValueError(f"kombu knows no scheme {scheme!r}")
    split_list(url)
    return BrokerAddress(url=url, shown=mask(url), family="other")


def _amqp(url: str) -> BrokerAddress:
    parts = split_list(url)
    options = read_options(parts, _AMQP_OPTIONS)
    tls = read_tls(options, wanted=parts[0].scheme == "amqps")
    kept = urlencode({key: value for key, value in options.items() if key not in TLS_OPTIONS})
    servers = (f"{part.scheme}://{part.netloc}{part.path}" for part in parts)
    return BrokerAddress(
        url=";".join(f"{server}?{kept}" if kept else server for server in servers),
        shown=mask(url),
        family="other",
        tls=None if tls is None else _tls_of_amqp(tls),
    )


def _tls_of_amqp(tls: dict[str, object]) -> dict[str, object]:
    """Turn TLS options into those of py-amqp, which by itself would accept any certificate."""
    names = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
    found = {ours: tls[name] for name, ours in names.items() if name in tls}
    found["cert_reqs"] = int(_CHECKS[str(tls["ssl_cert_reqs"])])
    if found["cert_reqs"] and tls.get("ssl_check_hostname", True):
        found["server_hostname"] = (
            None  # kombu puts the host of each connection here; py-amqp compares it then
        )
    return found


def _redis(address: Address) -> BrokerAddress:
    if address.path:
        return BrokerAddress(url=_socket_url(address), shown=address.shown, family="redis")
    return BrokerAddress(
        url=_server_urls(address),
        shown=address.shown,
        family="redis",
        transport=_TRANSPORTS[address.scheme],
        tls=address.tls,
        master_name=address.master_name,
        sentinel=address.sentinel_options(),
    )


def _userinfo(address: Address) -> str:
    if not address.password:
        return ""
    return f"{quote(address.username, safe='')}:{quote(address.password, safe='')}@"


def _server_urls(address: Address) -> str:
    """Write the list as kombu reads it: with credentials and database in the first URL."""
    hosts = [_host(host, port, PORTS[address.scheme]) for host, port in address.hosts]
    first = f"{address.scheme}://{_userinfo(address)}{hosts[0]}/{address.db}"
    return ";".join([first, *(f"{address.scheme}://{host}" for host in hosts[1:])])


def _host(host: str, port: int, usual: int) -> str:
    name = f"[{host}]" if ":" in host else quote(host)
    return name if port == usual else f"{name}:{port}"


def _socket_url(address: Address) -> str:
    database = urlencode({"virtual_host": address.db})
    return f"{transport.SOCKET_ALIAS}+socket://{_userinfo(address)}{quote(address.path)}?{database}"
