"""Read the URL of a server. Records, broker and exchange share this reader, so that none of them drops a part.

| as written | options after `?` |
|---|---|
| `redis://[user:password@]host[:port][/db]` | `db` |
| `rediss://…`, with TLS | `db`, `ssl_…` |
| `unix:///path`, also written `redis+socket:///path` | `db` or `virtual_host`, `username`, `password` |
| `sentinel://[user:password@]host[:port][;sentinel://…][/db]?master_name=NAME` | `db`, `ssl_…`, `sentinel_…` |
| anything else | not read; `broker/address.py` knows what kombu knows |

`ssl_…` is `ssl_cert_reqs ssl_ca_certs ssl_certfile ssl_keyfile ssl_check_hostname`. With Sentinel it is for the servers;
`sentinel_ssl=true` says that the Sentinels speak TLS too, by the same certificates. User and password before the `@` are for
the servers as well; those of the Sentinels are `sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

TLS_OPTIONS = frozenset(
    {"ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
)
_OF_SENTINEL = frozenset({"sentinel_username", "sentinel_password", "sentinel_ssl"})
OPTIONS: Mapping[str, frozenset[str]] = {
    "redis": frozenset({"db"}),
    "rediss": TLS_OPTIONS | {"db"},
    "unix": frozenset({"db", "virtual_host", "username", "password"}),
    "redis+socket": frozenset({"db", "virtual_host", "username", "password"}),
    "sentinel": TLS_OPTIONS | _OF_SENTINEL | {"db", "master_name"},
}
"""What may stand after the `?` of each scheme that is read here."""
PORTS: Mapping[str, int] = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
"""Where a server listens whose URL names no port."""
_SOCKETS = frozenset({"unix", "redis+socket"})

_NEXT = re.compile(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)")
"""Between two servers of a list; any other `;` belongs to what surrounds it."""
_USERINFO = re.compile(r"(://)(?![/?])(?:([^:@/]*)(:))?.*@", re.DOTALL)
_QUERY_SECRET = re.compile(
    r"(?i)([?&;][a-z_]*(?:password|passwd|secret|token)=).*?"
    r"(?=&(?:db|virtual_host|username|master_name|ssl_\w+|sentinel_\w+)=|$)",
    re.DOTALL,
)
_ESCAPES = "write / @ : ; ? # & + % in a password as %2F %40 %3A %3B %3F %23 %26 %2B %25"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a Redis or Valkey server, and the credentials for it.

    Attributes:
        scheme: how it is reached; a key of `OPTIONS`.
        shown: the URL as it was written, with `**` for each password.
        hosts: host and port of the server, or of each Sentinel; empty for a socket.
        path: of a Unix socket, else empty.
        db: number of the database.
        username: empty: the default user.
        password: empty: none is sent.
        tls: options of the TLS of the server, as redis-py takes them; None: no TLS.
        master_name: the group to ask Sentinel for; empty without Sentinel.
        sentinel_username: who we are for the Sentinels.
        sentinel_password: empty: none is sent to them.
        sentinel_tls: whether the Sentinels speak TLS, with the options of `tls`.
    """

    scheme: str
    shown: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    tls: dict[str, object] | None = None
    master_name: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""
    sentinel_tls: bool = False

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    def sentinel_options(self) -> dict[str, object]:
        """Return the credentials for the Sentinels, as redis-py takes them."""
        found: dict[str, object] = {"username": self.sentinel_username, "password": self.sentinel_password}
        given = {key: value for key, value in found.items() if value}
        return {**given, "ssl": True, **(self.tls or {})} if self.sentinel_tls else given


def mask(url: str) -> str:
    """Put `**` in place of each password of a URL, also of one that should have been percent-encoded."""
    return ";".join(_QUERY_SECRET.sub(r"\1**", _USERINFO.sub(_hidden, part)) for part in _NEXT.split(url))


def _hidden(match: re.Match[str]) -> str:
    """Hide the password. Without a colon, hide the only word before the `@`: it may be a password that lost its colon."""
    return f"{match[1]}{match[2] or ''}{match[3] or ''}**@"


def scheme_of(url: str) -> str:
    """Return what stands before `://`; empty if that is missing."""
    head, found, _ = url.partition("://")
    return head if found else ""


def split_list(url: str) -> list[SplitResult]:
    """Split a URL, which may be a list, into its servers.

    Raises:
        ValueError: a part is no URL of the first part's scheme, or would be misread; the text shows no password.
    """
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("it holds white space; write a space as %20")
    scheme = scheme_of(url)
    return [_split(part, scheme) for part in _NEXT.split(url)]


def _split(text: str, scheme: str) -> SplitResult:
    if ";" in text:
        raise ValueError(f"each part of the list must start with {scheme}://; {_ESCAPES}")
    try:
        part = urlsplit(text)
        _ = part.port
    except (
        ValueError
    ):  # its text quotes what stands before an unescaped "/" or "@", which may be the password
        raise ValueError(f"its port is not a number; {_ESCAPES}") from None
    if part.scheme != scheme:
        raise ValueError(f"each part of the list must start with {scheme}://")
    if part.fragment or "@" in part.path or "@" in part.query.partition("=")[0]:
        raise ValueError(f"a part of it would be misread; {_ESCAPES}")
    return part


def read_options(parts: Sequence[SplitResult], allowed: frozenset[str]) -> dict[str, str]:
    """Read the options behind the `?` of all parts.

    Raises:
        ValueError: an option nothing reads, one without a value, or one said twice and differently.
    """
    pairs = [pair for part in parts for pair in parse_qsl(part.query, keep_blank_values=True)]
    unread = dict.fromkeys(_unread(key, value, allowed) for key, value in pairs if key not in allowed)
    if unread:
        raise ValueError("; ".join(unread))
    found: dict[str, str] = {}
    for key, value in pairs:
        if not value or found.get(key, value) != value:
            raise ValueError(f"{key} has {'two values' if value else 'no value'}; give it one")
        found[key] = value
    return found


