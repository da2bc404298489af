"""What the tests of the pages in Flower share: some functions, and two ways to read what a page says."""

from __future__ import annotations

from datetime import timedelta

from reconciler import RetryStrategy, TaskEnvironment
from reconciler.testing import Lab
from worker.dashboard import detail
from worker.dashboard.search import search_runs
from worker.dashboard.wanted import Wanted

env = TaskEnvironment("board")


@env.task
def doubles(n: int) -> int:
    """Double."""
    return n * 2


@env.task(retries=RetryStrategy(retries=1, backoff=timedelta(minutes=1)))
def fails(why: str) -> int:
    """Fail."""
    raise ValueError(why)


@env.task
def tells(text: str, number: int) -> str:
    """Tell how long a text is."""
    return f"{number} {len(text)}"


@env.task
def asks_below() -> int:
    """Wait for a child that may not begin yet."""
    return doubles.submit((1,), countdown=3600).result()


def names(lab: Lab, **wanted: object) -> list[str]:
    """Return the runs a search finds, page after page."""
    found: list[str] = []
    after = ""
    while True:
        page = search_runs(lab.client, Wanted(**{**wanted, "after": after}))  # type: ignore[arg-type]  # fields
        found += [run["run"].split("/")[-1] for run in page["runs"]]
        after = page["next"]
        if not after:
            return found


def offered(lab: Lab, action: object) -> list[str]:
    """Return the buttons a page offers."""
    return [button["name"] for button in detail.action_page(lab.client, action, read_only=False)["buttons"]]  # type: ignore[arg-type]  # an action
