"""List the forms in which a function may write a redacted value into an error or a log.

What is stored is JSON: a date is a text there, bytes are base64, a card is a number or a text. A function writes `str`,
`repr` or a format of the value it has. What is no form of one value (a part of it, a sum, a translation) nobody can find.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

_SHORTEST: Final = 4
"""Of shorter numbers there are no other forms: they are not masked themselves."""
_LONGEST: Final = 1000
"""A longer text is no date, number or name: it is looked for as it is."""
_DATES: Final = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d %B %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%b %d, %Y",
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?")
_TIME = re.compile(r"\d\d:\d\d(?::\d\d.*)?")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BASE64 = re.compile(
    r"(?:[A-Za-z0-9+/]{4}){2,}|(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)"
)
_DIGITS = re.compile(r"\+?\d(?:[ ./-]?\d){7,}")
"""A number people write in groups: of a card, an account, a phone."""


def forms_of(value: object) -> Iterator[str]:
    """List the texts that stand for a value of a JSON document, the plain one first.

    Args:
        value: a text or a number.
    """
    text = str(value)
    yield text
    if len(text) > _LONGEST:
        return
    if isinstance(value, str):
        yield from (text.upper(), text.lower())
        for read in (_dates, _times, _uuids, _bytes, _grouped):
            yield from read(text)
    if len(text) >= _SHORTEST and _NUMBER.fullmatch(text):
        yield from _numbers(text)


def _numbers(text: str) -> Iterator[str]:
    number = Decimal(text)
    if abs(number.adjusted()) > 40:  # its digits would be a text of zeros
        return
    for form in (f"{number:f}", f"{number:,}", f"{number:,f}", f"{number:,.2f}", f"{number:.2f}"):
        yield form
        yield from (form.replace(",", mark) for mark in ("_", " ", "'", "\N{NARROW NO-BREAK SPACE}"))
        yield form.translate({ord(","): ".", ord("."): ","})
    if number == number.to_integral_value():
        yield str(int(number))


def _dates(text: str) -> Iterator[str]:
    if not _DATE.fullmatch(text):
        return
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return
    yield from _of_day(at.date())
    if len(text) == len("2026-11-28"):
        return
    known = at if at.tzinfo else at.replace(tzinfo=UTC)
    for each in {at, _in_utc(known), at.replace(microsecond=0)}:
        yield from (str(each), each.isoformat(), each.isoformat().replace("+00:00", "Z"))
        yield _arguments(each)
    yield from (str(int(known.timestamp())), str(known.timestamp()), known.strftime("%Y%m%dT%H%M%S"))


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the first or the last hours of the calendar, which "never" is written as
        return at


def _of_day(day: date) -> Iterator[str]:
    yield day.isoformat()
    yield f"{day.year}, {day.month}, {day.day}"  # as `repr` has it
    for form in _DATES:
        yield day.strftime(form)
    yield from (
        f"{day.day}.{day.month}.{day.year}",
        f"{day.month}/{day.day}/{day.year}",
        f"{day:%B} {day.day}, {day.year}",
    )
    yield from (
        f"{day.day} {day:%B} {day.year}",
        f"{day:%b} {day.day}, {day.year}",
        f"{day.day}/{day.month}/{day.year}",
    )


def _arguments(at: datetime) -> str:
    return repr(at).removeprefix("datetime.datetime(").partition(", tzinfo")[0].rstrip(")")


def _times(text: str) -> Iterator[str]:
    if _TIME.fullmatch(text):
        try:
            at = time.fromisoformat(text)
        except ValueError:
            return
        yield from (str(at), repr(at).removeprefix("datetime.time(").rstrip(")"))


def _uuids(text: str) -> Iterator[str]:
    if _UUID.fullmatch(text):
        plain = text.replace("-", "")
        yield from (plain.lower(), plain.upper(), str(int(plain, 16)))


def _bytes(text: str) -> Iterator[str]:
    """List the forms of bytes, which are base64 in a document: as `repr`, as text, as hexadecimal digits."""
    if not _BASE64.fullmatch(text):
        return
    data = b64decode(text)
    yield from (repr(data)[2:-1], data.hex(), data.hex(" "), data.hex(":"))
    try:
        yield data.decode()
    except UnicodeDecodeError:
        return


def _grouped(text: str) -> Iterator[str]:
    if not _DIGITS.fullmatch(text):
        return
    digits = "".join(filter(str.isdigit, text))
    yield digits
    groups = [digits[start : start + 4] for start in range(0, len(digits), 4)]
    yield from (mark.join(groups) for mark in (" ", "-"))
