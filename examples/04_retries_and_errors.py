"""What happens when a function raises: another attempt, unless none can help; and how a caller sees it."""

from datetime import timedelta

from reconciler import NonRetryableError, RetryStrategy, TaskEnvironment, current_attempt
from reconciler.api.errors import ActionFailed

env = TaskEnvironment("errors")


@env.task(retries=RetryStrategy(retries=3, backoff=timedelta(milliseconds=200), factor=2))
def unlucky(wanted: int) -> str:
    """Fail until the wanted attempt. Each attempt is a call of its own, maybe in another worker."""
    attempt = current_attempt()
    number = attempt.attempt if attempt else wanted  # None: called here and now, without the backend
    print(f"this line goes to the log of attempt {number}")
    if number < wanted:
        raise ConnectionError(f"nobody answered attempt {number}")
    return f"answered at attempt {number}"


@env.task(retries=3)
def charge(card: str) -> str:
    """An error that no other attempt can mend ends the action at once, whatever `retries` says."""
    if not card.isdigit():
        raise NonRetryableError(f"{card!r} is no card number")
    return "charged"


if __name__ == "__main__":
    run = unlucky.delay(3)
    print(run.result(timeout=60))
    for event in run.events():
        print(f"  attempt {event.attempt} {event.phase}")

    for hopeless in (unlucky.delay(9), charge.delay("none")):
        try:
            hopeless.result(timeout=60)
        except ActionFailed as error:
            print(f"{hopeless.id} failed: {error.code}: {error.message}")
        last = hopeless.events()[-1]
        log = env.client.blobs.get(last.log_info[0].uri)  # also: reconciler logs RUN
        print(f"the log of attempt {last.attempt}, what it printed and its traceback:\n{log.decode()}")
