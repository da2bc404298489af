"""`python -m benchmarks pages`: how quick the pages of Flower are in Chromium, and what they cost (docs/performance.md).

A run of `n` functions, and, with `--archived`, so many runs of which only the archive knows; real servers, workers and
Flower. First paint counts from the start of the navigation, with an empty cache, to the first rows of the tree, and to all.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from benchmarks import archive
from benchmarks.processors import Spent
from reconciler.api.action import RunId
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack

_LOADS = 5
_TURNS = 3
_LOOKS = ("alone", "read", "watched")
_TIMEOUT = 600
_WATCH = """
window.rcSeen = {};
new MutationObserver(() => requestAnimationFrame(() => {
  const seen = window.rcSeen, rows = document.querySelectorAll('[role=treeitem], .rc-run').length;
  if (rows && !seen.first) seen.first = performance.now();
  const state = document.querySelector('.rc-live')?.innerText || '';
  if (!seen.all && /^live|^has ended|archive/.test(state)) seen.all = performance.now();
  const badge = document.querySelector('.rc-facts .p-aborted');
  if (badge && !seen.aborted) seen.aborted = Date.now();
})).observe(document, {subtree: true, childList: true, characterData: true});
"""
"""Notes when rows, all rows, and an abort are seen: after the frame that shows them was prepared."""
_SCROLL = """
new Promise((done) => {
  const pane = document.querySelector('[role=tree]'), times = [];
  let last = 0;
  function frame(at) {
    if (last) times.push(at - last);
    last = at;
    pane.scrollTop += 48;
    if (times.length < 300) requestAnimationFrame(frame); else done(times);
  }
  requestAnimationFrame(frame);
})
"""
"""Scrolls the trace for 300 frames; gives the time of each."""


def measure(n: int, archived: int) -> dict[str, object]:
    """Measure; figures by name.

    Args:
        n: functions of the run that is looked at.
        archived: runs of the archive behind the list of runs.
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        place = Path(folder)
        with EmbeddedServers(place) as servers:
            os.environ.update(servers.env())
            if archived:
                archive.fill(archived)
            root = Path(__file__).resolve().parent.parent
            with Stack(place, imports=["benchmarks.tasks"], cwd=root, flower=True, servers=servers) as stack:
                os.environ.update(stack.env())
                return _of_pages(stack, Client.from_settings(), n)


def _of_pages(stack: Stack, client: Client, n: int) -> dict[str, object]:
    from benchmarks import tasks  # noqa: PLC0415  # declares functions: only for this

    tasks.env.client = client
    ended = tasks.one.map(range(n))
    ended.wait(_TIMEOUT)
    url = f"{stack.flower_url}/runs"
    with _browser() as page:
        figures = {
            **_paint(page, f"{url}/{ended.id}", "run"),
            **_paint(page, url, "runs"),
            **_scroll(page, f"{url}/{ended.id}"),
        }
        figures["live_update_ms"] = _live_update(page, url, tasks.one.submit((1,), countdown=3600))
    figures["flower_rss_mb"] = round(stack.rss("flower") / 2**20)
    return {**figures, **_with_and_without(stack, n), "load1": round(os.getloadavg()[0], 1)}


