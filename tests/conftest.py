"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadlines: the machine may be busy, and time is measured in benchmarks, never in tests. A failure prints the line that
# repeats it.
settings.register_profile(
    "house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
