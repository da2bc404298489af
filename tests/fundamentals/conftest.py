"""Fixtures of the manual: an installation in one process, whose clock moves when it is told to."""

from __future__ import annotations

import pytest

from reconciler.testing import Lab


@pytest.fixture
def lab() -> Lab:
    """An empty installation."""
    return Lab()
