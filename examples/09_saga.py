"""A saga: when a step of a journey fails, those before it are undone, in reverse, whatever dies in between."""

from reconciler import NonRetryableError, TaskEnvironment
from reconciler.api.errors import ActionFailed

env = TaskEnvironment("saga")


@env.task(retries=3)
def book(what: str, traveller: str) -> str:
    """Book something. Under a name of the traveller's, so that a second call changes nothing."""
    if what == "hotel" and traveller == "ann":
        raise NonRetryableError("no room is left")
    return f"{what} of {traveller}"


@env.task(retries=10)
def cancel(booking: str) -> str:
    """Undo a booking. It is tried again until it works."""
    return f"cancelled the {booking}"


@env.task()
def journey(traveller: str) -> list[str]:
    """Book all, or nothing."""
    booked: list[str] = []
    try:
        for what in ("train", "flight", "hotel"):
            booking = book.delay(what, traveller)
            booked.append(booking.result())
    except ActionFailed as error:
        undone = [cancel.delay(booking).result() for booking in reversed(booked)]
        return [f"not booked: {error.message}", *undone]
    return booked


if __name__ == "__main__":
    for traveller in ("bob", "ann"):
        run = journey.delay(traveller)
        print(*run.result(timeout=60), sep="\n")
