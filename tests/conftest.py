"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: the machine may be busy, and time is measured in benchmarks, never in tests. A failure prints the line that
# repeats it.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

FOLDERS = ("integration", "simulation", "typing", "conformance", "architecture", "unit", "fundamentals")
LONGEST = (
    "test_demo", "test_mixed_fleet", "test_doctor_bars", "test_dev", "test_worker_start", "test_doc_commands",
    "test_canaries", "test_broker_refuses", "test_broker", "test_runner_leftovers", "test_secrets_hidden",
    "test_credentials_rotated", "test_compose_ha", "test_drawing", "test_worker_roles", "test_flower", "test_cli_logs",
    "test_order", "test_broken_imports", "test_examples", "test_forwarding_worker", "test_worker_faults",
)  # fmt: skip
"""Files that take longest, in this order: one that began last would leave the other processes of xdist idle."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; within a rank the order is that of pytest-randomly."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> tuple[int, int]:
    if path.stem in LONGEST:
        return (-1, LONGEST.index(path.stem))
    folder = next((part for part in path.parts[::-1] if part in FOLDERS), FOLDERS[0])
    return (FOLDERS.index(folder), 0)
