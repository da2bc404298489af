"""A broker's URL, translated into what Celery and kombu expect, and into a form that may be shown.

| as written | transport |
|---|---|
| `redis://[user:password@]host[:port][/db]` | ours |
| `rediss://…`, with `ssl_cert_reqs ssl_ca_certs ssl_certfile ssl_keyfile ssl_check_hostname` | ours |
| `unix:///path?db=0`, `redis+socket:///path?virtual_host=0` | ours |
| `sentinel://host[:port][;sentinel://…][/db]?master_name=NAME`; `ssl_…` is for the servers | ours |
| `amqp://…` and whatever else kombu knows | kombu's own, untouched |
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

import msgspec
from kombu.transport import TRANSPORT_ALIASES

from reconciler.api.errors import InvalidSettings
from reconciler.broker import transport

_USERINFO = re.compile(r"(://[^:@/]*):.*@")
_QUERY_SECRET = re.compile(r"([?&]password=)[^&;]*")
_TLS_KEYS = frozenset({"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"})
_QUERY: dict[str, frozenset[str]] = {
    "redis": frozenset({"db"}),
    "rediss": _TLS_KEYS | {"db"},
    "unix": frozenset({"db", "username", "password"}),
    "redis+socket": frozenset({"virtual_host"}),
    "sentinel": _TLS_KEYS | {"db", "master_name"},
}
_TRANSPORTS = {"redis": transport.PLAIN, "rediss": transport.TLS, "sentinel": transport.SENTINEL}


class BrokerAddress(msgspec.Struct, frozen=True):
    """Where the broker is.

    Attributes:
        url: what Celery gets; holds the password.
        shown: the URL as it was written, with `**` for the password.
        family: `redis` for all that our transport serves, `other` for the rest.
        transport: name of the transport class; None when the URL itself names it.
        tls: TLS options, as `broker_use_ssl` takes them; None without TLS.
        master_name: the group to ask Sentinel for; empty without Sentinel.
    """

    url: str
    shown: str
    family: Literal["redis", "other"]
    transport: str | None = None
    tls: dict[str, object] | None = None
    master_name: str = ""

    def __repr__(self) -> str:
        return f"BrokerAddress({self.shown})"


def mask(url: str) -> str:
    """The URL with `**` in place of each password."""
    return ";".join(_QUERY_SECRET.sub(r"\1**", _USERINFO.sub(r"\1:**@", part)) for part in url.split(";"))


def read_address(url: str, variable: str = "RECONCILER_BROKER_URL") -> BrokerAddress:
    """Translate a broker URL.

    Args:
        url: as it was written.
        variable: the setting that errors speak of.

    Raises:
        InvalidSettings: not a URL, a scheme kombu does not know, or a part that would be ignored.
    """
    scheme = url.partition("://")[0]
    try:
        if scheme not in _QUERY:
            return _other(url, scheme)
        return _redis(url, scheme)
    except ValueError as error:
        problem = f"the broker URL {mask(url)!r} cannot be used: {error}. Correct {variable}"
        # Not chained: what urllib says of a wrong URL may quote the password.
        raise InvalidSettings([f"{problem} (or RECONCILER_REDIS_URL, where none is set)"]) from None


def _other(url: str, scheme: str) -> BrokerAddress:
    if "://" not in url:
        raise ValueError("it has no scheme, as redis:// or amqp:// would be")
    if scheme.partition("+")[0] not in TRANSPORT_ALIASES:
        raise ValueError(f"kombu knows no scheme {scheme!r}")
    for part in url.split(";"):
        _split(part, scheme)
    return BrokerAddress(url=url, shown=mask(url), family="other")


def _redis(url: str, scheme: str) -> BrokerAddress:
    parts = [_split(part, scheme) for part in url.split(";")]
    if len(parts) > 1 and scheme != "sentinel":
        raise ValueError(
            "a list of servers is for Sentinel, as in sentinel://a;sentinel://b/0?master_name=NAME"
        )
    query = {key: value for part in parts for key, value in parse_qsl(part.query, keep_blank_values=True)}
    unknown = sorted(query.keys() - _QUERY[scheme])
    if unknown:
        allowed = ", ".join(sorted(_QUERY[scheme]))
        raise ValueError(f"it has parameters that nothing reads: {', '.join(unknown)} (allowed: {allowed})")
    if scheme in {"unix", "redis+socket"}:
        return BrokerAddress(url=_socket_url(parts[0], query), shown=mask(url), family="redis")
    if scheme == "sentinel" and not query.get("master_name"):
        raise ValueError("it does not name the group to ask Sentinel for; add ?master_name=NAME")
    return BrokerAddress(
        url=_server_urls(parts, scheme, query),
        shown=mask(url),
        family="redis",
        transport=_TRANSPORTS[scheme],
        tls=_tls(scheme, query),
        master_name=query.get("master_name", ""),
    )


def _split(text: str, scheme: str) -> SplitResult:
    part = urlsplit(text)
    if part.scheme != scheme:
        raise ValueError(f"each part of the list must start with {scheme}://")
    try:
        _ = part.port
    except (
        ValueError
    ):  # its text quotes what stands before an unescaped "/" or "@", which may be the password
        raise ValueError("its port is not a number; write / @ : in a password as %2F %40 %3A") from None
    return part


def _server_urls(parts: list[SplitResult], scheme: str, query: dict[str, str]) -> str:
    """The list as kombu reads it: credentials and database stand in the first URL."""
    db = next((part.path.strip("/") for part in parts if part.path.strip("/")), query.get("db", "0"))
    if not db.isdigit():
        raise ValueError(f"the database must be a number, got {db!r}")
    userinfo = next((f"{part.netloc.rpartition('@')[0]}@" for part in parts if "@" in part.netloc), "")
    hosts = [part.netloc.rpartition("@")[2] for part in parts]
    first = f"{scheme}://{userinfo}{hosts[0]}/{db}"
    return ";".join([first, *(f"{scheme}://{host}" for host in hosts[1:])])


def _socket_url(part: SplitResult, query: dict[str, str]) -> str:
    db = query.get("db", query.get("virtual_host", "0"))
    if not db.isdigit():
        raise ValueError(f"the database must be a number, got {db!r}")
    userinfo = part.netloc
    if not userinfo and query.get("password"):
        userinfo = f"{quote(query.get('username', ''), safe='')}:{quote(query['password'], safe='')}@"
    return f"{transport.SOCKET_ALIAS}+socket://{userinfo}{part.path}?{urlencode({'virtual_host': db})}"


def _tls(scheme: str, query: dict[str, str]) -> dict[str, object] | None:
    given: dict[str, object] = {key: value for key, value in query.items() if key in _TLS_KEYS}
    if scheme != "rediss" and not given:
        return None
    wanted = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if wanted not in {"none", "optional", "required"}:
        raise ValueError("ssl_cert_reqs must be none, optional or required")
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = query["ssl_check_hostname"].lower() not in {"false", "0", "no"}
    # kombu's own default is to accept any certificate.
    return {**given, "ssl_cert_reqs": wanted}
