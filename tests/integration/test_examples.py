"""The examples run as they are, in their order, and say what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.embedded.stack import Stack

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
SAID = {
    "01_first_action": r"default/development/thumbnail-\w{8} queued\nthumbs/640/cats/1.jpg\n",
    "02_map": r"-2: \S+NonRetryableError: -2 has no square root\n-1: .*\n0: 0.000\n(.*\n){8}9: 3.000\n",
    "03_async": r"(\d+ (open|closed)\n){5}",
    "04_retries_and_errors": r"answered at attempt 3\n(  attempt \d \w+\n)*  attempt 3 succeeded\n"
    r".*unlucky-\w+ failed: ConnectionError: nobody answered attempt 4\nthe log of attempt 4, .*\n"
    r"this line goes to the log of attempt 4\nTraceback (?s:.*)\nConnectionError: nobody answered attempt 4\n\n"
    r".*charge-\w+ failed: \S+NonRetryableError: 'none' is no card number\nthe log of attempt 1, .*\n"
    r"Traceback (?s:.*)NonRetryableError: 'none' is no card number\n\n",
    "05_timeouts_and_abort": r"timed out: .*longer than 1 s\n(  queued\n)+(  running\n)+abort: .*REQUESTED\n"
    r"(  running\n)*  aborted\naborted: .*we have seen enough\n",
    "06_plain_client": r"(  queued\n)+(  running\n)+  succeeded\nthe same run: True\n"
    r"action \S+ exists with another spec; these fields differ: inputs.*\nsucceeded\n",
    "07_remote_service": r"42\nSumFailed\nattempt 1 succeeded: queued succeeded\n",
}
"""What each example prints, as a regular expression."""
PLUGINS = {"RECONCILER_PLUGINS": "examples.07_remote_service"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One backend for all examples; its workers know the package `examples`, as those of docker-compose.yml."""
    with Stack(tmp_path_factory.mktemp("examples"), imports=["examples"], env=PLUGINS, cwd=ROOT) as running:
        yield running


def test_no_example_is_forgotten() -> None:
    """Each numbered file is run below."""
    assert sorted(SAID) == sorted(path.stem for path in (ROOT / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("example", SAID)
def test_example_says_what_it_promises(stack: Stack, example: str) -> None:
    """The example, started as a script, succeeds and prints what it is there to show."""
    done = subprocess.run(
        [sys.executable, f"examples/{example}.py"],
        cwd=ROOT,
        env={**os.environ, **stack.servers.env(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(SAID[example], done.stdout), done.stdout
