"""`reconciler demo`, as a user meets it who has just come."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_processes import CLI, environment, family, interrupt, left_of, read_until, started

pytestmark = pytest.mark.servers

LONG = """
from reconciler.cli import main, survey
files = survey.source_files()
survey.source_files = lambda limit=None: files * 4
main(["demo"])
"""
"""A demo that does not end by itself while a test looks at it."""

WITH_A_BAD_FILE = """
import sys
from pathlib import Path
from reconciler.cli import main, survey
survey.library = lambda: Path(sys.argv[1])
main(["demo", "--crash"])
"""
"""A demo of another library."""

OF_A_LIBRARY = """
import sys
from pathlib import Path
from reconciler.cli import main, survey
survey.library = lambda: Path(sys.argv[1])
main(["demo", *sys.argv[2:]])
"""
"""A demo of another library, with options."""

ELSEWHERE = {
    "RECONCILER_REDIS_URL": "redis://127.0.0.1:1/0",
    "RECONCILER_BROKER_URL": "redis://127.0.0.1:1/0",
    "RECONCILER_NO_SUCH_SETTING": "1",
    "AWS_SESSION_TOKEN": "of another account",
    "AWS_PROFILE": "of-another-account",
}
"""What a shell may hold that is used for other things."""


def test_a_killed_demo_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    """`kill -9` ends everything with the demo; the next works at once, whatever is in folder and environment."""
    for generic in ("worker.py", "beat_schedule.py"):
        (tmp_path / generic).write_text("raise RuntimeError('a module of somebody else')")
    with started([sys.executable, "-c", LONG], tmp_path, environment(**ELSEWHERE)) as first:
        read_until(first, "stored")
        below = family(first)
        assert len(below) >= 2 * 5 + 2  # five programs with their guardians, and the pool's children
        first.kill()
        assert left_of(below) == []
    second = subprocess.run(
        [*CLI, "demo", "--limit", "40"],
        cwd=tmp_path,
        env=environment(**ELSEWHERE),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stderr == ""
    said = second.stdout
    assert "did not come to its end, so this one starts over" in said
    assert "from the cache:" not in said
    assert re.search(r"surveys the Python standard library: 40 files.*Valkey 9.*SeaweedFS 4.*Celery 5", said)
    assert re.search(r"Run default/development/survey-\w+: stored 40 actions in [\d.]+ s", said)
    assert len(re.findall(r"of 40 actions have ended", said)) <= 4  # no bar where there is no terminal
    assert "\x1b" not in said
    assert re.search(r"package +files +lines +functions +classes +longest function +lines", said)
    assert re.search(r"40 of 40 actions succeeded: stored in .* joined in .* run in .* a second", said)
    assert re.search(r'is in S3:\n  s3://reconciler/.*/outputs.pb\n  {"o0":{"lines":\d+,"functions"', said)
    assert "demo --crash" in said


def test_ctrl_c_ends_the_demo_and_its_folder_is_guarded(tmp_path: Path) -> None:
    """Of two demos in one folder the second is told who is there; Ctrl-C leaves no process of the first."""
    with started([sys.executable, "-c", LONG], tmp_path, environment()) as first:
        read_until(first, "stored")
        second = subprocess.run(
            [*CLI, "demo"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"in use by the embedded stack of process {first.pid};" in second.stderr
        assert "--data" in second.stderr
        assert "Traceback" not in second.stderr
        below = family(first)
        code, said = interrupt(first)
        assert code == 130
        assert said.endswith("Interrupted. All servers and workers have ended.\n")
        assert left_of(below) == []


def test_a_crash_costs_nothing_and_a_failure_is_told(tmp_path: Path) -> None:
    """Actions survive the kill of their worker; one that fails is named with its error, and the demo fails."""
    library = tmp_path / "library"
    library.mkdir()
    for number in range(60):
        (library / f"good{number:02}.py").write_text("def answer():\n    return 42\n" * 200)
    (library / "bad.py").write_text("def answer(:\n")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WITH_A_BAD_FILE, str(library)],
        cwd=tmp_path,
        env=environment(TERM="xterm", COLUMNS="100"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = read_terminal(ours)
    assert process.returncode == 3, said
    assert "61/61" in said  # the bar
    assert re.search(r"attempts-1 was killed by SIGKILL; it is started again now", said)
    assert "attempts-1 runs again." in said
    assert "60 of 61 actions succeeded" in said
    assert re.search(r"not succeeded: default/development/survey-\w+/m0 \[SyntaxError\] .*bad.py", said)
    assert "What to try next" not in said


def read_terminal(terminal: int) -> str:
    """Return all that is written to the other end of a pseudo terminal, until nobody holds that any more."""
    data = b""
    while True:
        try:
            data += os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            os.close(terminal)
            return data.decode()


def test_the_second_demo_is_served_from_the_cache(tmp_path: Path) -> None:
    """Nothing runs twice for a file that did not change; data of another version, or unwanted, are thrown away."""
    library = tmp_path / "library"
    library.mkdir()
    for number in range(12):
        (library / f"m{number:02}.py").write_text(f"def answer():\n    return {number}\n")

    def demo(*options: str) -> str:
        command = [sys.executable, "-c", OF_A_LIBRARY, str(library), *options]
        env = environment()
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "12 of 12 actions succeeded" in done.stdout
        return done.stdout

    assert "served from the cache" not in demo()
    assert "12 of 12 served from the cache" in demo()
    (library / "m03.py").write_text("def changed():\n    return 3\n")
    assert "11 of 12 served from the cache" in demo()
    (tmp_path / ".reconciler/demo/finished.txt").write_text("celery-reconciler 0.0.1")
    older = demo()
    assert "are of another version, so this demo starts over" in older
    assert "served from the cache" not in older
    fresh = demo("--fresh")
    assert "starts over" not in fresh
    assert "served from the cache" not in fresh


def test_folders_with_other_files_are_left_alone(tmp_path: Path) -> None:
    """A demo empties only what a demo has made."""
    precious = tmp_path / "logs" / "precious.log"
    precious.parent.mkdir()
    precious.write_text("kept")
    command = [*CLI, "demo", "--data", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "holds files the demo did not make" in done.stderr
    assert precious.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [precious.parent]
