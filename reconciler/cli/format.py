"""Write times, sizes and texts for people: in UTC whatever the machine's zone is, and safe for a terminal."""

from __future__ import annotations

import re

from reconciler.core.times import span, utc
from reconciler.core.visible import SUSPECT, is_seen, visible

NOTHING = "-"
"""What stands where there is nothing to show."""

_USER_INFO = re.compile(
    r"(?<!s3://)(?<=://)[^\s'\"`<>]*@"
)  # the URI of an object has none, and an @ of its own
_PASSWORD = re.compile(r"(?i)([?&;](?:password|passwd|secret|token)=)[^&;\s'\"]+")


def stamp(at: int) -> str:
    """Write a time for people, in UTC, to the second; `-` for 0.

    Args:
        at: milliseconds since the epoch.
    """
    return utc(at).strftime("%Y-%m-%d %H:%M:%S UTC") if at else NOTHING


def ago(at: int, now: int) -> str:
    """Write a time with its age: `2026-01-31 12:00:00 UTC (3m20s ago)`; `-` for 0."""
    if not at:
        return NOTHING
    return f"{stamp(at)} ({span(now - at)} ago)" if at <= now else f"{stamp(at)} (in {span(at - now)})"


def size(count: int) -> str:
    """Write a number of bytes: `17 B`, `4.0 KiB`, `1.5 GiB`."""
    if count < 1024:
        return f"{count} B"
    number = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024 or unit == "GiB":
            break
    return f"{number:.1f} {unit}"


def in_row(text: str) -> str:
    """Make a text `visible` on one line, for a cell of a table, where a line break would begin a new row."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def json_safe(document: str) -> str:
    """Escape what cannot be seen in the strings of a JSON document, so that it cannot control a terminal."""
    return SUSPECT.sub(_escaped_in_json, document)


def _escaped_in_json(match: re.Match[str]) -> str:
    if is_seen(match[0]):
        return match[0]
    units = match[0].encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def scrub(text: str) -> str:
    """Remove the credentials of URLs from a text: `redis://user:secret@host` becomes `redis://…@host`."""
    return _PASSWORD.sub(r"\1…", _USER_INFO.sub("…@", text))


def one_line(text: str, longest: int = 72) -> str:
    """Write the text on one line of at most `longest` characters, for a column of a table."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def sentence(text: str) -> str:
    """Close a text with a full stop, unless it ends like a sentence: it may end with what somebody else said."""
    return text if text.rstrip().endswith((".", "?", "!", "…")) else f"{text}."
