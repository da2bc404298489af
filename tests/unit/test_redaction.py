"""What a task declares as redacted is shown nowhere, and programs get it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.errors import InvalidInput, InvalidSpec
from reconciler.api.template import Redaction
from reconciler.cli.documents import action_document
from reconciler.core.redaction import open_inputs, read_redaction, redaction_of, shown_inputs, texts_of
from reconciler.testing import Lab
from worker.attempts.secrets import AttemptSecrets
from worker.dashboard import detail
from worker.dashboard.buttons import Asked, press

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
    """All that pages, the API and `reconciler get --json` tell of the root of a run."""
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
    assert texts_of(hides, b'{"a":[true,null,12345],"b":{"name":"word"}}', outputs=True) == [
        "12345",
        "name",
        "word",
    ]
