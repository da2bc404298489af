"""What tests of the pages in Flower ask for by name."""

from __future__ import annotations

import pytest
from board import env

from reconciler.testing import Lab


@pytest.fixture
def lab() -> Lab:
    """An installation."""
    lab = Lab()
    env.client = lab.client
    return lab
