"""What `reconciler top` draws of what it found."""

from __future__ import annotations

from rich.console import Console

from reconciler.cli.top import screen


def test_what_a_low_window_cannot_show_is_counted() -> None:
    """A window that holds all shows all; a lower one says how many lines it left out."""
    queue = {"name": "attempts", "waiting": 3, "workers": 0, "functions": [], "paused": True, "limit": None}
    found = {
        "late": 0, "now": 5, "schedules": [], "queues": [queue] * 30, "workers": [], "lost": {"count": 0, "newest": []},
        "cleanups": [],
    }  # fmt: skip
    assert _drawn(found, 60)[-1].split() == ["WORKER", "PROCESS", "QUEUES", "FUNCTIONS", "UP", "TROUBLES"]
    low = _drawn(found, 10)
    assert len(low) == 10
    assert low[-1] == "… 26 lines more: `reconciler top --once`"


def _drawn(found: dict[str, object], height: int) -> list[str]:
    window = Console(width=100, height=height)
    with window.capture() as drawn:
        window.print(screen(found, window))
    return [line.rstrip() for line in drawn.get().splitlines()]
