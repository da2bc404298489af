"""Beat while its broker is away: it stays, says each missed send in one line, and goes on when the broker is back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import eventually
from redis_servers import Server, keeping

from reconciler.embedded.ports import LOOPBACK

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


def test_a_missed_send_is_one_line(tmp_path: Path) -> None:
    """No traceback, no list of frames, and no second line for one send; then sweeps are sent again."""
    said = tmp_path / "said.txt"
    with Server(tmp_path, keeping(tmp_path)) as server, said.open("w") as output:
        env = {**os.environ, "RECONCILER_REDIS_URL": f"redis://{LOOPBACK}:{server.port}/0"}
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "worker",
            "beat",
            "--schedule",
            str(tmp_path / "schedule"),
        ]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=output, stderr=output) as beat:
            try:
                eventually(lambda: _queued(server) > 0, 60)
                server.process.kill()
                eventually(lambda: said.read_text().count("beat.not_sent") >= 3, 60)
                assert beat.poll() is None
                server.process.start()
                eventually(server.answers, 60)
                before = _queued(server)
                eventually(lambda: _queued(server) > before, 60)
            finally:
                beat.terminate()
    text = said.read_text()
    assert "Traceback" not in text
    assert "Message Error" not in text
    missed = [line for line in text.splitlines() if "beat.not_sent" in line]
    assert all('again="in ' in line and "task=reconciler.sweep." in line for line in missed)
    assert len(missed) < 30, text


def _queued(server: Server) -> int:
    """Return messages that nobody takes."""
    found = [key for key in server.client.scan_iter("*") if server.client.type(key) == b"list"]
    return sum(int(server.client.llen(key)) for key in found)  # type: ignore[arg-type]  # redis-py says it may be awaited
