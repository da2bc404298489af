"""The pages of runs in Flower, in Debian's Chromium, on a real stack: what is pressed, searched and read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs_functions as orchard
from browser_support import Browser
from cli_support import eventually
from flower_support import Site, browser, needs_chromium, orchard_site

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left")]
PATIENCE = 60
AXE = Path(__file__).parents[1] / "support" / "axe" / "axe.min.js"
"""axe-core 4.14.1, as npm has it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("runs")) as found:
        yield found


@needs_chromium
def test_buttons_are_pressed_by_mouse_and_keyboard(site: Site, tmp_path: Path) -> None:
    """An answer and an abort, with the reason in the history; the keyboard moves through a run and opens an action."""
    asks = site.client.condition("pears", "int", prompt="How many pears?")
    run = orchard.runs.map([300.0, 300.0])
    with browser(tmp_path) as page:
        page.open(f"{site.url}/waiting")
        page.wait_text("How many pears?")
        page.click(f"li:has(a[href$='{asks.action}']) [data-button=signal]")
        page.fill("dialog input", "many")
        page.click("dialog [type=submit]")
        page.wait_text("must be a whole number")
        page.fill("dialog input", "9007199254740993")
        page.click("dialog [type=submit]")
        page.wait("!document.querySelector('dialog')")
        assert asks.result(PATIENCE) == 9007199254740993

        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("History", "attempt 1")
        assert "Celery task" not in page.text()  # the root of a map is never sent to a worker
        page.open(f"{site.url}/runs/{run.id}/m0")
        page.click(".rc-quiet-link")  # of one that runs, Flower has heard
        page.wait("location.pathname.startsWith('/task/')")
        page.wait_text("orchard.runs")
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("m1", "live")
        page.run("document.querySelector('[role=tree]').focus()")
        page.key("ArrowDown")
        page.key("Enter")
        page.wait("location.pathname.endsWith('/m0')")
        page.click("[data-button=abort]")
        page.fill("dialog input", "wrong orchard")
        page.key("Enter")
        page.wait("document.querySelector('.rc-badge.p-aborted')")
        page.wait_text("wrong orchard")
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("aborted")
        run.abort("enough")
        page.wait("document.querySelector('.rc-facts .rc-badge.p-aborted, .rc-facts .rc-badge.p-failed')")
        eventually(lambda: site.client.counts(run.id).ended == 3, PATIENCE)
        page.click("[data-button=rerun]")
        page.click("dialog [type=submit]")
        page.wait(f"document.querySelector('h1') && !location.pathname.endsWith('{run.id}')")
        page.wait_text("m1")
        made = page.run("location.pathname.replace('/runs/', '')")
        site.client.abort(RunId.parse(made).action("a0"))


