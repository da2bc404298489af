"""`reconciler signal`: a person's answer at the command line, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cli_support import HERE, Backend, backend_on, error_of

from reconciler.api.phase import ActionPhase
from reconciler.client.submission import whoami
from reconciler.embedded.servers import EmbeddedServers

pytestmark = pytest.mark.servers


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An empty installation with a condition in run `ask` that waits."""
    with backend_on(servers, monkeypatch) as made:
        made.client.condition("name", "str", prompt="Whose order?", run="ask")
        made.drive()
        yield made


def test_a_signal_is_the_result(backend: Backend) -> None:
    """A waiting condition is found, shows its question, and is answered in the caller's name; `result` prints it."""
    waiting = backend.answer("list", "ask", "--phase", "paused")["actions"]
    assert [action["action"] for action in waiting] == [f"{HERE}/ask/a0"]
    assert "Whose order? (a text)" in backend.reconciler("get", "ask").stdout
    said = backend.answer("signal", "ask", '"Ada"')
    assert said == {"action": f"{HERE}/ask/a0", "outcome": "stored", "value": "Ada", "by": whoami()}
    assert backend.reconciler("signal", "ask/a0", "Ada", "--type", "str").stdout.endswith("before.\n")
    backend.end("ask")
    assert backend.reconciler("result", "ask").stdout == "Ada\n"
    assert backend.get("ask").phase is ActionPhase.SUCCEEDED


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "true", True),
        ("int", "-7", -7),
        ("float", "0.5", 0.5),
        ("float", "2", 2.0),
        ("str", "true", "true"),
    ],
)
def test_values_have_their_type(backend: Backend, kind: str, text: str, value: object) -> None:
    """--type reads the value as that type; the stored signal has it."""
    backend.client.condition("it", kind, run="typed")  # type: ignore[call-overload]  # a name of any type
    result = backend.reconciler("signal", "typed", "--type", kind, "--", text)
    assert (result.exit_code, result.stdout) == (0, f"{HERE}/typed/a0 is signalled.\n")
    signal = backend.get("typed").signal
    assert signal is not None
    assert (signal.value, type(signal.value)) == (value, type(value))


@pytest.mark.parametrize(
    ("run", "value", "code", "kind"),
    [
        ("ask", "Ada", 2, "BadParameter"),
        ("ask", "[1]", 2, "BadParameter"),
        ("ask", "7", 2, "InvalidArguments"),
        ("nobody", "7", 6, "ActionNotFound"),
        ("task", "7", 2, "NotACondition"),
        ("answered", "true", 2, "SignalRefused"),
    ],
)
def test_refusals_have_exit_codes(backend: Backend, run: str, value: str, code: int, kind: str) -> None:
    """A value that cannot be taken is wrong usage, an unknown action is not found; each is told by its name."""
    backend.sleep("task")
    backend.client.condition("sure", run="answered")
    backend.reconciler("signal", "answered", "false")
    result = backend.reconciler("signal", run, value, "--json")
    assert (result.exit_code, error_of(result)["type"]) == (code, kind)