def _unread(key: str, value: str, allowed: frozenset[str]) -> str:
    if not value or not re.fullmatch(r"[A-Za-z_]{1,40}", key):  # it may be the rest of a password
        return f"a part after its ? has not the form name=value; {_ESCAPES}"
    near = get_close_matches(key, allowed, n=1)
    hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(sorted(allowed)) or 'none'}"
    if key in TLS_OPTIONS:
        hint += "; TLS is spoken with rediss://, amqps:// and sentinel://"
    return f"it has parameters that nothing reads: {key} ({hint})"


def read_redis(url: str) -> Address:
    """Read the URL of a Redis or Valkey server.

    Raises:
        ValueError: the scheme is none of `OPTIONS`, or a part of the URL would be ignored or misread. The text is a half
            sentence which shows no password.
    """
    scheme = scheme_of(url)
    if scheme not in OPTIONS:
        raise ValueError("it must start with redis://, rediss://, unix://, redis+socket:// or sentinel://")
    parts = split_list(url)
    if len(parts) > 1 and scheme != "sentinel":
        raise ValueError(
            "a list of servers is for Sentinel, as in sentinel://a;sentinel://b/0?master_name=NAME"
        )
    options = read_options(parts, OPTIONS[scheme])
    if scheme == "sentinel" and "master_name" not in options:
        raise ValueError("it does not name the group to ask Sentinel for; add ?master_name=NAME")
    username, password = _credentials(parts, options)
    tls = read_tls(options, wanted=scheme == "rediss" or _flag(options, "sentinel_ssl"))
    return Address(
        scheme=scheme,
        shown=mask(url),
        hosts=() if scheme in _SOCKETS else tuple(_host(part, PORTS[scheme]) for part in parts),
        path=_socket(parts[0]) if scheme in _SOCKETS else "",
        db=_database(scheme, parts, options),
        username=username,
        password=password,
        tls=tls,
        master_name=options.get("master_name", ""),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        sentinel_tls=_flag(options, "sentinel_ssl"),
    )


def _host(part: SplitResult, port: int) -> tuple[str, int]:
    if part.hostname is None and part.password:
        raise ValueError(f"it names no host; {_ESCAPES}")
    return unquote(part.hostname or "127.0.0.1"), port if part.port is None else part.port


def _socket(part: SplitResult) -> str:
    if part.hostname or part.path in {"", "/"}:
        raise ValueError("it names no socket; write three slashes, as in unix:///run/redis.sock")
    return unquote(part.path)


def _credentials(parts: Sequence[SplitResult], options: Mapping[str, str]) -> tuple[str, str]:
    """Find user and password; they may stand before any host of a list, before or after the `?` of a socket."""
    said = {(unquote(part.username or ""), unquote(part.password or "")) for part in parts} - {("", "")}
    if len(said) > 1:
        raise ValueError(
            "its parts name different users or passwords, but they are those of the servers, not of the Sentinels "
            "(sentinel_username and sentinel_password)"
        )
    before_user, before_password = next(iter(said), ("", ""))
    user = _one("user", before_user, options.get("username", ""))
    password = _one("password", before_password, options.get("password", ""))
    if user and not password:
        raise ValueError("it names a user without a password; write user:password@, or :password@")
    if options.get("sentinel_username") and not options.get("sentinel_password"):
        raise ValueError("it names a sentinel_username without a sentinel_password; add it")
    return user, password


def _one(what: str, first: str, second: str) -> str:
    if first and second and first != second:
        raise ValueError(f"it names two {what}s; leave one")
    return first or second


def _database(scheme: str, parts: Sequence[SplitResult], options: Mapping[str, str]) -> int:
    paths = [] if scheme in _SOCKETS else [part.path.strip("/") for part in parts]
    said = {text for text in (*paths, options.get("db"), options.get("virtual_host")) if text}
    numbers = {int(text) for text in said if re.fullmatch(r"[0-9]{1,6}", text)}
    if len(numbers) < len(said):
        raise ValueError(f"the database must be a number; {_ESCAPES}")  # not shown: it may be half a password
    if len(numbers) > 1:
        raise ValueError("it names two databases; leave one")
    return next(iter(numbers), 0)


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name, "false").lower()
    if text not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError(f"{name} must be true or false")
    return text in {"true", "1", "yes"}


def read_tls(options: Mapping[str, str], *, wanted: bool) -> dict[str, object] | None:
    """Read TLS options as redis-py takes them; certificates are checked unless they say otherwise.

    Args:
        options: of a URL.
        wanted: whether there is TLS without any option, too.

    Raises:
        ValueError: a value that cannot be used.
    """
    given: dict[str, object] = {key: value for key, value in options.items() if key in TLS_OPTIONS}
    if not wanted and not given:
        return None
    checked = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if checked not in {"none", "optional", "required"}:
        raise ValueError("ssl_cert_reqs must be none, optional or required")
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = _flag(options, "ssl_check_hostname")
        if checked == "none" and given["ssl_check_hostname"]:
            raise ValueError("ssl_check_hostname=true does nothing with ssl_cert_reqs=none; leave one out")
    if "ssl_keyfile" in given and "ssl_certfile" not in given:
        raise ValueError("ssl_keyfile is the key of a certificate; add ssl_certfile")
    return {**given, "ssl_cert_reqs": checked}
