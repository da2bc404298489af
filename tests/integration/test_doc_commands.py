"""Every command of the README and the documents is typed here as it is written, or the reason why not is given.

What a reader puts in is put in here, too: a run's name for RUN, a folder for one of the system. Nothing else is changed.
"""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import eventually
from doc_support import FENCE, PAGES, SHELLS, Terminal, commands, of_nobody, says, without_comment, written
from webhook_support import OK, receiver
from webhook_support import says as answering

from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
ROOT = PAGES[0].parent

DEV = ".venv/bin/reconciler dev --app examples/01_first_action.py"
ENV = ". .reconciler/dev/env"
FIRST = ".venv/bin/python examples/01_first_action.py"
KILL = "kill -9 $(cat .reconciler/dev/*-1.pid)"
WATCH = ".venv/bin/reconciler watch thumbnail-7f3k2m4a"
SUBMIT = """reconciler submit photos.thumbnail --app examples/01_first_action.py --args '{"key": "cats/1.jpg"}' --wait"""
BY_NAME = "reconciler submit photos.thumbnail key=cats/1.jpg width=640 --wait"
LOOKS = [f"reconciler {verb} RUN" for verb in ("get", "describe", "watch", "events", "result")]
LOOKS += ["reconciler logs RUN --follow"]
ABORT = 'reconciler abort RUN --reason "wrong bucket"'
CELERY = [
    "celery -A worker worker -n steps@%h -Q steps -P threads -c 8",
    "celery -A worker worker -n attempts@%h -Q attempts -P prefork -c 4",
    "celery -A worker beat",
    "celery -A worker flower",
]
WORKERS = [
    "celery -A worker worker -Q steps -P threads -c 8 -n steps@%h --without-gossip --without-mingle",
    (
        "REMAP_SIGTERM=SIGQUIT "
        "celery -A worker worker -Q attempts -P prefork -c 4 -n attempts@%h --without-gossip --without-mingle"
    ),
    "celery -A worker beat",
]
ASKED = ["reconciler list RUN --phase paused", "reconciler signal RUN true"]
TOKEN = "reconciler signal --token @token.txt true"
SECRET = [
    "(umask 077; openssl rand -hex 32 > /etc/reconciler/callback-secret)",
    "export RECONCILER_CALLBACK_SECRET_FILE=/etc/reconciler/callback-secret",
]
TURNS = [
    "reconciler prioritize RUN 9",
    "reconciler queue",
    "reconciler queue limit attempts 100000",
    "reconciler queue move attempts spare",
    "reconciler queue pause attempts",
    "reconciler queue resume attempts",
]
AGAIN = [
    "reconciler rerun RUN",
    """reconciler fork RUN --input 'a0={"width": 64}'""",
    "reconciler fork RUN --again a0",
]
RECOVER = "reconciler recover RUN"
BULK = {
    "reconciler bulk recover --task photos.thumbnail --code ValueError --dry-run": "0 runs with 0 actions",
    "reconciler bulk recover --phase aborted --bulk after-outage": "after-outage: recover of 1 run: 1 made",
    "reconciler bulk resume after-outage": "1 made",
    'reconciler bulk abort --name nightly- --reason "wrong bucket"': "0 runs",
    "reconciler bulk list": "after-outage",
}
"""Each with what is said of it."""
HISTORY = {
    "reconciler history delete RUN --dry-run": "would be deleted at once, 1 of them not archived yet",
    'reconciler history delete RUN --reason "the customer asked" --yes': "being deleted: the collector does the rest",
    'reconciler history delete --all --project acme --reason "the contract ended" --yes': "0 runs with 0 actions",
    "reconciler history deleted": "the customer asked",
}
"""As above."""
TYPED = {DEV, ENV, FIRST, KILL, WATCH, SUBMIT, BY_NAME, "reconciler list", *LOOKS, ABORT, "reconciler doctor"}
TYPED |= {
    "reconciler top",
    RECOVER,
    *AGAIN,
    *BULK,
    *HISTORY,
    *TURNS,
    *CELERY,
    *WORKERS,
    *ASKED,
    TOKEN,
    *SECRET,
}

