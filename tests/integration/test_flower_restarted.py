"""Runs in Flower after everything was restarted and Redis has lost all it held."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import redis
import runs_functions as orchard
from cli_support import eventually
from flower_support import Site, browser, needs_chromium, orchard_site

from reconciler import Settings
from reconciler.api.action import RunId
from reconciler.sweeps.collect import collect

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left")]
PATIENCE = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("runs")) as found:
        yield found


@pytest.mark.rule("R42")
@needs_chromium
def test_all_is_there_after_a_restart_of_everything(site: Site, tmp_path: Path) -> None:
    """Also when Redis has lost all it held: then the archive tells."""
    run = orchard.picks.submit((7,), run="pears-of-old", labels={"team": "red"})
    assert run.result(PATIENCE) == 7 * 10**18
    settings = msgspec.structs.replace(site.client.settings, retention=timedelta(0))
    eventually(lambda: _collected(site, settings, run.id), PATIENCE)

    def listed() -> list[tuple[str, bool]]:
        return [(one["run"], one["archived"]) for one in site.api("/runs?name=pears-of&limit=200")["runs"]]

    eventually(
        lambda: listed() == [(str(run.id), True)], PATIENCE
    )  # Flower keeps a list of the archive for 10 s
    site.stack.restart("flower")
    assert listed() == [(str(run.id), True)]
    with redis.Redis.from_url(site.stack.env()["RECONCILER_REDIS_URL"]) as server:
        server.flushall()
    for process in ("attempts-1", "steps-1", "beat", "flower"):
        site.stack.restart(process)
    found = site.api("/runs?label=team=red&name=pears-of")["runs"]
    assert [(one["run"], one["archived"]) for one in found] == [(str(run.id), True)]
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?q=pears-of")
        page.wait_text("pears-of-old", "archived")
        page.click(".rc-run")
        page.wait_text("from the archive", "orchard.picks", "Rerun")
        page.click(".rc-row .rc-name")
        page.wait_text("7000000000000000000", "team=red", "attempt 1")
        page.click(".rc-attempts .rc-button")
        page.wait_text("picking 7")
        page.click("[data-button=rerun]")
        page.click("dialog [type=submit]")
        page.wait_text("rerun of pears-of-old")
        page.wait("document.querySelector('.rc-facts .rc-badge.p-succeeded')")


def _collected(site: Site, settings: Settings, run: RunId) -> bool:
    """Have all ended runs archived; whether this one is."""
    collect(site.client.store, settings, site.client.blobs)
    return site.client.store.counts(run) is None
