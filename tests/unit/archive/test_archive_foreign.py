"""Objects in the archive's folders that are not what their names say, or none of ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
import structlog
from deleting_support import PAD, a_lab, ended, objects_of, swept

from reconciler.api.errors import ActionNotFound, ArchiveDamaged, ReconcilerError
from reconciler.archive.archive import Archive
from reconciler.archive.layout import EVENTS
from reconciler.client import Run
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R42", "R91")
lab = pytest.fixture(a_lab)
FOREIGN = (
    *(
        "README",
        "development/README",
        "development/mine.txt",
        "development/mine@README",
        "development/mine@x@y",
    ),
    *(
        "development/.ndjson.gz",
        "development/mine.ndjson.gz",
        "development/mine@.x.ndjson.gz",
        "development/a/b@c.ndjson.gz",
    ),
)
"""What others may have put below the runs of a project."""


def place(lab: Lab, run: Run[object]) -> str:
    """Where the object of a run lies."""
    return lab.blobs.uri(f"_archive/runs/{run.id}@{run.incarnation}.ndjson.gz")


def test_what_is_none_of_ours_is_passed_over(lab: Lab) -> None:
    """It hides no run that has its name, and keeps nobody from deleting a project."""
    mine, other = ended(lab, "mine", "other")
    uris = [lab.blobs.uri(f"_archive/runs/default/{path}") for path in FOREIGN]
    for uri in uris:
        lab.blobs.put(uri, b"foreign")
    assert lab.client.get("mine").archived
    history = lab.client.history
    done = history.delete(history.plan_delete_project("default"))
    swept(lab)
    assert (done.archived, done.damaged) == (2, 0)
    for run in (mine, other):
        assert objects_of(lab, run) == []
        with pytest.raises(ActionNotFound):
            run.result()
    assert all(lab.blobs.stat(uri) for uri in uris)


def test_the_object_of_another_run_is_not_taken_for_it(lab: Lab) -> None:
    """Somebody has copied it there: nobody reads one run as another, or deletes the folders of the wrong one."""
    mine, other = ended(lab, "mine", "other")
    lab.blobs.put(place(lab, mine), lab.blobs.get(place(lab, other)))
    told = f"what lies there is {other.id}@{other.incarnation}"
    for call in (mine.result, lambda: lab.client.get("mine"), mine.rerun, lambda: lab.client.counts(mine.id)):
        with pytest.raises(ArchiveDamaged, match=told):
            call()
    lab.client.history.delete(lab.client.history.plan_delete(mine.id))
    swept(lab)
    assert objects_of(lab, mine) == []
    assert other.result() == f"4{PAD}"


def test_a_run_of_which_no_action_can_be_read_is_not_shown_as_empty(lab: Lab) -> None:
    """Its first line is whole, and nothing else: whoever lists or counts its actions is told."""
    [mine] = ended(lab, "mine")
    data = lab.blobs.get(place(lab, mine))
    lab.blobs.put(place(lab, mine), data[: len(data) // 2])
    calls = (lambda: list(lab.client.actions(mine.id)), lambda: lab.client.counts(mine.id))
    for call in calls:
        with pytest.raises(ReconcilerError, match="0 of 1 actions"):
            call()
    with pytest.raises(ArchiveDamaged):
        lab.client.get(mine.id.action("m7"))


SEGMENTS = (
    "README",
    "9",
    "1-0_2-0",
    "1-0_2-0.ndjson.gz.bak",
    "x_2-0.ndjson.gz",
    "more/1-0_2-0.ndjson.gz",
    "backup.ndjson.gz",
)
"""What others may have put beside the events of runs that live for long."""


def test_what_is_none_of_ours_stays_beside_segments() -> None:
    """The collector tells of it, completes runs without it, and leaves it when segments go, in time or on request."""
    lab = Lab()
    mine = lab.client.condition("mine", run="mine")
    shard = lab.store.shard_of(mine.id)
    uris = {lab.blobs.uri(EVENTS, str(shard), path) for path in SEGMENTS}
    for uri in uris:
        lab.blobs.put(uri, b"foreign")
    lab.settle(limit=timedelta(hours=13))
    with structlog.testing.capture_logs() as logs:
        swept(lab, timedelta(hours=13))
    told = [one for one in logs if one["event"].startswith("archive.")]
    assert {(one["event"], one["uri"], one["objects"]) for one in told} == {
        ("archive.foreign", min(uris), len(uris))
    }
    assert len(segments(lab)) == len(uris) + 1, "or the test proves nothing"
    mine.abort()
    lab.work()
    swept(lab)
    kept = Archive(lab.blobs).read_run(mine.id)
    assert kept is not None
    assert (kept.damage, kept.missing) == ("", 0)
    history = lab.client.history
    assert history.delete(history.plan_delete_project("default")).archived == 1
    swept(lab, timedelta(days=40))
    assert segments(lab) == uris


def segments(lab: Lab) -> set[str]:
    """Return what lies where segments do."""
    return {one.uri for one in lab.blobs.find(lab.blobs.uri(EVENTS))}
