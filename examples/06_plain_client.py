"""The client alone, without functions: any task type, and a key under which a submission happens once."""

from reconciler import Client
from reconciler.api.action import ActionSpec
from reconciler.api.errors import ActionConflict
from reconciler.api.template import Interface, TaskTemplate, encode_template


def nap(seconds: float) -> ActionSpec:
    """An action of the type `core-sleep`, which waits without keeping a worker busy."""
    template = TaskTemplate(type="core-sleep", interface=Interface(inputs={"duration": "duration"}))
    return ActionSpec(
        task_type="core-sleep",
        short_name="nap",
        task_template=encode_template(template),
        inputs=b'{"duration": %g}' % seconds,
    )


if __name__ == "__main__":
    client = Client.from_settings()  # from the variables RECONCILER_...
    run = client.submit(nap(0.5), labels={"team": "night"})
    for event in run.watch(timeout=60):
        print(f"  {event.phase}")

    # A client that does not know whether its submission arrived sends it again, with the same key.
    first = client.submit(nap(1), idempotency_key=f"after {run.id}")
    again = client.submit(nap(1), idempotency_key=f"after {run.id}")
    print("the same run:", first.id == again.id)
    try:
        client.submit(nap(2), idempotency_key=f"after {run.id}")
    except ActionConflict as error:
        print(error)
    print(first.wait(timeout=60).phase)