@needs_chromium
def test_everything_is_done_without_a_mouse(site: Site, tmp_path: Path) -> None:
    """Search, tree, forms and tabs by keyboard alone: each stop is seen, Escape closes, and the keyboard goes back."""
    run = orchard.runs.map([300.0, 300.0], run="keys-live")
    asks = site.client.condition("gate", prompt="Open the gate?")
    large = orchard.says.submit(("x" * 40_000,), run="keys-large")
    large.wait(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs")
        page.wait_text("keys-live")
        _search_by_keyboard(page)
        page.tab_to("a.rc-run[href$='keys-live']")
        page.key("Enter")
        _run_by_keyboard(page)
        _action_by_keyboard(page)
        eventually(lambda: site.client.get(run.id.action("m0")).phase is ActionPhase.ABORTED, PATIENCE)
        page.open(f"{site.url}/runs/{large.action}")
        page.wait("document.querySelector('[data-button=fork]')")
        page.tab_to("[data-button=fork]")
        page.key("Enter")
        page.wait("document.querySelector('dialog textarea').value.includes('xxxx')")
        _escape(page, "[data-button=fork]")
        page.tab_to(".rc-pre")
        page.open(f"{site.url}/waiting")
        page.wait_text("Open the gate?")
        page.tab_to(f"li:has(a[href$='{asks.action}']) [data-button=signal]")
        page.key(" ")
        page.wait("document.activeElement.matches('dialog [type=radio]')")
        page.key("Enter")
        page.wait_text("Choose yes or no.")
        page.key(" ")
        page.tab_to("dialog [type=submit]")
        page.key("Enter")
        page.wait("!document.querySelector('dialog')")
        assert asks.result(PATIENCE) is True
        page.open(f"{site.url}/health")
        page.wait("document.querySelector('summary')")
        page.tab_to("[data-doctor]")
        page.key("Enter")
        page.wait_text("settings")
        page.tab_to("summary")
        page.key("Enter")
        page.wait_text("orchard.picks")
        page.tab_to(".rc-names")
    run.abort("enough")


def _search_by_keyboard(page: Browser) -> None:
    page.key("/")
    page.wait("document.activeElement.id === 'rc-search'")
    page.type("keys-")
    page.wait("document.querySelectorAll('a.rc-run').length === 2")
    page.tab_to(".rc-chip.p-failed")
    page.key(" ")
    page.wait_text("No run fits this search.")
    assert page.run("document.activeElement.matches('.rc-chip.p-failed')")
    page.key("/")
    page.wait("document.activeElement.id === 'rc-search'")
    page.run("document.activeElement.select()")
    page.type("keys-")
    page.wait("document.querySelectorAll('a.rc-run').length === 2")
    page.tab_to("[data-all=abort]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog [name=reason]')")
    _escape(page, "[data-all=abort]")


def _run_by_keyboard(page: Browser) -> None:
    page.wait_text("m1", "live")
    page.tab_to("[aria-label='Find an action']")
    page.type("m0")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    page.key("Escape")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 3")
    page.tab_to("[role=tree]")
    page.key("Home")
    page.key("ArrowDown")
    page.key("ArrowLeft")  # up to the root
    page.key("ArrowLeft")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    page.key("ArrowRight")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 3")
    for key in ("End", "Home", "ArrowDown"):
        page.key(key)
    page.key("Enter")
    page.wait("location.pathname.endsWith('/m0') && document.querySelector('[data-button=abort]')")


def _action_by_keyboard(page: Browser) -> None:
    page.tab_to("[data-button=prioritize]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog input')")
    _escape(page, "[data-button=prioritize]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog input')")
    page.run("document.activeElement.select()")
    page.type("7")
    page.key("Enter")
    page.wait(
        "!document.querySelector('dialog') && document.activeElement.matches('[data-button=prioritize]')"
    )
    page.wait_text("7, by")
    page.tab_to(".rc-attempts .rc-button")
    page.key("Enter")
    page.wait_text("still here")
    page.tab_to(".rc-log")
    page.tab_to("[data-button=abort]", 120)
    page.key("Enter")
    page.type("by keyboard")
    page.key("Enter")
    page.wait("document.querySelector('.rc-badge.p-aborted')")
    page.wait_text("by keyboard")


def _escape(page: Browser, opener: str) -> None:
    page.key("Escape")
    page.wait(f"!document.querySelector('dialog') && document.activeElement.matches({json.dumps(opener)})")


@needs_chromium
def test_all_runs_of_a_search_are_aborted(site: Site, tmp_path: Path) -> None:
    """The search is counted, the number typed, and those that fit are aborted in the name of who asks."""
    found = [orchard.runs.submit((300.0,), run=f"flock-{n}") for n in range(3)]
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?q=flock-")
        page.wait_text("flock-2")
        page.click("[data-all=abort]")
        page.wait_text("3 runs")
        page.fill("dialog input[name=reason]", "flown")
        page.fill("dialog input[name=count]", "2")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('dialog .rc-red').innerText.includes('Type 3')")
        page.fill("dialog input[name=count]", "3")
        page.click("dialog [type=submit]")
        page.wait_text("3 runs are being aborted.")
    for run in found:
        deletion = site.client.get(run.action).metadata.deletion
        assert deletion is not None
        assert deletion.reason == "flown"


@needs_chromium
def test_a_search_lies_in_the_address(site: Site, tmp_path: Path) -> None:
    """By fields or as it is typed, in upper case too; back and forward go through searches; what is not known is told."""
    good, bad = orchard.picks.submit((1,), run="geese-good"), orchard.fails.submit(("fog",), run="geese-bad")
    eventually(lambda: good.phase.is_terminal() and bad.phase.is_terminal(), PATIENCE)
    seen = "[...document.querySelectorAll('.rc-run strong')].map(one => one.innerText).join()"
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?name=geese&PHASE=Failed&colour=red")
        page.wait(f"{seen} === 'geese-bad'")
        page.wait_text("The address names colour")
        assert page.run("document.querySelector('.rc-chip.p-failed').getAttribute('aria-pressed')") == "true"
        page.click(".rc-chip.p-succeeded")
        page.wait(f"{seen} === 'geese-good'")
        page.click(".rc-chip.p-")
        page.wait(f"{seen} === 'geese-bad,geese-good'")
        page.fill("#rc-search", "geese-b")
        page.wait(f"{seen} === 'geese-bad'")
        page.fill("#rc-search", "geese-g")
        page.wait(f"{seen} === 'geese-good'")
        for wanted in ("geese-bad,geese-good", "geese-good", "geese-bad"):
            page.run("history.back()")
            page.wait(f"{seen} === '{wanted}'")
        page.run("history.forward()")
        page.wait(
            f"{seen} === 'geese-good' && document.querySelector('#rc-search').value.includes('phase:succeeded')"
        )
        page.fill("#rc-search", "since:yesterday")
        page.wait_text("since:yesterday cannot be read")
        page.fill("#rc-search", "team:red geese")
        page.wait_text("A search knows no “team:”", "a label is searched as label:team=red")
        page.fill("#rc-search", "geese until:1h")
        page.wait_text("No run fits this search.")
        page.fill("#rc-search", "name:geese since:7D")
        page.wait(f"{seen} === 'geese-bad,geese-good'")


@needs_chromium
def test_only_what_some_run_can_be_met_by_is_offered(site: Site, tmp_path: Path) -> None:
    """What has succeeded is not recovered, what has ended is not aborted, and what lives is not rerun."""
    good, bad = orchard.picks.submit((1,), run="ducks-good"), orchard.fails.submit(("fog",), run="ducks-bad")
    live = orchard.runs.submit((300.0,), run="ducks-live")
    eventually(lambda: good.phase.is_terminal() and bad.phase.is_terminal(), PATIENCE)
    seen = "[...document.querySelectorAll('[data-all]')].filter(one => one.checkVisibility())"
    offered = f"{seen}.map(one => one.dataset.all).join()"
    with browser(tmp_path) as page:
        for search, wanted in (
            ("ducks-good", "rerun"),
            ("ducks-bad", "rerun,recover"),
            ("ducks-live", "abort"),
            ("ducks-", "abort,rerun,recover"),
            ("ducks-none", ""),
        ):
            page.open(f"{site.url}/runs?q={search}")
            page.wait("/These are all|No run fits/.test(document.body.innerText)")
            page.wait(f"{offered} === '{wanted}'")
        page.open(f"{site.url}/runs?q=ducks-bad")
        page.click("[data-all=recover]")
        page.fill("dialog input[name=count]", "1")
        page.click("dialog [type=submit]")
        page.wait_text("1 new run was made.")
    live.abort("enough")


@needs_chromium
def test_who_comes_second_sees_what_the_first_has_done(site: Site, tmp_path: Path) -> None:
    """Two tabs have the form open; the second answer is refused in words, and then its button is gone."""
    asks = site.client.condition("boat", "int", prompt="How many boats?")
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{asks.action}")
        page.wait_text("How many boats?")
        assert "boats?." not in page.text()
        page.click("[data-button=signal]")
        page.fill("dialog input", "9" * 30)
        page.click("dialog [type=submit]")
        page.wait(
            "document.querySelector('dialog .rc-red').innerText.includes('must be from -9223372036854775808')"
        )
        page.fill("dialog input", "2")
        site.client.signal(asks.action, 1, "the first")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('dialog .rc-red').innerText.endsWith('.')")
        _escape_to_the_page(page)
        page.wait("!document.querySelector('[data-button=signal]')")
        page.wait("document.querySelector('.rc-badge.p-succeeded')")
        page.errors.clear()  # the browser notes the refusal


@needs_chromium
def test_a_press_is_answered_on_its_page(site: Site, tmp_path: Path) -> None:
    """Also when it changed nothing, since the run had ended while its form was open; its log is read to its end then."""
    run = orchard.runs.delay(300.0)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("while it runs")
        page.click("[data-button=abort]")
        page.wait("document.querySelector('dialog[open]')")
        run.abort("quicker")
        eventually(lambda: ActionPhase.ABORTED is run.phase, PATIENCE)
        page.fill("dialog input[name=reason]", "too late")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('.rc-told').innerText.startsWith('It had ended before')")
        page.wait("!document.body.innerText.includes('while it runs')")
        page.wait("!document.querySelector('[data-button=abort]')")


def _escape_to_the_page(page: Browser) -> None:
    page.key("Escape")
    page.wait("!document.querySelector('dialog')")


@needs_chromium
def test_axe_finds_nothing_serious(site: Site, tmp_path: Path) -> None:
    """On no page, in light and dark, wide and narrow; and a prompt is Markdown that can do nothing."""
    asks = site.client.condition(
        "axe",
        prompt="**Ship** [it](https://example.com/1)?\n\n<img src=x onerror=alert(1)>\n\n|a|\n|-|\n|b|",
        description="_Soon_",
    )
    failed, run = orchard.fails.delay("closed"), orchard.runs.map([300.0, 0.0])
    eventually(lambda: failed.phase is ActionPhase.FAILED and site.client.counts(run.id).ended == 1, PATIENCE)
    paths = (
        "/runs",
        "/waiting",
        "/health",
        *(f"/runs/{one}" for one in (run.id, run.action, failed.action, asks.action)),
    )
    with browser(tmp_path) as page:
        for scheme, width in (("light", 1440), ("dark", 400)):
            page.theme(scheme)
            page.resize(width, 900)
            for path in paths:
                page.open(site.url + path)
                page.wait("document.querySelector('.rc-body')?.children.length > 1")
                if path == "/health":
                    page.click("[data-doctor]")
                    page.wait_text("settings")
                page.run(AXE.read_text() + ";0")
                found = page.run(
                    "axe.run().then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
                    ".map(v => [v.id, v.nodes[0].html]))"
                )
                assert (path, scheme, found) == (path, scheme, [])
        page.open(f"{site.url}/runs/{asks.action}")
        page.wait("document.querySelector('.rc-prose strong')?.innerText === 'Ship'")
        assert page.run("document.querySelector('.rc-prose a').href") == "https://example.com/1"
        page.wait_text("<img src=x onerror=alert(1)>")
        assert page.run("document.querySelectorAll('main img').length") == 0
    asks.abort("enough")
    run.abort("enough")


@needs_chromium
def test_the_outline_of_the_critical_path_is_explained(site: Site, tmp_path: Path) -> None:
    """Once a run has ended: in a legend, and in words at each of its rows."""
    run = orchard.picks.map([1, 2])
    run.result(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait("document.querySelectorAll('.rc-row.rc-critical').length === 2")
        page.wait_text("critical path: of each action")
        assert "waits" in page.run("document.querySelector('.rc-legend').innerText")
        outlined = "[...document.querySelectorAll('.rc-row.rc-critical')]"
        assert page.run(f"{outlined}.every(one => one.ariaDescription.startsWith('on the critical path; '))")
        assert page.run("document.querySelectorAll('.rc-track[title]').length") == 2


@needs_chromium
def test_a_past_suspension_is_seen(site: Site, tmp_path: Path) -> None:
    """Also of what has ended: as a bar of its own, and as no failure."""
    run = orchard.naps.delay(5.0)
    run.result(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait("document.querySelectorAll('.rc-track .k-suspended').length === 1")
        page.wait("document.querySelector('.rc-legend').innerText.includes('suspended, keeps no worker')")
        page.wait_text("went on 1\u00d7")
        assert "\u21bb" not in page.text()
        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("went on 1\u00d7")
        assert "launched again" not in page.text()
        assert page.errors == []


@needs_chromium
def test_a_large_run_draws_only_what_is_seen(site: Site, tmp_path: Path) -> None:
    """A group of equal siblings is one row; opened, only some rows exist, wherever one scrolls."""
    site.client.pause_queue("attempts")
    run = orchard.picks.map(list(range(1500)))
    try:
        eventually(lambda: site.client.counts(run.id).total == 1501, PATIENCE)
        with browser(tmp_path) as page:
            page.open(f"{site.url}/runs/{run.id}")
            page.wait_text("1,500 \u00d7 orchard.picks")
            page.click("[role=treeitem]:nth-child(2)")
            page.wait("document.querySelectorAll('[role=treeitem]').length > 10")
            page.run("document.querySelector('[role=tree]').scrollTop = 1e9")
            page.wait_text("m1499")
            assert page.run("document.querySelectorAll('[role=treeitem]').length") < 80
            page.fill(".rc-small", "m777")
            page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    finally:
        run.abort("enough")
        site.client.resume_queue("attempts")


@needs_chromium
def test_a_flood_of_new_actions_is_seen_as_it_comes(site: Site, tmp_path: Path) -> None:
    """Told in short by the stream, and read in full where it is seen."""
    site.client.pause_queue("attempts")
    run = orchard.plants.delay(400)
    try:
        with browser(tmp_path) as page:
            page.open(f"{site.url}/runs/{run.id}")
            page.wait_text("a0", "live")
            site.client.resume_queue("attempts")
            page.wait_text("400 \u00d7 orchard.picks", "402 succeeded")
            page.run(
                "[...document.querySelectorAll('[role=treeitem]')].find(one => one.innerText.includes('400')).click()"
            )
            page.wait("document.querySelectorAll('[role=treeitem]').length > 10")
            page.wait("performance.getEntriesByType('resource').some(one => one.name.includes('names='))")
            assert page.errors == []
    finally:
        site.client.resume_queue("attempts")
        run.abort("enough")


@needs_chromium
def test_nothing_is_clipped_on_a_telephone(site: Site, tmp_path: Path) -> None:
    """At 400 px no page is wider than the screen, and what the search field says fits into it, also after it was turned."""
    fits = (
        "(() => { const c = document.createElement('canvas').getContext('2d'); "
        "const s = document.querySelector('#rc-search'); c.font = getComputedStyle(s).font; "
        "return c.measureText(s.placeholder).width < s.clientWidth - 24 })()"
    )
    with browser(tmp_path) as page:
        for width in (1440, 400):
            page.resize(width, 900)
            for path in ("/runs", "/waiting", "/health"):
                page.open(f"{site.url}{path}")
                page.wait("document.querySelector('.rc-body').children.length")
                assert page.run("document.documentElement.scrollWidth <= innerWidth"), (path, width)
            page.open(f"{site.url}/runs")
            page.wait(fits)
        page.resize(1440, 900)
        page.wait("document.querySelector('#rc-search').placeholder.startsWith('Search by name')")
