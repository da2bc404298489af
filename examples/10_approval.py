"""Ask a person, and wait for hours or days without a worker; `reconciler signal` or a program gives the answer."""

import time
from datetime import timedelta

from reconciler import Client, NonRetryableError, Run, TaskEnvironment, ask
from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase

env = TaskEnvironment("approval")


@env.task()
def prepare(name: str) -> str:
    """Make what a person is to look at."""
    return f"a draft of {name}"


@env.task()
def publish(name: str) -> str:
    """Prepare, ask, and go on as the answer says. Nobody who answers within two days: it times out."""
    draft = prepare.delay(name).result()
    if not ask("publish", bool, prompt=f"Publish {draft}?", timeout=timedelta(days=2)):
        raise NonRetryableError(f"{name} was declined")
    return f"published {name}"


def question_of(client: Client, run: Run[str]) -> ActionId:
    """The question of a run, once it was asked."""
    while True:
        for action in client.actions(run.id):
            if action.phase is ActionPhase.PAUSED:
                return action.id
        time.sleep(0.1)


if __name__ == "__main__":
    client = Client.from_settings()
    for name, answer in (("the news", True), ("a rumour", False)):
        run = publish.delay(name)
        question = question_of(client, run)
        print("suspended:", client.get(run.action).attempt.suspended or "about to be")
        client.signal(question, answer)
        ended = run.wait(timeout=60)
        error = ended.status.error_state
        print(ended.phase, error.message if error else run.result())
