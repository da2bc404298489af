"""What a task declares as redacted is shown nowhere, and programs get it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import InvalidInput, InvalidSpec
from reconciler.api.template import Redaction
from reconciler.children.hidden import Hidden
from reconciler.cli.documents import action_document
from reconciler.core.redaction import open_inputs, read_redaction, redaction_of, shown_inputs, texts_of
from reconciler.testing import Lab
from worker.attempts.secrets import AttemptSecrets
from worker.dashboard import detail
from worker.dashboard.buttons import Asked, press
from worker.runner.runner import Raised

CARD = "4111-1111-1111-1111"
env = TaskEnvironment("shop")


@env.task(redact=["card", "return"])
def charges(card: str, cents: int) -> dict[str, str]:
    """Charge."""
    return {"receipt": f"{card}:{cents}"}


@env.task(redact=True)
def hides_all(card: str, **more: int) -> str:
    """Charge, and more."""
    return card + str(len(more))


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab


def shown(lab: Lab, run: Any) -> str:
    """Return all that pages, the API and `reconciler get --json` tell of the root of a run."""
    page = detail.action_page(lab.client, run.action, read_only=False)
    document = action_document(lab.get(run.action), lab.events(run.action))
    rows = detail.rows_document(lab.client, run.id, "")
    return msgspec.json.encode([page, document, rows]).decode()


def test_what_is_redacted_is_not_shown(lab: Lab) -> None:
    """The value of one parameter and the output; the others are. The program that owns the run gets the output."""
    run = charges.delay(CARD, 2**62)
    lab.work()
    assert run.result() == {"receipt": f"{CARD}:{2**62}"}
    found = shown(lab, run)
    assert CARD not in found
    assert str(2**62) in found
    assert '\\"card\\": \\"[redacted]\\"' in found
    record = lab.get(run.action)
    assert record.status.outputs is not None
    assert record.status.outputs.sha256 not in found  # a short value could be guessed from it
    for which in ("inputs", "outputs"):
        with pytest.raises(InvalidInput, match="redacted"):
            detail.whole_document(lab.client, run.action, which)


@env.task(redact="card")
def checks(card: str) -> int:
    """Check, as one that hides one parameter alone."""
    return len(card)


@pytest.mark.parametrize("task", [checks, hides_all])
def test_a_group_that_starts_its_members_hides_what_they_do(lab: Lab, task: Any) -> None:
    """It holds the inputs of all members in its own; what it makes of them is as given."""
    run = task.map([CARD, CARD], concurrency=1)
    lab.work()
    assert len(run.result()) == 2
    assert CARD not in shown(lab, run)
    with pytest.raises(InvalidInput, match="redacted"):
        detail.whole_document(lab.client, run.action, "inputs")
    again = lab.client.rerun(run.id)
    lab.work()
    assert lab.get(again.action).phase.has_outputs()
    assert CARD not in shown(lab, again)


def test_all_is_redacted_when_all_is_to_be(lab: Lab) -> None:
    """Also what the parameters do not name; in the archive and of a cached or a mapped call as well."""
    run = hides_all.submit((CARD,), {"pin": 7777})
    many = hides_all.map([CARD])
    lab.work()
    assert run.result() == f"{CARD}1"
    assert CARD not in shown(lab, run)
    assert "7777" not in shown(lab, run)
    page = detail.action_page(lab.client, many.id.action("m0"), read_only=False)
    assert CARD.encode() not in msgspec.json.encode(page)


def test_a_fork_changes_what_is_shown_and_keeps_the_rest(lab: Lab) -> None:
    """The form holds no redacted value; a value that is given replaces it."""
    run = charges.delay(CARD, 5)
    lab.work()
    page = detail.action_page(lab.client, run.action, read_only=False)
    [fork] = [one for one in page["buttons"] if one["name"] == "fork"]
    assert msgspec.json.decode(fork["fields"][0]["value"]) == {"cents": 5}
    made = press("fork", Asked(lab.client, run.action, {"inputs": {"cents": 6}}, "ada"))
    lab.work()
    assert lab.client.run(made["run"]).result() == {"receipt": f"{CARD}:6"}


@pytest.mark.parametrize("given", ["nobody", ["card", "nobody"], 7, [7]])
def test_a_wrong_declaration_is_refused(given: Any) -> None:
    """By what can be named."""
    with pytest.raises(InvalidSpec, match=r"card, cents, return"):
        read_redaction(given, ["card", "cents"])


def test_a_fair_key_is_never_redacted() -> None:
    """It is shown, so it cannot be one."""
    with pytest.raises(InvalidSpec, match="fair_by names card"):

        @env.task(name="refused", redact="card", fair_by="card")
        def refused(card: str) -> None: ...


def test_without_redaction_nothing_changes() -> None:
    """Neither the template, which would make other cache keys, nor the bytes that are shown."""
    assert read_redaction((), ["a"]) is read_redaction(None, ["a"]) is read_redaction(False, ["a"]) is None
    data = b'{"a" : 1e400}'
    assert shown_inputs(Redaction(), data) is data is open_inputs(Redaction(), data)


def test_a_template_that_cannot_be_read_hides_all(lab: Lab) -> None:
    """It may be that of a newer release, which says so in another way."""
    run = charges.delay(CARD, 5)
    record = lab.get(run.action)
    spec = msgspec.structs.replace(record.spec, task_template=b'{"redact": 7}')
    record.spec = spec
    assert redaction_of(record).outputs
    assert (
        shown_inputs(redaction_of(record), spec.inputs or b"")
        == b'{"card":"[redacted]","cents":"[redacted]"}'
    )


def test_texts_of_redacted_values_are_masked() -> None:
    """In an error or a log, of nested values too; short ones and those of other values are left."""
    data = msgspec.json.encode({"card": {"number": CARD, "pins": [12345, 7]}, "name": "Grace"})
    texts = texts_of(Redaction(inputs=("card",)), data)
    assert texts[0] == CARD
    masked = AttemptSecrets({}).with_texts(texts).mask_text(f"Grace: {CARD!r} 12345 7")
    assert masked == "Grace: '**' ** 7"
    assert texts_of(Redaction(inputs=("card",)), data, outputs=True) == texts_of(Redaction(), data) == []
    plain = AttemptSecrets({"A": "value"})
    assert plain.with_texts([]) is plain


def test_what_cannot_be_read_is_hidden_whole() -> None:
    """A document that is no JSON object shows nothing, and no text of it is known."""
    hides = Redaction(inputs=("card",), outputs=True)
    assert shown_inputs(hides, b"{card") == b'"[redacted]"'
    assert texts_of(hides, b"{card") == []


def test_texts_of_what_is_hidden_are_numbers_and_words() -> None:
    """Neither truth values nor nothing are masked: each text would lose those words."""
    hides = Redaction(outputs=True)
    found = set(texts_of(hides, b'{"a":[true,null,12345],"b":{"name":"word"}}', outputs=True))
    assert {"12345", "name", "word", "12,345"} <= found
    assert not {"true", "True", "null", "None"} & found


class Tier(Enum):
    """What a customer pays."""

    GOLD = "gold"


AT = datetime(1984, 3, 9, 7, 5, 6, tzinfo=UTC)
KEY = UUID("9f3b5b1c-7d55-4a60-93cf-6a2d3c1f8e55")
WRITTEN = [
    (AT, f"{AT} {AT!r} {AT.isoformat()} {AT:%d.%m.%Y} {AT.date()} {AT.timestamp():.0f}"),
    (datetime(1984, 3, 9, 7, 5, 6, 12), "1984-03-09 07:05:06.000012 datetime.datetime(1984, 3, 9, 7, 5, 6, 12)"),  # noqa: DTZ001  # as users write it
    (date(1984, 3, 9), "1984-03-09 datetime.date(1984, 3, 9) 09.03.1984 9.3.1984 3/9/1984 March 9, 1984 9 March 1984"),
    (time(7, 5, 6), "07:05:06 datetime.time(7, 5, 6)"),
    (KEY, f"{KEY} {KEY!r} {KEY.hex} {str(KEY).upper()} {KEY.int}"),
    (Decimal("1234567.50"), f"1234567.50 1,234,567.50 1.234.567,50 {Decimal('1234567.50')!r} 1_234_567.50"),
    (b"geheim\xff1", f"{b'geheim' + bytes([255]) + b'1'!r} {b'geheim'.hex()}ff31"),
    (b"geheimnis", "geheimnis b'geheimnis' Z2VoZWltbmlz"),
    (Tier.GOLD, f"{Tier.GOLD!r} {Tier.GOLD} gold"),
    (1234567, f"{1234567:,} {1234567:_} 1234567 {1234567:,.2f}"),
    (1234567.25, f"{1234567.25:,} {1234567.25:.2f} {1234567.25:,.2f}"),
    ("Zoë & Söhne/9", "Zoë & Söhne/9 Zo\\xeb & S\\xf6hne/9 Zo%C3%AB%20%26%20S%C3%B6hne%2F9 Zo%C3%AB+%26+S%C3%B6hne%2F9"),
    ("Zoë & Söhne/9", "Zo\\u00eb & S\\u00f6hne/9 Zoë &amp; Söhne/9 ZOË & SÖHNE/9 Wm/DqyAmIFPDtmhuZS85"),
    (CARD, "4111111111111111 4111 1111 1111 1111 4111-1111-1111-1111"),
    ({"born": [AT]}, f"{AT} born"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), WRITTEN, ids=lambda each: str(each)[:12])
def test_a_value_is_masked_as_a_function_writes_it(value: Any, text: str) -> None:
    """By `str`, `repr`, formats, escapes: no digit and no word of it is left."""
    data = msgspec.json.encode({"card": value})
    secrets = AttemptSecrets({}).with_texts(texts_of(Redaction(inputs=("card",)), data))
    masked = secrets.mask_text(text)
    for word in ("datetime.timezone.utc", "datetime.datetime", "datetime.date", "datetime.time"):
        masked = masked.replace(word, "")
    left = re.sub(r"UUID|Decimal|Tier|tzinfo|b'|b\"", "", masked)
    assert not re.search(r"\w", left), masked


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_time_at_an_end_of_the_calendar_is_masked(value: str) -> None:
    """It means "never" or "always" to many; there is no such time in UTC."""
    assert value.replace("T", " ") in texts_of(
        Redaction(inputs=("card",)), msgspec.json.encode({"card": value})
    )


@pytest.mark.parametrize("value", ["2026-13-45T07:00", "25:99", "1e300", "1e-300", "x" * 1001])
def test_what_only_looks_like_another_value_has_no_form_of_one(value: str) -> None:
    """No such day or hour exists, and nobody writes so many zeros or so long a word; the text itself is masked."""
    found = texts_of(Redaction(inputs=("card",)), msgspec.json.encode({"card": value}))
    assert value in found
    assert {text.lower() for text in found} == {value.lower()}


def test_the_code_of_an_error_is_masked() -> None:
    """A class may be made for one value."""
    secrets = AttemptSecrets({}).with_texts([CARD])
    ended = secrets.mask_end(Raised(f"shop.No{CARD}", CARD, CARD, retryable=False))
    assert CARD not in msgspec.json.encode(ended).decode()


@env.task(redact="return")
def secret_of(name: str) -> dict[str, str]:
    """Look up what nobody may see."""
    return {"number": f"{name}-4711-secret"}


def test_what_a_redacted_child_gave_is_masked_in_its_parent(lab: Lab) -> None:
    """Its function is not redacted, its error and its log may hold what the child's output is."""
    hidden = Hidden()
    run = secret_of.submit(("ada",))
    open_run = checks.submit((CARD,))
    lab.work()
    for each, document in ((run, b'{"o0":{"number":"ada-4711-secret"}}'), (open_run, b'{"o0":19}')):
        hidden.note(lab.get(each.action), document)
    assert "ada-4711-secret" in hidden.texts
    assert "19" not in hidden.texts
