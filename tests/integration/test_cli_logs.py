"""`reconciler logs` from another place than the worker's: while the attempt runs, of each attempt, checked by digest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import log_functions as scribe
import pytest
from cli_processes import CLI, environment, read_until, started
from cli_support import eventually

from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
SECRET = "canary-log-0xFEED-half-and-half"


class Site:
    """An installation, and a folder elsewhere from which it is looked at with the settings alone."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.client = Client.from_settings(Settings.from_env(stack.env()))
        scribe.env.client = self.client

    def command(self, run: Run[Any], *options: str) -> list[str]:
        """Return a call of `logs`."""
        return [*CLI, "logs", f"{run.id}", *options]

    def logs(self, run: Run[Any], *options: str, status: int = 0) -> str:
        """What it prints on stdout; with another status, on stderr."""
        done = subprocess.run(
            self.command(run, *options),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    @property
    def env(self) -> dict[str, str]:
        """The variables of the other place: where the servers are, and nothing of the worker's."""
        return environment(**self.stack.servers.env())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all."""
    variables = {
        "RECONCILER_SECRETS": "env",
        "SECRET_SCRIBE_KEY": SECRET,
        "RECONCILER_ATTEMPT_LEASE": "3s",
        "RECONCILER_REQUEUE_DURATION": "1s",
    }
    here = Path(__file__).parent
    folder = tmp_path_factory.mktemp("logs")
    with (
        Stack(
            folder / "stack", imports=["log_functions"], attempts_concurrency=4, env=variables, cwd=here
        ) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in stack.servers.env().items():
            patch.setenv(name, value)
        yield Site(stack, folder)


def test_a_running_attempt_can_be_read(site: Site, tmp_path: Path) -> None:
    """What it has written is there before it ends; what it writes later is there at the end, once."""
    go_on = tmp_path / "go"
    run = scribe.tells.delay(str(go_on))
    eventually(lambda: site.logs(run) == "begin\n", 30)
    assert not run.phase.is_terminal()
    assert json.loads(site.logs(run, "--json"))["log"] == "begin\n"
    go_on.touch()
    run.wait(30)
    assert site.logs(run) == "begin\nend\n"
    assert site.logs(run, "--tail", "1") == "end\n"


def test_it_can_be_followed(site: Site, tmp_path: Path) -> None:
    """`--follow` prints what comes and returns at the end; each line comes once."""
    go_on = tmp_path / "go"
    run = scribe.tells.delay(str(go_on))
    with started(site.command(run, "--follow"), site.folder, site.env) as follower:
        assert read_until(follower, "begin") == "begin\n"
        go_on.touch()
        rest, _ = follower.communicate(timeout=30)
        assert rest == "end\n"
        assert follower.returncode == 0
    assert site.logs(run, "--json", "--follow", status=2)


def test_each_attempt_has_its_log(site: Site, tmp_path: Path) -> None:
    """An earlier attempt can be named, also while a later one runs; one that never was is refused."""
    go_on = tmp_path / "go"
    run = scribe.fails_once.delay(str(go_on))
    with started(site.command(run, "--follow"), site.folder, site.env) as follower:
        said = read_until(follower, "attempt 2 here")
        eventually(lambda: site.logs(run) == "attempt 2 here\n", 30)
        first = site.logs(run, "--attempt", "1")
        assert first.startswith("attempt 1 here\nTraceback")
        assert first.endswith("ValueError: once\n")
        assert "one from 1 to 2" in site.logs(run, "--attempt", "3", status=2)
        assert site.logs(run, "--attempt", "1", "--follow") == first
        go_on.touch()
        said += follower.communicate(timeout=30)[0]
    assert said.count("attempt 1 here") <= 1  # who comes late begins with the second one
    assert said.count("attempt 2 here") == 1


def test_no_half_of_a_secret_is_shown(site: Site, tmp_path: Path) -> None:
    """A value of which the beginning was written is held back until it is known what it becomes."""
    go_on = tmp_path / "go"
    run = scribe.tells_secret.delay(str(go_on))
    eventually(lambda: site.logs(run) == "the key is ", 30)
    go_on.touch()
    run.wait(30)
    assert site.logs(run) == "the key is ** said\n"


def test_the_log_of_a_lost_worker_is_what_was_stored(site: Site, tmp_path: Path) -> None:
    """Killed with its host, an attempt has left what was stored before; the next launch has a log of its own."""
    go_on = tmp_path / "go"
    run = scribe.tells.delay(str(go_on))
    eventually(lambda: site.logs(run) == "begin\n", 30)
    first = site.client.events(run.action)[-1].output_prefix
    site.stack.processes["attempts-1"].kill()
    assert site.client.blobs.get(f"{first}/log.txt") == b"begin\n"
    site.stack.start_workers()
    go_on.touch()
    run.wait(60)
    assert site.logs(run) == "begin\nend\n"
    assert site.client.blobs.get(f"{first}/log.txt") == b"begin\n"


def test_a_log_that_was_changed_is_refused(site: Site, tmp_path: Path) -> None:
    """The record holds its digest, as that of outputs."""
    go_on = tmp_path / "go"
    go_on.touch()
    run = scribe.tells.delay(str(go_on))
    run.wait(30)
    document = json.loads(site.logs(run, "--json"))
    assert document["log"] == "begin\nend\n"
    site.client.blobs.put(document["uri"], b"begin\nendless\n")
    assert "is not what was written" in site.logs(run, status=6)


def test_what_was_taken_over_names_where_its_log_is(site: Site, tmp_path: Path) -> None:
    """A recovered action has no log of its own; the command that it names prints the one there is."""
    broken = tmp_path / "broken"
    broken.touch()
    first = scribe.tells_unless.map([0, 1], broken=str(broken))
    first.wait(60)
    broken.unlink()
    second = first.recover()
    assert second.result(60) == [0, 1]
    where = [*CLI, "logs", f"{second.id}/m0"]
    done = subprocess.run(where, cwd=site.folder, env=site.env, capture_output=True, text=True, check=True)
    named = f"{first.id}@{first.incarnation}/m0"
    assert f"`reconciler logs {named}`" in done.stderr
    told = subprocess.run(
        [*CLI, "logs", named], cwd=site.folder, env=site.env, capture_output=True, text=True, check=True
    )
    assert (done.stdout, told.stdout) == ("", "number 0\n")
