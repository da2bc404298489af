"""Define what a condition asks for, and which answers fit (R10, R53, R54)."""

from __future__ import annotations

import math
import re
from datetime import timedelta

import msgspec

from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.api.reading import read_json
from reconciler.api.webhook import read_target

Value = bool | int | float | str
"""An answer: a JSON scalar."""

TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
"""What a condition may ask for, by the name in its spec."""
_MARKS = re.compile(r"^[#>\s]+|\*\*|__|`")
_WORDS = {"bool": "yes or no", "int": "a whole number", "float": "a number", "str": "a text"}
MAX_NAME = 256
"""Longest name of a condition, in characters."""
MAX_PROMPT = 4096
"""Longest prompt, in characters."""
MAX_DESCRIPTION = 2048
"""Longest description, in characters."""
MAX_TIMEOUT = timedelta(days=3650)
"""Longest timeout: due times beyond could not be told apart in the due index."""
MAX_ANSWER = 64 * 1024
"""Largest answer, in bytes of JSON: it rides in the record."""


class ConditionSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The question a condition asks (R10). `type` is one of bool, int, float, str."""

    name: str = ""
    type: str = "bool"
    prompt: str = ""
    description: str = ""
    prompt_type: str = "text"
    timeout: timedelta | None = None
    webhook: str = ""

    @property
    def headline(self) -> str:
        """The first line of the prompt, without the marks of Markdown; the name where there is none."""
        lines = (_MARKS.sub("", line).strip() for line in self.prompt.splitlines())
        return next(filter(None, lines), self.name)

    @property
    def asks_for(self) -> str:
        """The kind of answer, as a person says it."""
        return _WORDS.get(self.type, "an answer")


def read_condition(document: bytes) -> ConditionSpec | None:
    """Read the spec of a condition; None when it cannot be read."""
    try:
        return read_json(document, ConditionSpec)
    except msgspec.DecodeError:
        return None


def condition_problems(document: bytes) -> list[str]:
    """List why a condition cannot be accepted, one sentence each."""
    try:
        spec = read_json(document, ConditionSpec)
    except msgspec.DecodeError as error:
        return [f"conditionSpec cannot be read: {error}"]
    found = []
    if spec.type not in TYPES:
        found.append(f"the type of a condition must be one of {', '.join(TYPES)}, got {spec.type!r}")
    for what, text, limit in (
        ("name", spec.name, MAX_NAME),
        ("prompt", spec.prompt, MAX_PROMPT),
        ("description", spec.description, MAX_DESCRIPTION),
    ):
        if len(text) > limit:
            found.append(f"the {what} has {len(text)} characters, at most {limit} are allowed")
    if spec.timeout is not None and not timedelta(0) < spec.timeout <= MAX_TIMEOUT:
        found.append(
            f"the timeout must be positive and at most {MAX_TIMEOUT.days} days, got {spec.timeout}; "
            "leave it out to wait without a limit"
        )
    if spec.webhook:
        try:
            read_target(spec.webhook)
        except InvalidSpec as error:
            found.append(str(error))
    return found


def _told(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except ValueError:  # an int of more digits than Python writes
        return "one of thousands of digits"


def check_scalar(value: object) -> Value:
    """Check that an answer can be stored at all, whatever the condition asks for.

    Raises:
        InvalidArguments: not a bool, int, float or str, or one that JSON cannot carry.
    """
    if not _is_scalar(value):
        raise InvalidArguments(
            f"a signal must be a bool, a 64-bit int, a finite float or a str, got {_told(value)} ({type(value).__name__})"
        )
    try:
        length = len(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidArguments(
            f"the signal cannot be written as JSON: give text without surrogates ({error})"
        ) from error
    if length > MAX_ANSWER:
        raise InvalidArguments(
            f"the signal has {length} bytes, at most {MAX_ANSWER} are allowed: store it in S3 and send its URI"
        )
    return value  # type: ignore[return-value]  # checked above


def _is_scalar(value: object) -> bool:
    # Subclasses are refused: an enum or a NumPy number would come back as something else.
    if type(value) not in TYPES.values():
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def fitted(value: Value, wanted: str) -> Value:
    """Convert an answer to what is stored for the declared type: an int for a float becomes a float, all else stays."""
    return float(value) if wanted == "float" and type(value) is int else value


def check_kind(value: Value, wanted: str) -> None:
    """Check that an answer has the declared type. A bool is no int.

    Raises:
        InvalidArguments: it has another type.
    """
    if type(value) is not TYPES.get(wanted, type(value)):
        raise InvalidArguments(
            f"the condition expects a value of type {wanted}, got {value!r:.100} ({type(value).__name__})"
        )