STORIES = ".venv/bin/python -m tests.simulation.run --seeds 10000"
THEME = ".venv/bin/python -m tests.simulation.run --seeds 300 --theme IMPATIENT"
OTEL = ("pip install 'celery-reconciler[otel]'", "export OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318")
OWN = (
    "python3 -m venv .venv",
    ".venv/bin/pip install 'celery-reconciler[embedded]'",
    ".venv/bin/reconciler dev --app photos.py",
)
SKIPPED = dict.fromkeys(
    (STORIES, THEME), "minutes of stories, or an hour; a run of three is typed below"
) | dict.fromkeys(OTEL, "the extra is installed here; test_traces.py exports to a collector of its own")
SKIPPED |= dict.fromkeys(OWN, "an index is not reached from here; the first story is the same in a clone")
"""Commands that are not typed, each with the reason. Those of `make` are rehearsed: they would run this test in itself."""


def test_no_command_is_overlooked() -> None:
    """A command that is written is typed, rehearsed or skipped with a reason; and one that is typed is written."""
    every = {line for lines in written().values() for line in lines}
    makes = {line for line in every if "make" in line.split()}
    assert every - makes - SKIPPED.keys() == TYPED
    assert every >= SKIPPED.keys()
    assert len(makes) > 5


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_are_written_where_they_are_found(page: Path) -> None:
    """Blocks of a shell are `console` blocks, and each of their commands stands behind a `$`."""
    text = page.read_text()
    assert SHELLS & {language for language, _ in FENCE.findall(text)} == set()
    for language, block in FENCE.findall(text):
        if language == "console":
            assert block.startswith("$ ")


