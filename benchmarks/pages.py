"""`python -m benchmarks pages`: how quick the pages of Flower are in Chromium, and what they cost (docs/performance.md).

A run of `n` functions, and, with `--archived`, so many runs of which only the archive knows; real servers, workers and
Flower. First paint counts from the start of the navigation, with an empty cache, to the first rows of the tree, and to all.
"""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import archive
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack

_LOADS = 5
_TURNS = 3
_TIMEOUT = 600
_WATCH = """
window.rcSeen = {};
new MutationObserver(() => requestAnimationFrame(() => {
  const seen = window.rcSeen, rows = document.querySelectorAll('[role=treeitem], .rc-run').length;
  if (rows && !seen.first) seen.first = performance.now();
  if (!seen.all && /^live|archive/.test(document.querySelector('.rc-live')?.innerText || '')) seen.all = performance.now();
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
    return {**figures, **_with_and_without(url, n), "load1": round(os.getloadavg()[0], 1)}


@contextmanager
def _browser() -> Iterator[Any]:
    """Chromium as the tests drive it, with an empty cache at each load."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "integration"))
    support = importlib.import_module("browser_support")
    with tempfile.TemporaryDirectory() as folder, support.Browser(Path(folder)) as page:
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


def _with_and_without(url: str, n: int) -> dict[str, object]:
    """Run functions with the page of their run open, and without, in turn."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * _TURNS):
        rates[turn % 2 == 1].append(_rate(url, n, watched=turn % 2 == 1))
    watched, alone = (statistics.median(rates[kind]) for kind in (True, False))
    return {
        "functions_per_second_alone": [round(one) for one in rates[False]],
        "functions_per_second_watched": [round(one) for one in rates[True]],
        "watched_share": round(watched / alone, 3),
    }


def _rate(url: str, n: int, *, watched: bool) -> float:
    from benchmarks import tasks  # noqa: PLC0415  # as above

    name = f"rate-{time.time_ns()}"
    if not watched:
        began = time.perf_counter()
        tasks.one.map(range(n), run=name).wait(_TIMEOUT)
        return n / (time.perf_counter() - began)
    with _browser() as page:
        page.open(url)
        began = time.perf_counter()
        run = tasks.one.map(range(n), run=name)
        page.send("Page.navigate", url=f"{url}/{run.id}")
        run.wait(_TIMEOUT)
        return n / (time.perf_counter() - began)
