"""`reconciler doctor`: what is wrong is told at once, with its remedy, and without secrets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import Backend, backend_on

from reconciler.cli.check_servers import check_broker
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings

pytestmark = pytest.mark.servers

NODE = "steps@somewhere"


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An empty installation."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        yield made


def states(answer: dict[str, Any]) -> dict[str, str]:
    """Return the state of each check."""
    return {check["name"]: check["state"] for check in answer["checks"]}


def problems(backend: Backend) -> dict[str, list[str]]:
    """What is wrong, by check; the exit code says that something is."""
    result = backend.reconciler("doctor", "--json")
    assert result.exit_code == 9
    return {check["name"]: check["problems"] for check in backend.parsed(result)["checks"]}


def test_no_worker_is_a_problem(backend: Backend) -> None:
    """Without a live worker nothing would be done, and the remedy is a command."""
    found = problems(backend)
    assert "celery -A worker worker" in found["workers"][0]
    assert "celery -A worker worker -P threads -Q steps" in found["steps"][0]
    assert [name for name, said in found.items() if said] == ["workers", "steps", "attempts"]


def test_a_build_looks_at_imports_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`--imports` asks no server, and ends with 9 for a module that does not import."""
    monkeypatch.setenv("RECONCILER_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("RECONCILER_S3_ENDPOINT", "http://127.0.0.1:1")
    checks = backend.answer("doctor", "--imports")["checks"]
    assert [check["name"] for check in checks] == ["modules", "plugins", "imports"]
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('half written')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECONCILER_IMPORTS", "broken_module")
    told = backend.reconciler("doctor", "--imports")
    assert told.exit_code == 9
    assert "half written" in told.stdout
    assert backend.reconciler("doctor", "--imports", "--audit").exit_code == 2


def test_waiting_messages_are_counted(backend: Backend) -> None:
    """The broker's line says how many messages wait in each queue."""
    assert check_broker(backend.settings).detail.endswith("messages: steps 0, attempts 0")
    backend.sleep("r")
    assert check_broker(backend.settings).detail.endswith("messages: steps 1, attempts 0")


def test_all_problems_are_told_at_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Settings, S3, broker and imports are each told; a server whose own settings are well is looked at."""
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('half written')")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "COLOUR": "blue",
        "RETENTION": "for ever",
        "S3_ENDPOINT": "http://127.0.0.1:1",
        "BROKER_URL": "redis://127.0.0.1:1/0",
        "IMPORTS": "broken_module,cli_functions",
    }.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    found = problems(backend)
    assert len(found["settings"]) == 2
    assert found["redis"] == []
    assert "cannot be reached" in found["s3"][0]
    assert "RECONCILER_BROKER_URL" in found["broker"][0]
    assert "half written" in found["imports"][0]
    lines = backend.reconciler("doctor").stdout.splitlines()
    assert (
        len([line for line in lines if line.startswith("✗")]) == 8
    )  # and no worker, which is told three times
    assert lines[-1] == "8 problems found."


@pytest.mark.parametrize(
    ("name", "value", "skipped"),
    [
        ("REDIS_URL", "http://127.0.0.1", {"redis", "broker", "workers"}),
        ("S3_BUCKET", "", {"s3"}),
        ("SHARDS", "0", {"redis", "workers"}),
        ("BROKER_URL", "no-url", {"broker", "workers"}),
    ],
)
def test_a_server_of_wrong_settings_is_not_looked_at(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, name: str, value: str, skipped: set[str]
) -> None:
    """What would be looked at by default is not what was meant; the other servers are."""
    backend.store.say_alive(NODE, b"{}", 15)
    monkeypatch.setenv(f"RECONCILER_{name}", value)
    result = backend.reconciler("doctor", "--json")
    assert result.exit_code == 9
    found = states(backend.parsed(result))
    assert found["settings"] == "problem"
    assert {check for check in ("redis", "s3", "broker", "workers") if found[check] == "skipped"} == skipped


def test_secrets_stay_secret(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """No password of any URL is printed, whatever is wrong with it."""
    for name, value in {
        "REDIS_URL": "redis://ann:t0p-s3cret@127.0.0.1:1/0?password=s3cret2",
        "BROKER_URL": "amqp://ann:t0p-s3/cret@127.0.0.1:1//",
        "S3_ENDPOINT": "http://ann:t0p-s3cret@127.0.0.1:1",
    }.items():
        monkeypatch.setenv(f"RECONCILER_{name}", value)
    for args in (("doctor",), ("doctor", "--json"), ("doctor", "--worker", NODE), ("--traceback", "doctor")):
        result = backend.reconciler(*args)
        assert result.exit_code != 0
        assert "t0p" not in result.output
        assert "s3cret" not in result.output


def test_one_worker_is_asked_for(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--worker` exits with 0 for a worker that says it is alive, and only then."""
    assert backend.reconciler("doctor", "--worker", NODE).exit_code == 9
    backend.store.say_alive(NODE, b"{}", 15)
    assert backend.reconciler("doctor", "--worker", NODE).exit_code == 0
    assert backend.answer("doctor", "--worker", NODE) == {"worker": NODE, "alive": True}
    assert backend.reconciler("doctor", "--worker", "steps@*").exit_code == 9
    backend.store.say_alive(NODE, b"", 0)
    gone = backend.reconciler("doctor", "--worker", NODE, "--json")
    assert (gone.exit_code, backend.parsed(gone)["alive"]) == (9, False)
    monkeypatch.setenv("RECONCILER_REDIS_URL", "redis://127.0.0.1:1/0")
    assert backend.reconciler("doctor", "--worker", NODE).exit_code == 7


def test_a_foreign_broker_is_looked_at_too() -> None:
    """A broker of another kind that is down is told as such."""
    settings = Settings(broker_url="amqp://ann:t0p-s3cret@127.0.0.1:1//")
    said = check_broker(settings).problems
    assert "RECONCILER_BROKER_URL" in said[0]
    assert "s3cret" not in said[0]


def test_a_health_check_is_cheap() -> None:
    """`--worker` is asked every few seconds by every container: it loads neither Celery nor boto3."""
    program = "import sys, reconciler.cli.doctor; print({'celery', 'kombu', 'boto3'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
