"""What tests of the controller ask for by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture
def quiet() -> Iterator[None]:
    """Swallow logs: the tracebacks of many errors are costly to draw."""
    with capture_logs():
        yield
