"""Ending what takes too long: by a limit of time, or by hand. Both reach a function that is running."""

import time
from datetime import timedelta

from reconciler import TaskEnvironment, Timeouts
from reconciler.api.errors import ActionAborted, ActionTimedOut
from reconciler.api.phase import ActionPhase

env = TaskEnvironment("slow")


@env.task(timeout=Timeouts(running=timedelta(seconds=1), overall=timedelta(minutes=5)))
def forever() -> None:
    """One attempt may run for a second. Other limits: queued, heartbeat, overall."""
    while True:
        time.sleep(0.1)


@env.task()
def tidy(seconds: float) -> str:
    """Whatever ends a function, `finally` and `with` clean up; it has a few seconds for that."""
    try:
        time.sleep(seconds)
    finally:
        print("tidied up")
    return "slept well"


if __name__ == "__main__":
    try:
        forever.delay().result(timeout=60)
    except ActionTimedOut as error:
        print(f"timed out: {error.message}")

    run = tidy.delay(3600)
    for event in run.watch(timeout=60):
        print(f"  {event.phase}")
        if event.phase is ActionPhase.RUNNING:
            print("abort:", run.abort("we have seen enough"))
    try:
        run.result()
    except ActionAborted as error:
        print(f"aborted: {error.message}")
