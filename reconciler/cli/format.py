"""Times, sizes and texts as they are shown: UTC whatever the machine's zone is, and safe for a terminal."""

from __future__ import annotations

import re

from reconciler.core.times import utc

NOTHING = "-"
"""What stands where there is nothing to show."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""All but line feed and tab: escape sequences, C1 controls, and what turns the direction of writing."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_USER_INFO = re.compile(r"(?<=://)[^\s'\"`<>]*@")
_PASSWORD = re.compile(r"(?i)([?&;](?:password|passwd|secret|token)=)[^&;\s'\"]+")


def stamp(at: int) -> str:
    """A time for people, in UTC, to the second; `-` for 0.

    Args:
        at: milliseconds since the epoch.
    """
    return utc(at).strftime("%Y-%m-%d %H:%M:%S UTC") if at else NOTHING


def span(length: int) -> str:
    """A length of time in its two largest units: `0s`, `59s`, `3m20s`, `2h`, `5d1h`.

    Args:
        length: milliseconds; a negative one, from clocks that differ, counts as 0.
    """
    left = max(length, 0) // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2]) or "0s"


def ago(at: int, now: int) -> str:
    """A time with its age: `2026-01-31 12:00:00 UTC (3m20s ago)`; `-` for 0."""
    if not at:
        return NOTHING
    return f"{stamp(at)} ({span(now - at)} ago)" if at <= now else f"{stamp(at)} (in {span(at - now)})"


def size(count: int) -> str:
    """A number of bytes: `17 B`, `4.0 KiB`, `1.5 GiB`."""
    if count < 1024:
        return f"{count} B"
    number = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024 or unit == "GiB":
            break
    return f"{number:.1f} {unit}"


def visible(text: str, *, colours: bool = False) -> str:
    """The text without power over a terminal: control characters are written out, not obeyed.

    Args:
        text: of anybody; messages of actions are written by users' code.
        colours: whether sequences that only change the colour stay.
    """
    if not colours:
        return _CONTROL.sub(_escaped, text)
    parts, last = [], 0
    for colour in _COLOUR.finditer(text):
        parts += [_CONTROL.sub(_escaped, text[last : colour.start()]), colour[0]]
        last = colour.end()
    return "".join([*parts, _CONTROL.sub(_escaped, text[last:])])


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def scrub(text: str) -> str:
    """The text without the credentials of the URLs in it: `redis://user:secret@host` → `redis://…@host`."""
    return _PASSWORD.sub(r"\1…", _USER_INFO.sub("…@", text))


def one_line(text: str, longest: int = 72) -> str:
    """The text on one line of at most `longest` characters, for a column of a table."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
