"""What a worker says of itself can be read by any release, and tells which settings differ."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.core import liveness
from reconciler.core.liveness import OF_ALL, WorkerFacts, differing, digests, read_facts, release
from reconciler.settings import Settings


def test_facts_come_back_as_they_were_said() -> None:
    """And what nobody can read is a worker of whom nothing is known."""
    facts = WorkerFacts(pid=7, host="here", queues=("steps",), functions=3)
    assert read_facts(msgspec.json.encode(facts)) == facts
    assert read_facts(b"\xff not json") == WorkerFacts()
    assert read_facts(b'{"pid": 7, "of_a_newer_release": 1}').pid == 7


def test_a_process_is_named_for_people() -> None:
    """With its host, as far as it is known."""
    assert WorkerFacts(pid=7, host="here").process == "pid 7 on here"
    assert WorkerFacts(pid=7).process == "pid 7"
    assert WorkerFacts().process == "pid ?"


def test_settings_that_differ_are_named_by_their_variables() -> None:
    """Only those both say something of, and never their values."""
    mine, theirs = digests(Settings()), digests(Settings(s3_bucket="other"))
    assert differing(mine, theirs, OF_ALL) == ["RECONCILER_S3_BUCKET"]
    assert differing(mine, {}, OF_ALL) == []
    assert "other" not in repr(theirs)


def test_a_source_tree_has_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the release of what is installed."""
    assert isinstance(release(), str)

    def absent(_: str) -> str:
        raise liveness.PackageNotFoundError

    monkeypatch.setattr(liveness, "version", absent)
    assert release() == ""
