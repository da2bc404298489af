"""What runs when. Data only: task names and seconds. Beat may run twice or not at all for a while, nothing depends on it."""

_EXPIRES = 1800.0
"""Ticks nobody took pile up for so long at most, s. Much longer than a period, for it is a time of beat's clock, compared
with a worker's: between clocks that are minutes apart a short one would throw every tick away."""

BEAT_SCHEDULE = {
    "resync": {
        "task": "reconciler.sweep.resync",
        "schedule": 2.0,
        "options": {"expires": _EXPIRES},
    },
    "collect": {
        "task": "reconciler.sweep.collect",
        "schedule": 60.0,
        "options": {"expires": _EXPIRES},
    },
}
