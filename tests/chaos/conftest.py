"""Shared parts of the chaos tests: one stack per test, and a seed that repeats it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

_CLOCK = Path(__file__).parents[1] / "support" / "skewed_clock.c"


@pytest.fixture
def rng() -> random.Random:
    """Randomness that can be repeated: `CHAOS_SEED=…`; printed, so a failure shows it."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers and workers of their own, with the functions of `chaos_tasks`."""
    with Stack(
        tmp_path / "data", imports=["chaos_tasks"], attempts_concurrency=2, cwd=Path(__file__).parent
    ) as running:
        yield running


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One such stack for all tests that leave it as they found it: its worker processes live through all of them."""
    folder, here = tmp_path_factory.mktemp("shared"), Path(__file__).parent
    with Stack(folder / "data", imports=["chaos_tasks"], attempts_concurrency=2, cwd=here) as running:
        yield running


@pytest.fixture
def client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of the stack, which finds the keys of its S3 server where boto3 looks for them."""
    for name, value in stack.servers.env().items():
        monkeypatch.setenv(name, value)
    return Client.from_settings(Settings.from_env(stack.env()))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that shifts clocks; skipped where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to build the library that shifts the clocks of single processes")
    made = tmp_path_factory.mktemp("shim") / "skewed_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, _CLOCK, "-ldl"], check=True)
    return made
