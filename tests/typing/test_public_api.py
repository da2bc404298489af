"""What a type checker tells the users of the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler

ROOT = Path(__file__).parents[2]
PROGRAM = """
from datetime import timedelta

from reconciler import AsyncClient, Client, NonRetryableError, Run, Settings, Task, TaskActionReconciler, TaskEnvironment
from reconciler import RetryStrategy, Timeouts, current_attempt

env = TaskEnvironment("photos")

@env.task(retries=3, timeout=timedelta(minutes=10))
def thumbnail(key: str, width: int = 320) -> str:
    return key * width

@env.task(retries=RetryStrategy(retries=1), timeout=Timeouts(overall=timedelta(hours=1)))
async def count(key: str) -> int:
    return len(key)

@env.task
def bare(key: str) -> float:
    return 1.0

@env.task
async def bare_async(key: str) -> bool:
    return True

@env.task(timeout=30, cache=True, queue=None)
def plain(key: str) -> str:
    return key

reveal_type(bare)                               # Task[[key: str], float]
reveal_type(bare_async.delay("x"))              # Run[bool]
reveal_type(plain.map([]))                      # Run[list[str]]
bare.delay(1)                                   # [arg-type]
reveal_type(thumbnail)                          # Task[[key: str, width: int =], str]
reveal_type(thumbnail.delay("x"))               # Run[str]
reveal_type(thumbnail.delay("x").result())      # str
reveal_type(thumbnail("x", width=640))          # str
reveal_type(thumbnail.map(["x"]))               # Run[list[str]]
reveal_type(thumbnail.map(["x"]).result())      # list[str]
reveal_type(count.delay("x"))                   # Run[int]
reveal_type(count.map(["x"]))                   # Run[list[int]]
reveal_type(Client.from_settings())             # Client
reveal_type(Client.from_settings().condition("x"))  # Run[bool]
reveal_type(Client.from_settings().condition("x", "float").result())  # float
Client.from_settings().condition("x", "date")   # [call-overload]
reveal_type(Client.from_settings().run("r"))    # Run[Any]
reveal_type(Client.from_settings().run("r", thumbnail))  # Run[str]

async def program() -> None:
    reveal_type(await thumbnail.delay("x"))         # str
    reveal_type(await thumbnail.map(["x"]))         # list[str]
    reveal_type(await thumbnail.aio.delay("x"))     # Run[str]
    reveal_type(await thumbnail.aio.map(["x"]))     # Run[list[str]]
    reveal_type(await count.delay("x").aio.result(timeout=1))  # int
    reveal_type(await AsyncClient.from_settings().run("r", count))  # Run[int]
    reveal_type([event.sequence async for event in count.delay("x").watch()])  # list[int]
    await thumbnail.aio.delay(1)                    # [arg-type]

thumbnail.delay(1)                              # [arg-type]
thumbnail.delay("x", width="wide")              # [arg-type]
thumbnail.delay("x", height=1)                  # [call-arg]
thumbnail.delay()                               # [call-arg]
count.delay(1)                                  # [arg-type]
thumbnail.delay("x").result().nothing           # [attr-defined]
env.task(retries="three")                       # [call-overload]
"""


def told(tmp_path: Path) -> dict[int, str]:
    """Line number → what mypy says about that line of the program."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(program)]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # 2: it could not check at all
    # From its cache, mypy says the folder of an earlier run.
    lines = re.findall(r"^.*program\.py:(\d+): (?:error|note): (.*)$", done.stdout, re.MULTILINE)
    assert lines, done.stdout
    return {int(number): text.replace("builtins.", "") for number, text in reversed(lines)}


def test_calls_are_checked_and_results_have_types(tmp_path: Path) -> None:
    """`delay`, `map` and `result` have the types of the function; wrong arguments are reported, nothing else."""
    wanted = {
        number: line.partition("# ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), start=1)
        if "# " in line
    }
    said = told(tmp_path)
    assert said.keys() == wanted.keys()
    for number, expected in wanted.items():
        if expected.startswith("["):
            assert said[number].endswith(expected)
        else:
            # full names inside, as reconciler.client.run.Run[str]
            assert re.sub(r"\w+\.(?=\w)", "", said[number]).startswith(f'Revealed type is "{expected}"')


def test_public_names_are_loaded_on_first_use() -> None:
    """`import reconciler` loads no client library and no module of its own; each public name can be had."""
    probe = "import sys, reconciler; print([m for m in sys.modules if m.partition('.')[0] in {names}])"
    names = "{'reconciler', 'redis', 'boto3', 'celery', 'structlog', 'msgspec'}"
    command = [sys.executable, "-c", probe.replace("{names}", names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['reconciler']"
    assert all(getattr(reconciler, name).__name__ == name for name in reconciler.__all__)
    assert set(reconciler.__all__) <= set(dir(reconciler))
    with pytest.raises(AttributeError, match="no attribute 'thumbnail'"):
        _ = reconciler.thumbnail
