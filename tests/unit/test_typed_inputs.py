"""The form of a fork: a field for each input by its type, and the document of all; nothing is rounded or revealed."""

from __future__ import annotations

import enum
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.buttons import Asked, buttons_of, press
from worker.dashboard.typed_inputs import Field, _part, editable

env = TaskEnvironment("typed")
DAY = datetime.fromisoformat("2026-01-02")


@env.task(redact="secret")
def mixes(  # noqa: PLR0917  # one of each type
    words: str,
    count: int,
    share: float,
    sure: bool,  # noqa: FBT001  # an argument of an action
    many: list[int],
    when: datetime,
    maybe: int | None = None,
    secret: str = "",
    anything: Any = None,  # as a user may have it
) -> int:
    """Take one of each."""
    del words, share, sure, many, when, maybe, secret, anything
    return count


class Size(enum.Enum):
    """An enum of texts."""

    SMALL = "it's small"
    LARGE = "large"


@env.task
def writes(price: Decimal, which: Literal["a", "b"], size: Size, name: uuid.UUID) -> str:
    """Take what JSON writes as a text."""
    return f"{price} {which} {size} {name}"


@env.task
def counts(**many: int) -> int:
    """Take any number of values."""
    return len(many)


@pytest.fixture
def lab() -> Lab:
    """A lab that runs these functions."""
    lab = Lab()
    env.client = lab.client
    return lab


def form_of(lab: Lab, run: Any) -> dict[str, Any]:
    """Return the one field of the form of a fork, as the page gets it."""
    lab.work()
    [fork] = [one for one in buttons_of(lab.get(run.action)) if one["name"] == "fork"]
    [field] = fork["fields"]
    return dict(field)


def test_each_input_has_a_field_of_its_type(lab: Lab) -> None:
    """In the order of the declaration, with what it holds; numbers as texts, so that no browser rounds them."""
    run = mixes.delay("a\nb", 2**80 + 1, 0.1, True, [1, 2**70], DAY, secret="hush")
    form = form_of(lab, run)
    shown = {part["name"]: (part.get("type", "str"), part.get("value")) for part in form["parts"]}
    assert list(shown) == ["words", "count", "share", "sure", "many", "when", "maybe", "secret", "anything"]
    assert shown["words"] == ("text", "a\nb")
    assert shown["count"] == ("integer", str(2**80 + 1))
    assert shown["share"] == ("number", "0.1")
    assert shown["sure"] == ("bool", True)
    assert shown["many"] == ("json", f"[\n  1,\n  {2**70}\n]")
    assert shown["when"] == ("str", "2026-01-02T00:00:00")
    assert shown["maybe"] == shown["anything"] == ("json", "null")
    assert shown["secret"] == ("str", None)
    assert [part["hint"] for part in form["parts"]][1:3] == ["int", "float"]
    assert "hush" not in str(form)


def test_a_value_that_is_not_of_the_type_is_json(lab: Lab) -> None:
    """As NaN, which JSON does not know; or a text with what no line of a form keeps."""
    form = form_of(lab, mixes.delay("a\u2028b", 1, float("nan"), False, [], DAY))
    shown = {part["name"]: (part.get("type", "str"), part.get("value")) for part in form["parts"]}
    assert shown["words"] == ("text", "a\u2028b")
    assert shown["share"][0] == "json"
    assert msgspec.json.decode(shown["share"][1]) == {"@float": "NaN"}
    assert shown["sure"] == ("bool", False)
    named = uuid.UUID(int=1)
    form = form_of(lab, writes.delay(Decimal("1.50"), "a", Size.LARGE, named))
    assert [(part.get("type", "str"), part["value"]) for part in form["parts"]] == [
        ("str", "1.50"), ("choice", "a"), ("choice", "large"), ("str", str(named)),
    ]  # fmt: skip
    assert [tuple(part.get("choices", ())) for part in form["parts"]] == [
        (),
        ("a", "b"),
        ("it's small", "large"),
        (),
    ]


@pytest.mark.parametrize(
    "kind",
    [
        "Literal['a', 1]",
        "Literal['a']x",
        "f(x)",
        "Color(1, 2)",
        "list[int]",
        "Literal[]",
        "(",
        f"Literal[{'-' * 50_000}1]",
        "f('\0')",
    ],
)
def test_other_types_are_no_choice(kind: str) -> None:
    """Not of texts alone, or nothing that can be read."""
    assert _part("n", kind, b'"a"') == Field("n", "n", "json", '"a"', hint=kind)


def test_very_many_inputs_are_a_document(lab: Lab) -> None:
    """A form with hundreds of fields helps nobody."""
    form = form_of(lab, counts.delay(**{f"n{number}": number for number in range(60)}))
    assert [part["name"] for part in form["parts"]] == ["many"]
    record = lab.get(counts.delay().action)
    wide = msgspec.json.encode({f"n{number}": number for number in range(60)})
    assert editable(record, wide)[1] == ()
    assert editable(record, b"[1]")[1][0].name == "many"
    assert editable(record, b'{"n": 1}')[1][0] == Field("n", "n", "json", "1")


def test_large_inputs_have_their_fields_when_the_form_is_opened(lab: Lab) -> None:
    """They lie in S3 until then."""
    run = mixes.delay("x" * 80_000, 2**80 + 1, 0.1, True, [], DAY)
    form = form_of(lab, run)
    assert (form["source"], form.get("parts")) == ("editable", None)
    read = detail.editable_document(lab.client, run.action)
    assert [part["type"] for part in read["parts"][:2]] == ["text", "integer"]


def test_what_is_left_out_keeps_its_value(lab: Lab) -> None:
    """Also what is redacted: the form sends what was changed alone."""
    run = mixes.delay("w", 1, 0.1, True, [], DAY, secret="hush")
    lab.work()
    made = press("fork", Asked(lab.client, run.action, {"inputs": {"count": 2**90}}, "ada"))
    lab.work()
    again = lab.client.get(f"{made['run']}/a0")
    assert again.spec.inputs is not None
    values = msgspec.json.decode(again.spec.inputs)
    assert (values["secret"], values["words"], values["count"]) == ("hush", "w", 2**90)
