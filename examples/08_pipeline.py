"""A pipeline: a task that starts tasks, each step in parallel, without a worker while it waits (docs/composing.md)."""

from reconciler import TaskEnvironment, step

env = TaskEnvironment("pipeline")


@env.task()
def list_keys(day: str, count: int) -> list[str]:
    """Name the pictures of a day."""
    return [f"{day}/{number}.jpg" for number in range(count)]


@env.task(retries=2)
def measure(key: str) -> int:
    """Stand for the work on one picture."""
    return len(key)


def ticket() -> str:
    """Make what must not be made twice."""
    return "ticket 7"


@env.task(retries=2)
async def album(day: str, count: int) -> str:
    """Children of this action: found again, not started again, whatever dies in between."""
    keys = await list_keys.delay(day, count)
    sizes = await measure.map(keys)
    token = await step("upload ticket", ticket)
    return f"{len(sizes)} pictures, {sum(sizes)} bytes, {token}"


if __name__ == "__main__":
    run = album.delay("monday", 12)
    print(run.result(timeout=60))
    print(run.counts.total, "actions:", *sorted({str(phase) for phase in run.counts.phases}))