@pytest.mark.parametrize(
    "line", sorted({line for lines in written().values() for line in lines if "make" in line.split()})
)
def test_make_knows_what_is_asked_of_it(line: str) -> None:
    """Each call of `make` has a target with these variables; what the targets do, the other tests and CI show."""
    rehearsed = re.sub(r"\bmake\b", "make --dry-run", line, count=1)
    done = subprocess.run(["bash", "-c", rehearsed], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_simulator_is_called_as_it_is_written() -> None:
    """But for the number of stories."""
    short = STORIES.replace("10000", "3").replace(".venv/bin/", "")
    done = subprocess.run(
        ["bash", "-c", short], cwd=ROOT, env=of_nobody(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The secret that the documents' commands make, in a folder in place of the system's; the variables it is known by."""
    folder = tmp_path_factory.mktemp("etc")
    terminal = Terminal(folder, {}, {"/etc/reconciler": str(folder)})
    said = terminal.type(*SECRET, 'echo "$RECONCILER_CALLBACK_SECRET_FILE"')
    path = Path(said.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().strip()) == 64
    return {"RECONCILER_CALLBACK_SECRET_FILE": str(path), "RECONCILER_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def clone(
    tmp_path_factory: pytest.TempPathFactory, secret: dict[str, str]
) -> Iterator[tuple[Terminal, Path]]:
    """A second terminal beside one in which `dev` runs, and what that one shows."""
    folder = tmp_path_factory.mktemp("clone")
    first = Terminal(folder, secret)
    with first.running(DEV) as said:
        says(said[DEV], "Ctrl-C ends all")
        yield Terminal(folder, secret), said[DEV]


def test_the_first_action(clone: tuple[Terminal, Path]) -> None:
    """It prints what the README says it prints, but for the random part of the run's name."""
    said = clone[0].type(ENV, FIRST)
    [shown] = re.findall(
        rf"^\$ {re.escape(FIRST)}\n((?:[^`$].*\n)+)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert re.sub(r"thumbnail-\w{8}", "X", said) == re.sub(r"thumbnail-\w{8}", "X", shown)


def test_now_break_it(clone: tuple[Terminal, Path]) -> None:
    """Both workers die and come back, nobody else does; the run can be watched to its end."""
    terminal, dev = clone
    before = dev.read_text()
    run = terminal.type(ENV, FIRST).split()[0]
    terminal.put["thumbnail-7f3k2m4a"] = run
    terminal.type(KILL)
    for name in ("steps-1", "attempts-1"):
        says(dev, f"{name} was killed by SIGKILL")
        eventually(lambda: f"{name} runs again." in dev.read_text()[len(before) :], 60)  # noqa: B023  # called at once
    assert not re.search("(valkey|s3|beat) was killed", dev.read_text())
    assert "succeeded" in terminal.type(ENV, WATCH)


def test_use(clone: tuple[Terminal, Path]) -> None:
    """Submitted at the command line, a run is looked at in every way, and one that waits is aborted."""
    terminal, _ = clone
    assert "thumbs/320/cats/1.jpg" in terminal.type(ENV, SUBMIT)
    assert "thumbs/640/cats/1.jpg" in terminal.type(ENV, "unset RECONCILER_IMPORTS", BY_NAME)
    listed = terminal.type(ENV, "reconciler list")
    run = re.findall(r"\S+/\S+/thumbnail-\S+", listed)[0]
    terminal.put["RUN"] = run
    for look in LOOKS:
        said = terminal.type(ENV, look)
        assert said or "logs" in look  # it wrote nothing
    for again in AGAIN:
        assert f"was made of {run}" in terminal.type(ENV, again)
    terminal.put["RUN"] = asked(terminal)
    for turn in TURNS:
        assert terminal.type(ENV, turn)
    assert "is being aborted" in terminal.type(ENV, ABORT, answer="y\n")
    eventually(lambda: "aborted" in terminal.type(ENV, "reconciler get RUN"))
    assert "0 actions are taken over" in terminal.type(ENV, RECOVER)
    for command, told in {**BULK, **HISTORY}.items():
        assert told in terminal.type(ENV, command, answer="y\n")
    assert "All is well" in terminal.type(ENV, "reconciler doctor")
    assert "workers live" in terminal.type(ENV, "reconciler top")


def test_a_condition_is_answered(clone: tuple[Terminal, Path]) -> None:
    """By the name of the run."""
    terminal, _ = clone
    terminal.put["RUN"] = asked(terminal)
    wait, signal = ASKED
    eventually(lambda: "paused" in terminal.type(ENV, wait).partition("\n")[2])
    assert "is signalled" in terminal.type(ENV, signal)


def test_a_token_answers(clone: tuple[Terminal, Path]) -> None:
    """Whoever was told by webhook answers with the token alone."""
    terminal, _ = clone
    with receiver(answering(OK)) as there:
        asked(terminal, f', webhook="http://127.0.0.1:{there.port}/ask"')
        eventually(lambda: there.requests)
        token = re.search(rb'"token":\s*"([^"]+)"', there.requests[0][1])
        assert token
        (terminal.folder / "token.txt").write_bytes(token[1])
        assert "is signalled" in terminal.type(ENV, TOKEN)


def asked(terminal: Terminal, more: str = "") -> str:
    """Ask a question that nobody has answered yet, and return its run."""
    ask = f'from reconciler.client import Client; print(Client.from_settings().condition("ship", "bool"{more}).id)'
    return terminal.type(ENV, f".venv/bin/python -c '{ask}'").strip()


@pytest.mark.parametrize(("page", "lines"), [("README.md", CELERY), ("docs/operations.md", WORKERS)])
def test_the_celery_way(tmp_path: Path, page: str, lines: list[str]) -> None:
    """These processes are an installation: a function runs, beat ticks, and Flower shows the workers."""
    assert [line for line in commands(ROOT / page) if "celery -A" in line] == lines
    port = pick_ports(1)[0]
    with EmbeddedServers(tmp_path / "servers") as servers:
        env = servers.env() | {"RECONCILER_IMPORTS": "examples", "FLOWER_PORT": str(port)}
        terminal = Terminal(tmp_path, env)
        with terminal.running(*lines) as said:
            assert terminal.type(FIRST).endswith("thumbs/640/cats/1.jpg\n")
            eventually(lambda: list(tmp_path.glob("celerybeat-schedule*")), 60)
            assert "beat v5" in said["celery -A worker beat"].read_text()
            if "celery -A worker flower" in lines:
                eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthcheck"), 60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # ours
            return bool(answer.status == 200)
    except OSError:
        return False


def test_remarks_are_no_part_of_a_command() -> None:
    """What stands behind a `#` is for people; a `#` within a word is not a remark."""
    assert without_comment("reconciler list    # the runs") == "reconciler list"
    assert without_comment("echo a#b") == "echo a#b"
