"""From the question to the answer on real servers: the webhook is called, its token answers at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import HERE, Backend, backend_on, error_of, eventually
from webhook_support import OK, Receiver, receiver, says

from reconciler.api.phase import ActionPhase
from reconciler.client.submission import whoami
from reconciler.embedded.servers import EmbeddedServers
from reconciler.wiring import build_problems

pytestmark = [pytest.mark.servers, pytest.mark.rule("R55")]
SECRET = "fedcba9876543210" * 4


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The file of the secret."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


@pytest.fixture
def backend(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch, secret_file: Path
) -> Iterator[Backend]:
    """An empty installation that may call this machine."""
    with backend_on(servers, monkeypatch):
        monkeypatch.setenv("RECONCILER_CALLBACK_SECRET_FILE", str(secret_file))
        monkeypatch.setenv("RECONCILER_WEBHOOK_ALLOW", "127.0.0.0/8")
        made = Backend()
        yield made
        made.engine.stepper.close()
        made.store.close()


@pytest.fixture
def there() -> Iterator[Receiver]:
    """Who is asked."""
    with receiver(says(OK)) as made:
        yield made


def asked(backend: Backend, there: Receiver, run: str) -> str:
    """Return the token that was sent for a condition of this run."""
    backend.client.condition("sure", "str", webhook=f"http://127.0.0.1:{there.port}/ask", run=run)
    before = len(there.requests)
    backend.drive()
    eventually(lambda: backend.get(run).status.webhook_tries == 1)
    [(_, body)] = there.requests[before:]
    found = json.loads(body)
    assert (found["run"], found["name"], found["type"]) == (run, "sure", "str")
    return str(found["token"])


def test_a_token_answers(backend: Backend, there: Receiver, tmp_path: Path) -> None:
    """The receiver's token signals its condition: given as a word, in a file, or on stdin; again it is fine."""
    token = asked(backend, there, "ask")
    said = backend.answer("signal", "--token", token, '"Ada"')
    assert said == {"action": f"{HERE}/ask/a0", "outcome": "stored", "value": "Ada", "by": whoami()}
    (tmp_path / "token.txt").write_text(f"{token}\n")
    again = backend.reconciler("signal", "Ada", "--type", "str", "--token", f"@{tmp_path}/token.txt")
    assert again.stdout.endswith("before.\n")
    assert backend.reconciler("signal", '"Ada"', "--token", "@-", input=token).exit_code == 0
    backend.end("ask")
    assert backend.reconciler("result", "ask").stdout == "Ada\n"
    assert len(there.requests) == 1


def test_refusals(backend: Backend, there: Receiver) -> None:
    """Tokens that are not good, another answer, and words that do not fit are wrong usage, each told by its name."""
    token = asked(backend, there, "no")
    assert backend.reconciler("signal", "--token", token, '"yes"').exit_code == 0
    for words, kind in (
        (("--token", token, '"no"'), "SignalRefused"),
        (("--token", token[:-1], '"yes"'), "CallbackRefused"),
        (("--token", "@/nowhere/at/all", '"yes"'), "BadParameter"),
        (("--token", token, "no", '"yes"'), "UsageError"),
        (('"yes"',), "UsageError"),
    ):
        result = backend.reconciler("signal", *words, "--json")
        assert (result.exit_code, error_of(result)["type"]) == (2, kind)
        assert token[:-1] not in result.output


def test_without_the_secret_no_token_is_read(
    backend: Backend, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without the secret cannot tell a good token, and says which setting it lacks."""
    token = asked(backend, there, "blind")
    monkeypatch.delenv("RECONCILER_CALLBACK_SECRET_FILE")
    result = backend.reconciler("signal", "--token", token, '"yes"', "--json")
    assert (result.exit_code, error_of(result)["type"]) == (9, "InvalidSettings")
    assert "RECONCILER_CALLBACK_SECRET_FILE" in error_of(result)["message"]


@pytest.mark.usefixtures("backend")
def test_what_is_not_allowed_is_not_called(there: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without permission this machine is not called: given up at once, for everybody to see, and the signal still works."""
    monkeypatch.delenv("RECONCILER_WEBHOOK_ALLOW")
    strict = Backend()
    strict.client.condition("sure", webhook=f"http://127.0.0.1:{there.port}/hush", run="inside")
    strict.drive()
    eventually(lambda: strict.get("inside").status.webhook_tries == 1)
    record = strict.get("inside")
    assert record.phase is ActionPhase.PAUSED
    assert record.status.phase_history[-1].phase == "WebhookGivenUp"
    assert there.connections == 0
    assert "hush" not in record.status.phase_history[-1].message
    strict.reconciler("signal", "inside", "true")
    strict.end("inside")
    strict.engine.stepper.close()
    strict.store.close()


def test_a_receiver_that_is_down_is_tried_again(backend: Backend) -> None:
    """On real servers too a failed try is stored with the time of the next one."""
    with receiver(says(b"HTTP/1.1 503 Later\r\n\r\n")) as there:
        backend.client.condition("sure", webhook=f"http://127.0.0.1:{there.port}/", run="later")
        backend.drive()
        eventually(lambda: backend.get("later").status.webhook_tries == 1)
    record = backend.get("later")
    [(action, due)] = backend.store.due(backend.store.shard_of(record.id.run_id))
    assert (action, due) == (record.id, record.status.webhook_due)
    assert 0 < due - backend.store.now() <= 30_000


def test_a_wrong_secret_is_told_at_start_and_by_doctor(backend: Backend, secret_file: Path) -> None:
    """A worker does not start with a secret it cannot use; doctor says the same, and neither says what it is."""
    assert build_problems(backend.engine.settings) == []
    assert _callbacks(backend)["state"] == "ok"
    secret_file.write_text("t0p-s3cret")
    told = build_problems(backend.engine.settings)
    assert "must hold 32 to 4096 bytes" in str(told)
    found = _callbacks(backend)
    assert found["problems"] == told
    assert "s3cret" not in str(found) + str(told)


def test_doctor_says_that_nothing_is_called(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a secret nothing is wrong, but webhooks are not called."""
    monkeypatch.delenv("RECONCILER_CALLBACK_SECRET_FILE")
    found = _callbacks(backend)
    assert found["state"] == "skipped"
    assert "webhooks of conditions are not called" in found["detail"]
    monkeypatch.setenv("RECONCILER_CALLBACK_SECRET_FILE", "relative")
    assert _callbacks(backend)["state"] == "skipped"


def _callbacks(backend: Backend) -> dict[str, object]:
    """What doctor says of the secret."""
    checks = backend.parsed(backend.reconciler("doctor", "--json"))["checks"]
    [found] = [check for check in checks if check["name"] == "callbacks"]
    return dict(found)
