"""Questions to the archive are answered from few objects, and the index stays small."""

from __future__ import annotations

import pytest

from reconciler.api.errors import InvalidSpec
from reconciler.api.phase import ActionPhase
from reconciler.archive.compaction import MANY, compact
from reconciler.archive.index import Group, Row, list_index, write_rows
from reconciler.archive.query import Found, Question, ask
from reconciler.archive.requests import FIRST, LAST
from reconciler.stores.memory.blobs import MemoryBlobs

pytestmark = pytest.mark.rule("R42")
DAY = 86_400_000
AT = 1_800_000_000_000
"""2027-01-15, 08:00 UTC."""


def row(number: int, *groups: Group, at: int = AT, project: str = "p", domain: str = "d") -> Row:
    """Return a run of the index."""
    return Row(
        project=project,
        domain=domain,
        run=f"run-{number}",
        incarnation=f"i{number}",
        created_at=at,
        ended_at=at + number,
        phase="succeeded",
        task="group",
        actions=sum(group.count for group in groups) or 1,
        groups=groups or (Group("load", "succeeded", "", 1),),
        labels={"team": "red" if number % 2 else "blue"},
    )


def asked(blobs: MemoryBlobs, **question: object) -> Found:
    """Return the answer for a range of days around the runs of these tests."""
    whole = {"project": "p", "since": "2027-01-14", "until": "2027-01-16", **question}
    return ask(blobs, Question(**whole))  # type: ignore[arg-type]  # as the tests write it


def names(found: Found) -> list[str]:
    """Return the names of the runs found, in order."""
    return [one.run for one in found.rows]


def test_each_part_of_a_question_chooses() -> None:
    """Project, days, domain, name, task, phase, error code and label choose runs; task, phase and code mean one action."""
    blobs = MemoryBlobs()
    mixed = (Group("load", "failed", "Timeout", 2), Group("save", "succeeded", "", 3))
    write_rows(
        blobs,
        [row(1), row(2, *mixed), row(3, at=AT - 2 * DAY), row(4, project="q"), row(5, domain="e")],
    )
    assert names(asked(blobs)) == ["run-5", "run-2", "run-1"]
    assert names(asked(blobs, since="2027-01-01")) == ["run-5", "run-2", "run-1", "run-3"]
    assert names(asked(blobs, since="2027-01-01", until="2027-01-13")) == ["run-3"]
    assert names(asked(blobs, project="q")) == ["run-4"]
    assert names(asked(blobs, domain="e")) == ["run-5"]
    assert names(asked(blobs, name="run-2")) == ["run-2"]
    assert names(asked(blobs, task="save")) == ["run-2"]
    assert names(asked(blobs, phase="failed")) == ["run-2"]
    assert names(asked(blobs, code="Timeout")) == ["run-2"]
    assert names(asked(blobs, labels={"team": "red"})) == ["run-5", "run-1"]
    assert names(asked(blobs, task="save", phase="failed")) == []
    assert Question(project="p", since=FIRST, until=LAST, task="load").matching(row(2, *mixed)) == 2


@pytest.mark.parametrize(
    ("field", "remedy"),
    [
        *(
            (field, "give it a value, or leave it out")
            for field in ("domain", "name", "task", "phase", "code")
        ),
        *((field, "give it a value$") for field in ("project", "since", "until")),
    ],
)
def test_an_empty_part_of_a_question_is_refused(field: str, remedy: str) -> None:
    """Of a variable that nobody has set it would choose all runs."""
    with pytest.raises(InvalidSpec, match=f"{field} must not be empty: {remedy}"):
        asked(MemoryBlobs(), **{field: ""})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("since", "2026-9-1", "since '2026-9-1' is no day: write YYYY-MM-DD"),
        ("since", "yesterday", "is no day"),
        ("until", "2027-01-16T00:00:00Z", "is no day"),
        ("since", "2026-02-31", "is no day"),
        ("until", "x", "until 'x' is no day"),
        ("since", None, "since must be a text, got NoneType"),
        ("until", 5, "until must be a text, got int"),
        ("since", "2027-01-17", "since 2027-01-17 comes after until 2027-01-16"),
        ("phase", "FAILED", "there is no phase 'FAILED': name one of succeeded, failed"),
        ("phase", "faild", "there is no phase"),
        ("phase", ActionPhase.FAILED, "phase must be a text, got ActionPhase"),
        ("phase", "running", "no action is in the phase running there"),
        ("project", "a/b", "project 'a/b' is not allowed"),
        ("domain", "a*", "domain 'a\\*' is not allowed"),
        ("name", "tree-*", "no name of a run begins with 'tree-\\*'"),
        ("name", "-tree", "no name of a run begins with"),
        ("labels", "a=b", "labels must be a dict"),
        ("labels", {"a": 1}, "a label is a name and a value, both texts"),
        ("labels", {"flyte.org/run": "r"}, "is not searched: ask by project, domain, name and phase"),
        ("labels", {"a b": "c"}, "no run has a label of the name 'a b'"),
    ],
)
def test_what_no_run_can_have_is_refused(field: str, value: object, told: str) -> None:
    """It would find nothing, in silence; the error names the field and what to write."""
    with pytest.raises(InvalidSpec, match=told):
        asked(MemoryBlobs(), **{field: value})


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Not one mistake after the other."""
    with pytest.raises(InvalidSpec, match=r"since .*; until .*; no name .*; there is no phase"):
        asked(MemoryBlobs(), since="x", until="y", name="*", phase="z")


def test_a_run_that_stands_twice_is_one() -> None:
    """Who died after the index was written writes it again, in another company: each run is listed once."""
    blobs = MemoryBlobs()
    write_rows(blobs, [row(1), row(2)])
    write_rows(blobs, [row(2), row(3)])
    write_rows(blobs, [row(2), row(3)])
    found = asked(blobs)
    assert names(found) == ["run-3", "run-2", "run-1"]
    assert (found.requests, found.damaged) == (3, [])


def test_many_small_objects_become_one() -> None:
    """A question about a day takes few requests, however many passes wrote its index; nothing is lost or doubled."""
    blobs = MemoryBlobs()
    for number in range(MANY + 6):
        days = write_rows(blobs, [row(number)])
    before = names(asked(blobs))
    assert compact(blobs, days) == MANY + 6
    found = asked(blobs)
    assert (names(found), found.requests) == (before, 2)
    assert compact(blobs, days) == 0
    assert len(list_index(blobs, "p", "2027-01-15", "2027-01-15")[0]) == 1


def test_a_death_between_writing_and_removing_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put together stands beside its parts then; each run is listed once, and the next pass removes the parts."""
    blobs = MemoryBlobs()
    for number in range(MANY + 6):
        days = write_rows(blobs, [row(number)])
    with monkeypatch.context() as patch:
        patch.setattr(blobs, "delete", lambda _: None)
        compact(blobs, days)
    assert len(asked(blobs).rows) == MANY + 6
    compact(blobs, days)
    found = asked(blobs)
    assert (len(found.rows), found.requests) == (MANY + 6, 2)


def test_a_damaged_part_is_told_and_kept() -> None:
    """What cannot be read as a whole is named, the rest is answered, and no pass throws it away."""
    blobs = MemoryBlobs()
    for number in range(MANY + 6):
        days = write_rows(blobs, [row(number)])
    first = list_index(blobs, "p", "2027-01-15", "2027-01-15")[0][0].uri
    blobs.put(first, blobs.get(first)[:-5])
    found = asked(blobs)
    assert found.damaged == [first]
    assert len(found.rows) >= MANY + 5
    assert compact(blobs, days) == 0
