"""Many actions as one run: progress while they run, and the results of those that succeed if others fail."""

import math
import sys

from reconciler import NonRetryableError, TaskEnvironment
from reconciler.api.errors import ActionEnded

env = TaskEnvironment("numbers")


@env.task()
def root(number: int) -> float:
    """The square root; a negative number has none."""
    if number < 0:
        raise NonRetryableError(f"{number} has no square root")
    return math.sqrt(number)


if __name__ == "__main__":
    numbers = list(range(-2, 10))
    run = root.map(numbers, keep_failures=True)

    def show() -> None:
        """Called whenever something of the run has changed."""
        print(f"{run.counts.ended} of {run.counts.total} have ended", end="\r", file=sys.stderr)

    run.wait(timeout=120, progress=show)
    print(file=sys.stderr)
    for number, outcome in zip(numbers, run.outcomes(), strict=True):
        if isinstance(outcome, ActionEnded):
            print(f"{number}: {outcome.code}: {outcome.message}")
        else:
            print(f"{number}: {outcome:.3f}")
