"""Celery tasks as actions: an application of 20 and more, each by a worker of Celery and durable, ends the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery_calls import CALLS, KILLED, SILENT
from cli_support import ROOT, eventually

from reconciler.api.attempt import Progress
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
HERE = Path(__file__).parent
SHOP = ROOT / "examples" / "django"
NOWHERE = "redis://127.0.0.1:1/0"
"""Broker and backend of the application where it is durable: whoever asks them is refused."""
OWN_WORDS = {"area fails", "unwritable", "overruns"}
"""Calls that fail the same way, and of which the error says more than that of Celery's result."""
ENDS = [
    ("ignores", "succeeded", "None"),
    ("forgets", "succeeded", "None"),
    ("marks", "failed", "reconciler.celery_tasks.calling.TaskMarkedFailed"),
    ("rejects", "failed", "celery.exceptions.Reject"),
    ("unwritable", "failed", "kombu.exceptions.EncodeError"),
    ("overruns", "failed", "RunningTimedOut"),
    ("area fails", "failed", "pydantic_core._pydantic_core.ValidationError"),
]
Told = dict[str, dict[str, Any]]


def _environment(folder: Path, broker: str) -> dict[str, str]:
    folder.mkdir()
    return {
        "SHOP_NOTES": str(folder / "notes"),
        "SHOP_BROKER": broker,
        "SHOP_DATABASE": str(folder / "shop.sqlite3"),
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, SHOP, ROOT))),
    }


def _program(*command: str, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


class Sides:
    """Both ways to run the tasks, side by side on one pair of servers.

    Attributes:
        env: of the durable side.
        plain: what came of each call by a worker of Celery.
        durable: what came of it by ours.
    """

    def __init__(self, servers: EmbeddedServers, folder: Path) -> None:
        plain = _environment(folder / "plain", servers.redis_url.rpartition("/")[0] + "/7")
        self.env = {
            **_environment(folder / "durable", NOWHERE),
            **servers.env(),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "RECONCILER_ATTEMPTS_QUEUE": "pictures",
        }
        own = [
            "-m",
            "celery",
            "-A",
            "celery_app",
            "worker",
            "-P",
            "prefork",
            "-c",
            "1",
            "-Q",
            "celery,pictures",
        ]
        worker = _program(*own, env=plain, log=folder / "worker.log")
        try:
            with Stack(
                folder / "stack",
                imports=["celery_durable", "shop.durable"],
                env=self.env,
                cwd=ROOT,
                servers=servers,
            ):
                programs = [
                    _program(str(HERE / "celery_driver.py"), side, env=env, log=folder / f"{side}.json")
                    for side, env in (("plain", plain), ("durable", self.env))
                ]
                self.order = self._said(str(SHOP / "place_order.py"))
                for program in programs:
                    assert program.wait(120) == 0, [file.read_text() for file in folder.glob("*.json")]
                submit = ["-m", "reconciler.cli", "submit", "shop.add", "--args", '{"x": 5}', "--wait"]
                self.submitted = self._said(*submit)
                self.progress = self._progress(folder / "seen")
        finally:
            worker.terminate()
            worker.wait(20)
        self.plain: Told
        self.durable: Told
        self.plain, self.durable = (
            json.loads((folder / f"{side}.json").read_text()) for side in ("plain", "durable")
        )

    def _progress(self, path: Path) -> tuple[Progress | None, str, Any]:
        """What the record and the command line say while a task runs, and its result."""
        client = Client.from_settings(Settings.from_env({**os.environ, **self.env}))
        arguments = json.dumps({"path": str(path)})
        submitted = self._said(
            "-m", "reconciler.cli", "submit", "shop.reports", "--args", arguments, "--json"
        )
        run = client.run(json.loads(submitted)["run"])
        eventually(lambda: run.progress is not None, 30)
        said = run.progress, self._said("-m", "reconciler.cli", "get", str(run.id))
        path.touch()
        return *said, run.result(timeout=30)

    def _said(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            env={**os.environ, **self.env, "RECONCILER_IMPORTS": "celery_durable"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sides(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """All calls, made once."""
    return Sides(servers, tmp_path_factory.mktemp("sides"))


_VARIES = [
    (re.compile(r"too_often\[[^]]+]"), "too_often[ID]"),  # an id
    (re.compile(r"EncodeError\(.*\)"), "EncodeError()"),  # ours says what to do
]


def _plain(text: str) -> str:
    """Return a text without the parts that must differ."""
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text


@pytest.mark.parametrize("call", [call for call in CALLS if call not in KILLED])
def test_what_a_task_does_is_the_same_either_way(sides: Sides, call: str) -> None:
    """All it, its hooks and the signals did over all its attempts, in order and with their arguments."""
    assert [*map(_plain, sides.durable[call]["notes"])] == [*map(_plain, sides.plain[call]["notes"])]


@pytest.mark.parametrize("call", [call for call in CALLS if call not in {*SILENT, *OWN_WORDS}])
def test_a_task_ends_the_same_either_way(sides: Sides, call: str) -> None:
    """Its result, or class and message of its error."""
    plain, durable = sides.plain[call], sides.durable[call]
    for part in ("state", "value", "message"):
        assert _plain(durable[part]) == _plain(plain[part])


@pytest.mark.parametrize(("call", "state", "value"), ENDS)
def test_every_durable_task_has_an_end(sides: Sides, call: str, state: str, value: str) -> None:
    """Also where Celery's result says nothing for ever, or less than there is to say."""
    durable = sides.durable[call]
    assert (durable["state"], durable["value"]) == (state, value)


def test_the_django_example(sides: Sides) -> None:
    """The task of a Django project, found by autodiscovery, is tried again as its `retry` says, and writes its row."""
    assert sides.order == "shipped by snail\na lamp: shipped by snail at try 3\n"


def test_how_far_it_is_stands_in_the_record(sides: Sides) -> None:
    """While it runs: the last that `update_state` has said, with its time."""
    progress, shown, result = sides.progress
    assert progress is not None
    assert (progress.state, progress.meta) == ("PROGRESS", {"done": 2, "of": 2})
    assert progress.at > 0
    assert 'PROGRESS {"done":2,"of":2}, said ' in shown
    assert result == "seen"


def test_it_can_be_submitted_from_the_shell(sides: Sides) -> None:
    """With its parameters by name, as any function."""
    assert sides.submitted.endswith("\n7\n"), sides.submitted
