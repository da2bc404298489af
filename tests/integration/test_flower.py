"""Stock Flower beside our workers: every launch is a row under its function's name, which says how the function ended."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import flower_functions as garden
import pytest
from cli_support import eventually
from flower_functions import env

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import ActionFailed, ActionTimedOut
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.broker.conf import build_app
from reconciler.cli.standing import health_document
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
SECRET = "canary-flower-0xBEE"
PATIENCE = 60.0


class Garden:
    """An installation with Flower, and what it shows."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.client = Client.from_settings(Settings.from_env(stack.env()))
        env.client = self.client

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return all rows by their id, as Flower's API gives them."""
        with urllib.request.urlopen(f"{self.stack.flower_url}/api/tasks?limit=1000", timeout=20) as answer:  # noqa: S310  # ours
            return dict(json.load(answer))

    def row(self, action: ActionId, launch: str, state: str) -> dict[str, Any]:
        """Return the row of a launch once it shows a state."""
        name = f"{action}/{launch}"
        eventually(lambda: self.rows().get(name, {}).get("state") == state, PATIENCE)
        return dict(self.rows()[name])

    def hears(self) -> None:
        """Wait until Flower shows how calls end: it begins to listen some time after its start, and workers look in turn.

        A worker of steps sends events of tasks once Flower has asked for them, 5 s after its start: nobody waits for that.
        """
        eventually(lambda: self._shown(garden.returns.delay(1)), PATIENCE)
        control = build_app(Settings.from_env(self.stack.env())).control
        eventually(lambda: len(control.enable_events(reply=True, timeout=20, limit=2) or ()) == 2, PATIENCE)

    def _shown(self, run: Run) -> bool:
        """Tell whether Flower shows the row of a call soon after its end."""
        assert run.result(PATIENCE) == 2
        with suppress(AssertionError):
            eventually(lambda: f"{run.action}/1" in self.rows(), 3)
            return True
        return False

    def started(self, run: Run) -> ActionId:
        """Return a call that Flower shows at STARTED."""
        self.row(run.action, "1", "STARTED")
        return run.action

    def page(self, path: str) -> str:
        """Return the text a browser shows of a page, after its scripts ran."""
        browser = shutil.which("chromium")
        assert browser
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.folder / 'browser'}",
                "--virtual-time-budget=8000", "--dump-dom", f"{self.stack.flower_url}/{path}",
            ],
            capture_output=True,
            check=True,
            timeout=90,
            text=True,
        )  # fmt: skip
        return html.unescape(re.sub(r"<[^>]*>", " ", done.stdout))


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garden]:
    """One for all: it takes a while to start."""
    folder = tmp_path_factory.mktemp("flower")
    variables = {
        "FLOWER_UNAUTHENTICATED_API": "true",
        "RECONCILER_ATTEMPT_LEASE": "3s",
        "RECONCILER_ABORT_GRACE": "1s",
        "RECONCILER_REQUEUE_DURATION": "1s",
        "RECONCILER_SECRETS": "env",
        "SECRET_FLOWER_BIRD": SECRET,
    }
    here = Path(__file__).parent
    with Stack(
        folder, imports=["flower_functions"], flower=True, attempts_concurrency=4, env=variables, cwd=here
    ) as stack:
        garden_ = Garden(stack, folder)
        eventually(lambda: len(_workers(stack)) == 2, PATIENCE)
        garden_.hears()
        yield garden_


def _workers(stack: Stack) -> dict[str, Any]:
    with urllib.request.urlopen(f"{stack.flower_url}/api/workers?refresh=1", timeout=30) as answer:  # noqa: S310  # ours
        return dict(json.load(answer))


def test_what_returned_is_a_success_under_its_own_name(flower: Garden) -> None:
    """The row names the function, and where its outputs lie."""
    run = garden.returns.delay(1)
    assert run.result(PATIENCE) == 2
    row = flower.row(run.action, "1", "SUCCESS")
    assert row["name"] == "garden.returns"
    assert row["result"].startswith("s3://")


