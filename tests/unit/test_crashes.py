"""A worker dies before and after each write of many stories; each ends as if nothing had happened (R2)."""

from __future__ import annotations

import pytest
from crash_scenarios import STORIES

from reconciler.testing import check_settled, every_crash


@pytest.mark.parametrize("name", STORIES)
def test_a_worker_may_die_at_any_write(name: str) -> None:
    """Wherever a worker dies: one end, the same end, gapless events, nothing due, held, reserved or running outside."""
    story, ends = STORIES[name]
    labs = list(every_crash(story))
    for lab in labs:
        check_settled(lab)
        assert [lab.get(action).phase for action in lab.submitted] == ends, lab
        assert lab.cloud.jobs == {}, lab
    undisturbed, *once, before_each, after_each = labs
    assert undisturbed.deaths == []
    assert [len(lab.deaths) for lab in once] == [1, 1] * len(undisturbed.writes)
    assert min(len(before_each.deaths), len(after_each.deaths)) >= 3