@contextmanager
def _browser() -> Iterator[Any]:
    """Chromium as the tests drive it, with an empty cache at each load."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))
    support = importlib.import_module("browser_support")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        support.Browser(Path(folder)) as page,
    ):
        page.send("Network.setCacheDisabled", cacheDisabled=True)
        page.send("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        yield page


def _paint(page: Any, url: str, what: str) -> dict[str, object]:  # noqa: ANN401  # of the tests
    first, last = [], []
    for _ in range(_LOADS):
        page.open("about:blank#")
        page.open(url)
        page.wait("window.rcSeen.first" if what == "runs" else "window.rcSeen.all")
        seen = page.run("window.rcSeen")
        first.append(seen["first"])
        last.append(seen.get("all", 0))
    found: dict[str, object] = {f"{what}_first_paint_ms": _told(first)}
    return found if what == "runs" else {**found, f"{what}_all_rows_ms": _told(last)}


def _told(times: list[float]) -> str:
    """Write the median, and the worst."""
    return f"{statistics.median(times):.0f} (at most {max(times):.0f})"


def _scroll(page: Any, url: str) -> dict[str, object]:  # noqa: ANN401  # of the tests
    page.open(url)
    page.wait("window.rcSeen.all")
    page.click("[role=treeitem][aria-expanded=false]")
    times = page.run(_SCROLL)
    return {
        "scroll_frames_per_second": round(1000 / statistics.mean(times), 1),
        "scroll_frames_late": sum(one > 25 for one in times),
        "scroll_frames": len(times),
    }


def _live_update(page: Any, url: str, run: Run[int]) -> str:  # noqa: ANN401  # of the tests
    """From the call that aborts to the page that shows it."""
    page.open(f"{url}/{run.id}")
    page.wait("document.querySelector('.rc-live')?.innerText === 'live'")
    began = time.time() * 1000
    run.abort("measured")
    page.wait("window.rcSeen.aborted")
    return f"{page.run('window.rcSeen.aborted') - began:.0f}"


def _with_and_without(stack: Stack, n: int) -> dict[str, object]:
    """Run functions, in turn: nobody looks; a program reads what the page of their run would; it is open in a browser.

    First the page is opened when the run is submitted, and its opening is counted; then before the first function begins.
    """
    rates: dict[str, list[float]] = {how: [] for how in (*_LOOKS, "alone_before", "watched_before")}
    spent: dict[str, dict[str, float]] = {}
    for _ in range(_TURNS):
        for how, found in rates.items():
            look, _, before = how.partition("_")
            rate, spent[how] = _rate(stack, n, look, before=bool(before))
            found.append(rate)
    middle = {how: statistics.median(found) for how, found in rates.items()}
    return {
        **{f"functions_per_second_{how}": [round(one) for one in found] for how, found in rates.items()},
        "read_share": round(middle["read"] / middle["alone"], 3),
        "watched_share_with_opening": round(middle["watched"] / middle["alone"], 3),
        "watched_share": round(middle["watched_before"] / middle["alone_before"], 3),
        **{f"processor_seconds_{how}": found for how, found in spent.items()},
    }


def _rate(stack: Stack, n: int, look: str, *, before: bool) -> tuple[float, dict[str, float]]:
    from benchmarks import tasks  # noqa: PLC0415  # as above

    name, url = f"rate-{time.time_ns()}", f"{stack.flower_url}/runs"
    client, queue = tasks.env.client, "attempts"
    pids = {one.name: one.pid for one in (*stack.servers.processes.values(), *stack.processes.values())}
    with ExitStack() as held:
        page = held.enter_context(_browser()) if look == "watched" else None
        if page is not None:
            page.open(url)
            pids["browser"] = page.pid
        if before:
            client.pause_queue(queue)
        spent, began = Spent(pids), time.perf_counter()
        run = tasks.one.map(range(n), run=name)
        if page is not None:
            page.send("Page.navigate", url=f"{url}/{run.id}")
        if look == "read":
            held.enter_context(_reading(stack.flower_url, run.id))
        if before:
            _settle(client, run, n, page)
            spent, began = Spent(pids), time.perf_counter()
            client.resume_queue(queue)
        run.wait(_TIMEOUT)
        return n / (time.perf_counter() - began), spent.told()


def _settle(client: Client, run: Run[Any], n: int, page: Any) -> None:  # noqa: ANN401  # of the tests
    """Wait until all launches of a run wait in a paused queue, and its page is read to the end."""
    while sum(queue.waiting for queue in client.queues()) < n:
        time.sleep(0.2)
    if page is not None:
        page.wait(
            f"location.pathname.endsWith('{run.id.run}') && /^live/.test(document.querySelector('.rc-live')?.innerText)"
        )


@contextmanager
def _reading(flower: str, run: RunId) -> Iterator[None]:
    """Read what the page of a run reads, without a browser: all rows, then what changes."""
    api, over = f"{flower}/reconciler/api/runs/{run}", threading.Event()

    def read() -> None:
        with urlopen(api) as answer:  # noqa: S310  # our own Flower
            cursor, after = json.load(answer)["cursor"], ""
        while True:
            with urlopen(f"{api}/actions?{urlencode({'after': after})}") as answer:  # noqa: S310  # as above
                after = json.load(answer)["next"]
            if not after:
                break
        with urlopen(f"{api}/live?{urlencode({'cursor': cursor, 'brief': 'yes'})}", timeout=10) as stream:  # noqa: S310
            while not over.is_set() and stream.readline():
                pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
