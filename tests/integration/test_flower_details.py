"""What a person looks for on the pages of runs: long texts, times, whole logs, answers, and the way back. In Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs_functions as orchard
from browser_support import Browser
from cli_support import eventually
from flower_support import Site, browser, needs_chromium, orchard_site

from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left"), needs_chromium]
PATIENCE = 60
CLAMPED = "document.querySelectorAll('.rc-clamp').length"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("runs")) as found:
        yield found


def test_a_long_text_is_cut_until_it_is_opened(site: Site, tmp_path: Path) -> None:
    """An error, a label and a question; what was opened stays so when the page is drawn anew, and short ones are whole."""
    labels = {"short": "pear", "long": "v" * 60, "a-label-with-quite-a-long-name-of-its-own": "w" * 60}
    run = orchard.fails.submit(("no luck " * 200,), labels=labels)
    run.wait(PATIENCE)
    asks = site.client.condition("ask-at-length", prompt="\n\n".join(f"{n} crates" for n in range(40)))
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("no luck no luck", "Show all", "short=pear")
        error = "document.querySelector('[aria-labelledby=s-error] p.rc-red')"
        assert page.run(f"{error}.classList.contains('rc-clamp')")
        before = page.run(f"{error}.clientHeight")
        page.click("[aria-labelledby=s-error] [aria-expanded=false]")
        page.wait_text("Show less")
        assert page.run(f"{error}.clientHeight") > before
        asks_again = f"{site.url}/runs/{asks.action}"
        page.open(asks_again)
        page.wait_text("0 crates", "Show all")
        page.click("[aria-labelledby=s-question] [aria-expanded=false]")
        page.wait("document.querySelector('[aria-labelledby=s-question] [aria-expanded=true]')")
        site.client.signal(asks.action, value=True, by="ada")
        page.wait_text("answered true", "by ada")
        page.wait("document.querySelector('[aria-labelledby=s-question] [aria-expanded=true]')")


def test_a_log_is_downloaded_whole(site: Site, tmp_path: Path) -> None:
    """The page shows the end of a large one, says so, and offers all of it, with its beginning."""
    run = orchard.says.delay("begins here\n" + "x" * 100_000)
    run.wait(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.click(".rc-attempts .rc-button")
        page.wait_text("here is its end")
        assert "begins here" not in page.run("document.querySelector('.rc-log').textContent")
        address = page.run("document.querySelector('a[href*=\"log.txt\"]').href")
        whole = page.run(f"fetch({address!r}).then((answer) => answer.text())")
    assert whole.startswith("begins here")
    assert len(whole) > 100_000


def test_a_log_that_grows_stays_where_it_was_scrolled(site: Site, tmp_path: Path) -> None:
    """It opens at its end and follows it; what a person has scrolled to stays in sight while the page is drawn anew."""
    run = orchard.recites.delay(300.0)
    log = "document.querySelector('.rc-log')"
    at_end = f"{log}.scrollTop > 100 && {log}.scrollHeight - {log}.scrollTop - {log}.clientHeight < 40"
    inputs = "document.querySelector('.rc-pre[aria-label=Inputs]')"
    drawn_anew = f"window.before !== {inputs} && (window.before = {inputs})"
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.wait(f"{log}?.innerText.includes('still here') && (window.before = {inputs})")
        for _ in range(2):
            page.wait(drawn_anew)
        page.wait(at_end)
        page.run(f"{log}.scrollTop = 50")
        for _ in range(2):
            page.wait(drawn_anew)
        assert page.run(f"{log}.scrollTop") == 50
    run.abort("heard enough")
    run.wait(PATIENCE)


def test_an_attempt_did_not_run_while_it_was_suspended(site: Site, tmp_path: Path) -> None:
    """Both times are told apart, as in the timeline."""
    run = orchard.naps.delay(4.0)
    run.result(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.wait("/s, suspended [0-9.]+s/.test(document.querySelector('.rc-attempts')?.innerText)")
        page.wait_text("submitted by")
        assert "Show all" not in page.text()


def test_an_abort_that_was_asked_for_is_no_news_when_all_has_ended(site: Site, tmp_path: Path) -> None:
    """The page of the action and that of its run say so until then, without being loaded again."""
    run = orchard.runs.delay(300.0)
    eventually(lambda: run.phase is ActionPhase.RUNNING, PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.click("[data-button=abort]")
        page.fill("dialog input[name=reason]", "enough")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('.rc-told').innerText.startsWith('It is being aborted')")
        page.wait("document.querySelector('.rc-facts .rc-badge.p-aborted')")
        page.wait("document.querySelector('.rc-told').innerText === ''")


def test_back_leads_to_the_same_place_of_the_list(site: Site, tmp_path: Path) -> None:
    """With the older runs that were read, scrolled as before, and with the keyboard on the run one comes from."""
    for number in range(60):
        orchard.picks.submit((number,), run=f"basket-{number:02}")
    rows = "document.querySelectorAll('a.rc-run').length"
    last = "[...document.querySelectorAll('a.rc-run')].at(-1)"
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?q=basket")
        page.wait(f"{rows} === 50")
        page.click("[data-count]")
        page.wait_text("In all 60 runs")
        page.run(
            "[...document.querySelectorAll('.rc-button')].find((one) => one.innerText === 'Older runs').click()"
        )
        page.wait(f"{rows} === 60")
        page.run(f"{last}.focus(); {last}.scrollIntoView({{behavior: 'instant'}})")
        top, name = page.run("scrollY"), page.run(f"{last}.innerText.match(/basket-../)[0]")
        assert top > 0
        page.key("Enter")
        page.wait(f"document.querySelector('h1')?.innerText === {name!r}")
        page.run("history.back()")
        page.wait(f"{rows} === 60 && Math.abs(scrollY - {top}) < 40")
        page.wait(f"document.activeElement.innerText.includes({name!r})")


def test_siblings_stand_in_the_order_of_their_creation(site: Site, tmp_path: Path) -> None:
    """So that a timeline goes down as it goes on; those of one moment by name, m2 before m10, whatever became of each."""
    run, many = orchard.harvests.delay(), orchard.says.map([f"{'!' if n % 3 else ''}{n}" for n in range(11)])
    run.result(PATIENCE)
    many.wait(PATIENCE)
    names = (
        "[...document.querySelectorAll('.rc-row')].sort((a, b) => a.offsetTop - b.offsetTop)"
        ".map((one) => one.querySelector('.rc-name').innerText.split('-')[0]).join()"
    )
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait(f"{names} === 'a0,says,picks'")
        page.open(f"{site.url}/runs/{many.id}")
        page.wait(f"{names} === 'a0,m0,m1,m2,m3,m4,m5,m6,m7,m8,m9,m10'")


def test_the_history_leads_to_what_was_waited_for(site: Site, tmp_path: Path) -> None:
    """A function that was suspended links what it waited for."""
    run = orchard.harvests.delay(3)
    run.result(PATIENCE)
    [slow] = [
        one.id.action
        for one in site.client.actions(run.id, parent="a0")
        if one.id.action.startswith("picks-")
    ]
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.click(f".rc-history a[href$='{slow}']")
        page.wait(f"document.querySelector('h1')?.innerText === {slow!r}")


def test_a_group_of_rows_shows_that_the_critical_path_leads_through_it(site: Site, tmp_path: Path) -> None:
    """And the legend has the colours that are there, not that of what still runs."""
    run = orchard.picks.map(range(20))
    run.result(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait("document.querySelectorAll('.rc-row.rc-critical').length === 2")
        page.wait("document.querySelector('.rc-legend').innerText.includes('ran, and succeeded')")
        assert page.run("document.querySelector('.rc-row.rc-critical:not(:has(a))').innerText.includes('20')")
        assert page.run(f"{CLAMPED} === 0")


def test_workers_and_ids_of_launches_are_seen_whole_among_flowers_tasks(site: Site, tmp_path: Path) -> None:
    """At 1440 px the table of Flower needs no bar to scroll; the first letters of our ids would be the same for all."""
    run = orchard.picks.submit((1,), run="a-run-with-the-longest-name-12")
    run.result(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/tasks")
        page.wait("document.querySelector('#tasks-table .worker-name-link')")
        assert page.run(
            "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('.dataTables_scrollBody'))"
        )
        page.resize(400, 900)
        page.open(f"{site.url}/tasks")
        page.wait_text(f"{run.action}/1")


def test_a_fork_is_edited_value_by_value(site: Site, tmp_path: Path) -> None:
    """Each by its type: what was not touched stays as it is, whatever it is; or all of it as JSON."""
    many = [2**70, 1]
    run = orchard.mixes.delay("a\r\nb", 2**80 + 1, True, many, secret="hush")
    run.wait(PATIENCE)
    send = "dialog button[type=submit]"

    def field(name: str) -> str:
        return f"dialog [name={name}]"

    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.action}")
        page.click("[data-button=fork]")
        page.wait("document.querySelectorAll('.rc-parts > *').length === 6")
        assert page.run(f"document.querySelector('{field('count')}').value") == str(2**80 + 1)
        assert "hush" not in page.run("document.querySelector('dialog').outerHTML")
        page.fill(field("size"), "L")
        page.fill(field("count"), "many")
        page.click(send)
        page.wait_text('"count" must be a whole number')
        page.fill(field("count"), str(2**80 + 3))
        page.click(send)
        page.wait("location.pathname.split('/').length === 5 && !document.querySelector('dialog')")
        made = ActionId.parse(f"{page.run('location.pathname').removeprefix('/runs/')}/a0")
        assert site.client.wait(made, PATIENCE).phase is ActionPhase.SUCCEEDED
        assert site.client.result(made) == f"a\r\nb {2**80 + 3} {many} L hush"
        page.open(f"{site.url}/runs/{run.action}")
        page.click("[data-button=fork]")
        page.fill(field("words"), "pear")
        page.click("dialog input[value=false]")
        page.click("dialog .rc-parted > button")
        page.wait("document.querySelector('dialog textarea[name=inputs]')")
        text = page.run("document.querySelector('dialog textarea').value")
        assert json.loads(text) == {
            "words": "pear",
            "count": 2**80 + 1,
            "sure": False,
            "many": many,
            "size": "S",
        }
        page.fill("dialog textarea", text.replace("pear", "plum").replace(str(2**80 + 1), str(2**80 + 5)))
        _turned_and_back(page, many)
        page.click(send)
        page.wait("location.pathname.split('/').length === 5 && !document.querySelector('dialog')")
        failed = ActionId.parse(f"{page.run('location.pathname').removeprefix('/runs/')}/a0")
        site.client.wait(failed, PATIENCE)
        assert json.loads(site.client.get(failed).spec.inputs or b"")["count"] == 2**80 + 5
        _trace_once(page, f"{site.url}/runs/{failed}")


def _turned_and_back(page: Browser, many: list[int]) -> None:
    """Turn JSON into fields and back: what was typed goes along, and is not turned while it cannot be read."""
    turn, whole = "dialog .rc-parted > button", "document.querySelector('dialog textarea[name=inputs]').value"
    typed = page.run(whole)
    page.click(turn)
    page.wait("document.querySelectorAll('.rc-parts > *').length === 6")
    assert page.run("document.querySelector('dialog [name=count]').value") == str(2**80 + 5)
    page.fill("dialog [name=count]", "many")
    page.click(turn)
    page.wait_text('"count" must be a whole number')
    page.fill("dialog [name=count]", str(2**80 + 5))
    page.fill("dialog [name=many]", "[7]")
    page.click(turn)
    page.wait(f"{whole}?.includes('[7]')")
    for wrong in ('{"words": ', "[1]", '{"wards": "x"}'):
        page.fill("dialog textarea[name=inputs]", wrong)
        page.click(turn)
        page.wait("document.querySelector('dialog .rc-parted [role=alert]').textContent")
        assert page.run(whole) == wrong
    page.fill("dialog textarea[name=inputs]", typed)
    page.click(turn)
    page.wait("document.querySelectorAll('.rc-parts > *').length === 6")
    assert json.loads(page.run("document.querySelector('dialog [name=many]').value")) == many


def _trace_once(page: Browser, url: str) -> None:
    """Check that a page shows a traceback with its error, and not in the log again."""
    page.open(url)
    page.wait("document.querySelector('.rc-log')?.innerText.includes('mixing')")
    assert page.text().count("Traceback (most recent call last)") == 1
    assert page.text().count("ValueError: plum") == 1
    page.wait_text("without the traceback above")


def test_a_question_far_below_is_told_above(site: Site, tmp_path: Path) -> None:
    """On the page of the run and on those of all actions above it, with the way there."""
    run = orchard.gathers.delay()
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("1 question waits for a person:")
        [asks] = [one.id for one in site.client.actions(run.id) if one.phase is ActionPhase.PAUSED]
        assert page.run("document.querySelector('.rc-why a').getAttribute('href')").endswith(f"/runs/{asks}")
        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("Waits for a person to answer with yes or no: Take the ladder?")
        site.client.signal(asks, value=True)
        assert run.result(PATIENCE) is True
    assert "naps" not in str(site.api(f"/actions/{run.action}")["why"])