@pytest.mark.parametrize(
    ("task", "args", "text"),
    [
        (garden.raises, ("no water",), "[ValueError] no water"),
        (garden.refuses, (), "never again"),
        (garden.too_long, (), "[RunningTimedOut]"),
        (garden.too_late, (), "[DeadlineExceeded]"),
        (garden.exits, (), "[ExitedPrematurely]"),
        (garden.crashes, (), "[Crashed]"),
        (garden.leaves, (), "4"),
        (garden.answers_nonsense, (), "[InvalidResult]"),
        (garden.raises_group, (), "two at once"),
        (garden.awaits, (), "[LookupError] nobody came"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_failed_is_a_failure_that_says_why(
    flower: Garden, task: Any, args: tuple[object, ...], text: str
) -> None:
    """Code and message of the error are in the row; nothing that did not return is a success."""
    run = task.delay(*args)
    with pytest.raises((ActionFailed, ActionTimedOut)):
        run.result(PATIENCE)
    row = flower.row(run.action, "1", "FAILURE")
    assert text in row["exception"]
    assert row["name"] == task.name


def test_each_attempt_has_its_row(flower: Garden) -> None:
    """An attempt that failed stays a failure when the next one succeeds."""
    run = garden.raises_once.delay()
    assert run.result(PATIENCE) == 2
    assert "once is enough" in flower.row(run.action, "1", "FAILURE")["exception"]
    assert flower.row(run.action, "2", "SUCCESS")["name"] == "garden.raises_once"


def test_what_was_killed_is_a_failure_and_its_next_launch_a_row_of_its_own(flower: Garden) -> None:
    """The platform's failures are shown, too, though the action succeeds in the end."""
    run = garden.killed_once.delay()
    assert run.result(PATIENCE) == 3
    assert "[Interrupted]" in flower.row(run.action, "1", "FAILURE")["exception"]
    assert flower.row(run.action, "1-1", "SUCCESS")["name"] == "garden.killed_once"


def test_each_of_a_group_has_its_row(flower: Garden) -> None:
    """A group has none of its own: no worker runs it. Its members end each for itself."""
    run = garden.raises.map(["dry", "frost"])
    with pytest.raises(ActionFailed):
        run.result(PATIENCE)
    for index, why in enumerate(("dry", "frost")):
        assert why in flower.row(run.id.action(f"m{index}"), "1", "FAILURE")["exception"]
    assert f"{run.action}/1" not in flower.rows()


def test_what_was_cached_has_no_row(flower: Garden) -> None:
    """Nothing ran: the first call has a row, the second one none."""
    first, second = garden.cached.delay(5), None
    assert first.result(PATIENCE) == 6
    flower.row(first.action, "1", "SUCCESS")
    second = garden.cached.delay(5)
    assert second.result(PATIENCE) == 6
    assert f"{second.action}/1" not in flower.rows()


def test_what_was_aborted_is_revoked_with_the_reason(flower: Garden) -> None:
    """Also in a row that had begun."""
    run = garden.waits.delay()
    flower.started(run)
    run.abort("wrong bucket")
    assert "wrong bucket" in flower.row(run.action, "1", "REVOKED")["exception"]


def test_an_unknown_function_is_no_success(flower: Garden) -> None:
    """It is handed back, and offered to others: RETRY, with what is missing."""
    template = encode_template(TaskTemplate(type="function", custom={"function": "garden.weeds"}))
    run = flower.client.submit(ActionSpec(task_type="function", task_template=template, inputs=b"{}"))
    row = flower.row(run.action, "1", "RETRY")
    assert row["name"] == "garden.weeds"
    assert "garden.weeds" in row["exception"]
    run.abort("enough")


def test_secrets_are_masked(flower: Garden) -> None:
    """What a function says of its secrets reaches no row."""
    run = garden.tells_secret.delay()
    with pytest.raises(ActionFailed):
        run.result(PATIENCE)
    assert "the bird sings" in flower.row(run.action, "1", "FAILURE")["exception"]
    assert SECRET not in json.dumps(flower.rows())


def test_a_browser_shows_the_same(flower: Garden) -> None:
    """In Flower's own pages, by Debian's Chromium."""
    if not shutil.which("chromium"):
        pytest.skip("no Chromium here; apt-get install chromium")
    run = garden.raises.delay("seen by people")
    with pytest.raises(ActionFailed):
        run.result(PATIENCE)
    flower.row(run.action, "1", "FAILURE")
    done = garden.returns.delay(1)
    done.result(PATIENCE)
    flower.row(done.action, "1", "SUCCESS")
    listed = flower.page("tasks")
    for name, row in flower.rows().items():
        assert name.startswith("default/development/")
        assert row["name"].startswith("garden."), row
        assert row["state"] in {"SUCCESS", "FAILURE", "REVOKED", "RETRY", "STARTED", "RECEIVED"}
    assert "garden.returns" in listed
    assert "garden.raises" in listed
    assert "reconciler.run_attempt" not in listed
    page = flower.page("task/" + urllib.parse.quote(f"{run.action}/1"))
    for text in ("garden.raises", "FAILURE", "[ValueError] seen by people"):
        assert text in page
    assert "reconciler.run_attempts" not in page


def test_a_lost_worker_leaves_no_row_at_started(flower: Garden) -> None:
    """The launch it had begun has failed; the next one is a row of its own. Last here: it kills the workers.

    Flower was started meanwhile, and has not heard how the launch began: the row has its name all the same.
    """
    run = garden.waits.delay()
    flower.started(run)
    flower.stack.restart("flower")
    flower.hears()
    flower.stack.processes["attempts-1"].kill()
    flower.stack.start_workers()
    lost = flower.row(run.action, "1", "FAILURE")
    assert "[WorkerLost]" in lost["exception"]
    assert (lost["name"], lost["args"]) == ("garden.waits", f"{run.id.run}/a0 attempt 1")
    flower.row(run.action, "1-1", "STARTED")
    told = [reason.message for event in flower.client.events(run.action) for reason in event.cluster_events]
    assert any("[WorkerLost]" in text and "1-1" in text for text in told)
    noted = health_document(flower.client)["lost"]
    assert (noted["count"], noted["newest"][0]["action"]) == (1, str(run.action))
    run.abort("enough")
    flower.row(run.action, "1-1", "REVOKED")
