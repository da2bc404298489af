"""What runs when. Data only: task names and seconds. Beat may run twice or not at all for a while, nothing depends on it."""

BEAT_SCHEDULE = {
    "resync": {
        "task": "reconciler.sweep.resync",
        "schedule": 2.0,
        # a tick that waited longer than its period says nothing the next one does not
        "options": {"expires": 2.0},
    },
    "collect": {
        "task": "reconciler.sweep.collect",
        "schedule": 60.0,
        "options": {"expires": 60.0},
    },
}
