"""What others write runs nowhere, on no page of Flower and in no terminal, and what is redacted shows nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import runs_functions as orchard
from cli_support import eventually
from click.testing import CliRunner
from flower_support import Site, browser, needs_chromium, orchard_site

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.event import AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.archive.index import Group, Row, write_rows
from reconciler.cli import main
from reconciler.client import door
from reconciler.core.liveness import WorkerFacts
from reconciler.stores.redis.store import RedisStore

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left")]
PATIENCE = 60
HOSTILE = orchard.HOSTILE + "\u0000" + "W" * 9_600
NAME = "<img src=x onerror=alert(1)>\u202e\u200b\u001b[31m"
"""The same for what has to be short."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("runs")) as found:
        yield found


@needs_chromium
def test_hostile_strings_are_text(site: Site, tmp_path: Path) -> None:
    """In arguments, errors, logs, labels, questions, reasons: none runs, and none breaks the layout.

    Nor in the names of actors, workers, queues and functions, in keys of labels, in warnings, in the archive with its
    domains, and in the address.
    """
    shown = HOSTILE.replace("\u0000", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            door, "check_labels", lambda _: None
        )  # what lies in Redis need not have come through it
        said = orchard.says.submit((HOSTILE,), labels={"evil": shown[:60], NAME + "W" * 90: NAME})
    failed = orchard.fails.delay(shown)
    asks = site.client.condition("evil", prompt=shown[:900], description=shown[:2000])
    named = site.client.submit(
        ActionSpec(task_type=NAME, short_name=NAME, group=NAME), fair_key=NAME, idempotency_key=NAME
    )
    pays = orchard.pays.delay(NAME)
    aborted = orchard.runs.delay(300.0)
    site.client.abort(aborted.action, shown, shown[:200])
    eventually(lambda: all(run.phase.is_terminal() for run in (said, failed, named, aborted)), PATIENCE)
    _tell_hostile(site, shown, failed.action)
    evil = quote(NAME)
    with browser(tmp_path) as page:
        for width in (1440, 400):
            page.resize(width, 900)
            for path in (
                "/runs", "/runs?q=hostile-row", f"/runs?{evil}=1&q={evil}", f"/runs/default/{evil}/hostile-row",
                "/waiting", "/health", f"/runs/{failed.id}",
                *(f"/runs/{one.action}" for one in (said, failed, asks, named, pays, aborted)),
            ):  # fmt: skip
                page.open(site.url + path)
                page.wait_text("onerror=alert(1)") if path != "/runs" or width > 1000 else page.wait_text(
                    "fails-"
                )
                assert page.run("document.documentElement.scrollWidth <= innerWidth"), (path, width)
                assert page.run("document.querySelectorAll('main img, main script').length") == 0
                assert not page.run(r"/[\u202e\u200b\u001b]/.test(document.body.innerText)"), path
        refused = (
            "/hostile-row",
            "/api/runs?name=",
        )  # no run, and no name a run can have: the browser notes both
        page.errors[:] = [one for one in page.errors if not any(part in one for part in refused)]
        for path in ("/tasks", f"/task/{failed.action}/1", "/workers", "/broker"):  # Flower's own
            page.open(site.url + path)
            page.wait("document.querySelector('main, .container-fluid')")
    site.client.store.say_alive(shown[:150], b"", 0)
    asks.abort("enough")
    pays.abort("enough")
    for run in (said, failed, named, pays, asks, aborted):
        for verb in (("get",), ("describe",), ("events",), ("watch",), ("list",)):
            told = _on_a_terminal(site, *verb, str(run.action) if verb != ("list",) else str(run.id))
            assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]", told) is None, (verb, run.id)


def _on_a_terminal(site: Site, *words: str) -> str:
    """What a command writes, less the colours that are ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.stack.env().items():
            patch.setenv(name, value)
        told = CliRunner().invoke(main, words)
    assert isinstance(told.exception, (SystemExit, type(None))), words
    return re.sub(r"\x1b\[[0-9;:]*m", "", told.output)


def _tell_hostile(site: Site, shown: str, action: ActionId) -> None:
    """Say it where workers, the engine and the archive do: what lies in Redis and in S3 is data of others."""
    store, now = site.client.store, site.client.store.now()
    assert isinstance(store, RedisStore)
    facts = WorkerFacts(
        pid=1, host=shown, queues=("attempts", shown[:90]), release=shown, functions=1, troubles=(shown,)
    )
    store.say_alive(shown[:150], msgspec.json.encode(facts), 300)
    store.tell_functions("evil@here", "attempts", {shown.replace(" ", "_"): "1"}, 300_000)
    warnings = (("FailedPluginHandle", f"[WorkerLost] {shown}"), ("CleanupFailed", shown))
    store.record_audit([AuditEntry(id=action, reason=r, action="x", message=m, at=now) for r, m in warnings])
    row = Row(
        project="default", domain=NAME + "W" * 90, run="hostile-row", incarnation="1234567890", created_at=now - 9000,
        ended_at=now - 5000, phase="failed", task=shown, actions=1, groups=(Group(shown, "failed", shown, 1),),
        labels={"evil": shown},
    )  # fmt: skip
    write_rows(site.client.blobs, [row])


@needs_chromium
def test_what_is_redacted_shows_nowhere(site: Site, tmp_path: Path) -> None:
    """Neither inputs nor outputs, in no page, answer, event, log or command, although the function tells all it can."""
    words = "xyzzy plugh frotz"
    good, bad = orchard.whispers.delay(words, False), orchard.whispers.delay(words, True)
    assert good.result(PATIENCE) == {"answer": words[::-1]}
    eventually(lambda: bad.phase is ActionPhase.FAILED, PATIENCE)
    told = []
    for run in (good, bad):
        action = run.action
        for path in (
            f"/runs/{run.id}",
            f"/runs/{run.id}/actions",
            f"/actions/{action}",
            f"/actions/{action}/log",
        ):
            told += [site.ask(f"/reconciler/api{path}")[2].decode()]
        for command in ("get", "describe", "result", "events", "logs", "list"):
            for form in ([], ["--json"]):
                answer = CliRunner().invoke(main, [command, str(run.id), *form], env=site.stack.env())
                told.append(answer.stdout + answer.stderr)
        told.append(site.ask(f"/task/{action}/1")[2].decode())
        assert site.ask(f"/reconciler/api/actions/{action}/inputs")[0] == 400
    assert site.ask(f"/reconciler/api/actions/{good.action}/outputs")[0] == 400
    with browser(tmp_path) as page:
        for run in (good, bad):
            page.open(f"{site.url}/runs/{run.action}")
            page.wait_text("[redacted]", "attempt 1")
            page.click(".rc-attempts .rc-button")
            page.wait_text("heard **")
            told.append(page.text())
    found = "\n".join(told)
    assert "cannot keep **" in found
    assert "replies **" in found
    assert "is redacted" in found
    assert [piece for piece in ("xyzzy", "plugh", "ztorf", "hgulp") if piece in found] == []
