"""Archived runs are paged, last ends first, in a bounded number of requests."""

from __future__ import annotations

import random

import pytest

from reconciler.api.errors import BlobUnavailable, InvalidInput
from reconciler.archive.compaction import compact
from reconciler.archive.index import Group, Row, list_index, write_rows
from reconciler.archive.recent import PROJECTS, REQUESTS, Asked, Page, Place, RecentRuns
from reconciler.stores.memory.blobs import MemoryBlobs

pytestmark = pytest.mark.rule("R42")
DAY = 86_400_000
NOW = 1_800_000_000_000
"""2027-01-15, 08:00 UTC."""


def row(number: int, ago: int = 0, project: str = "p") -> Row:
    """Return a run that ended so many ms ago."""
    return Row(
        project=project, domain="d", run=f"run-{number}", incarnation=f"i{number}", created_at=NOW - ago - 5,
        ended_at=NOW - ago, phase="succeeded", task="t", actions=1, groups=(Group("t", "succeeded", "", 1),),
    )  # fmt: skip


class Clock:
    """Seconds that move when told."""

    now = 100.0

    def __call__(self) -> float:
        """Tell them."""
        return self.now


def pages(recent: RecentRuns, limit: int, **asked: object) -> list[Page]:
    """Return all pages of a question."""
    found: list[Page] = []
    place: Place | None = None
    while True:
        question = {"wanted": lambda _: True, "now": NOW, "after": place, "limit": limit, **asked}
        page = recent.page(Asked(**question))  # type: ignore[arg-type]  # as the tests write it
        found.append(page)
        if page.next is None:
            return found
        place = Place.parse(str(page.next))


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_each_run_is_given_once_and_in_order(limit: int) -> None:
    """Of several projects, over years, with equal times, and although two objects tell of one run."""
    blobs, random_ = MemoryBlobs(), random.Random(5)
    rows = [
        row(n, random_.choice((0, 1, DAY, 3 * DAY, 40 * DAY, 900 * DAY)), random_.choice("pqr"))
        for n in range(60)
    ]
    for start in range(0, 60, 7):
        write_rows(blobs, rows[max(0, start - 2) : start + 7])
    found = [one for page in pages(RecentRuns(blobs), limit) for one in page.rows]
    assert [(one.ended_at, one.key) for one in found] == [
        (one.ended_at, one.key) for one in sorted(rows, key=lambda one: (one.ended_at, one.key), reverse=True)
    ]


def test_what_is_chosen_is_chosen_in_every_page() -> None:
    """By a condition, a project and the day it begins with."""
    blobs = MemoryBlobs()
    write_rows(blobs, [row(n, n * DAY, "pq"[n % 2]) for n in range(20)])
    recent = RecentRuns(blobs)
    found = [one.run for page in pages(recent, 2, projects=("p",), since=NOW - 9 * DAY) for one in page.rows]
    assert found == [f"run-{n}" for n in (0, 2, 4, 6, 8)]
    odd = pages(recent, 50, wanted=lambda one: one.run.endswith("7"))
    assert [one.run for page in odd for one in page.rows] == ["run-7", "run-17"]


def test_a_page_takes_few_requests_and_the_next_look_none() -> None:
    """However many days there are: a page stops at its budget, and says where to go on; what was read is kept."""
    blobs, clock = MemoryBlobs(), Clock()
    write_rows(blobs, [row(n, n * DAY) for n in range(300)])
    recent = RecentRuns(blobs, clock)
    rare = pages(recent, 50, wanted=lambda one: one.run == "run-299")
    assert [one.run for page in rare for one in page.rows] == ["run-299"]
    assert all(page.requests <= REQUESTS + 5 for page in rare)
    assert len(pages(recent, 300)[0].rows) == 300
    assert sum(page.requests for page in pages(recent, 300)) == 0
    clock.now += 60
    first = recent.page(Asked(wanted=lambda _: True, now=NOW, limit=10))
    assert first.requests <= 6  # the lists anew, the objects not
    assert len(first.rows) == 10


def test_what_was_put_together_meanwhile_is_found() -> None:
    """Compaction between the list and the read moves lines, and none is missing."""
    blobs = MemoryBlobs()
    for n in range(40):
        write_rows(blobs, [row(n, n)])
    recent = RecentRuns(blobs)
    names, _ = list_index(blobs, "p", "2027-01-14", "2027-01-16")
    assert len(names) == 40
    recent.page(Asked(wanted=lambda _: True, now=NOW, limit=1))
    recent._bytes.clear()  # as if it had only listed them
    compact(blobs, [("p", "2027-01-15")])
    assert len(recent.page(Asked(wanted=lambda _: True, now=NOW, limit=100)).rows) == 40


def test_of_too_many_projects_some_are_left_out_and_named() -> None:
    """So that nobody takes what is shown for all."""
    blobs = MemoryBlobs()
    write_rows(blobs, [row(n, 0, f"p{n:02}") for n in range(PROJECTS + 3)])
    page = RecentRuns(blobs).page(Asked(wanted=lambda _: True, now=NOW, limit=100))
    assert (len(page.rows), page.left_out) == (PROJECTS, ["p20", "p21", "p22"])
    assert pages(RecentRuns(blobs), 5, projects=("p22",))[0].rows[0].project == "p22"


def test_damage_is_told_and_costs_no_more_than_itself() -> None:
    """An object that cannot be read is named; the others are read."""
    blobs = MemoryBlobs()
    write_rows(blobs, [row(1)])
    write_rows(blobs, [row(2, DAY)])
    [bad] = [one.uri for one in blobs.find(blobs.uri("_archive/index/")) if "2027-01-15" in one.uri]
    blobs.put(bad, b"no gzip")
    page = RecentRuns(blobs).page(Asked(wanted=lambda _: True, now=NOW, limit=9))
    assert ([one.run for one in page.rows], page.damaged) == (["run-2"], [bad])


def test_nothing_is_nothing() -> None:
    """An archive without runs, and a time before all."""
    assert pages(RecentRuns(MemoryBlobs()), 5)[0].rows == []


@pytest.mark.parametrize(
    "text", ["archive:x:", "archive:-1:", "archive:1:a/b", "archive:99999999999999999999:", "archive:5:"]
)
def test_a_place_that_cannot_be_read_is_refused(text: str) -> None:
    """It comes from a browser."""
    with pytest.raises(InvalidInput):
        Place.parse(text)
    assert Place.parse("17/a/b/c") is None


def test_a_server_that_does_not_answer_is_told() -> None:
    """And asked again the next time."""

    class Away(MemoryBlobs):
        def find(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]  # it never answers
            raise BlobUnavailable("away")

    with pytest.raises(BlobUnavailable):
        RecentRuns(Away()).page(Asked(wanted=lambda _: True, now=NOW, limit=9))
