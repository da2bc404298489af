"""A first action: a function becomes a task, a call of it becomes an action.

In one terminal:  make dev
In another:       . .reconciler/dev/env && .venv/bin/python examples/01_first_action.py
"""

from datetime import timedelta

from reconciler import TaskEnvironment

env = TaskEnvironment("photos")


@env.task(retries=3, timeout=timedelta(minutes=10))
def thumbnail(key: str, width: int = 320) -> str:
    """Where the picture of this width lies. Any Python can stand here."""
    return f"thumbs/{width}/{key}"


if __name__ == "__main__":
    run = thumbnail.delay("cats/1.jpg", width=640)  # stored before this line returns
    print(run.id, run.phase)
    print(run.result(timeout=60))
