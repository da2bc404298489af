"""What several files of unit tests ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reconciler import metrics
from worker import metrics as worker_metrics


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[CollectorRegistry]:
    """What is recorded while the test runs."""
    metrics.enable(tmp_path)
    yield worker_metrics.registry_of(tmp_path)
    metrics.disable()
