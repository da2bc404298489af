"""A light process that owns attempts, or is in the middle of a step, and is frozen there: `frozen_owner.py attempts|steps`.

It reads the actions from its input, takes them up, says `held`, and waits for a second line; then it writes what it had to
write, and says of each write whether it was refused.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.broker.recording import RecordingMessenger
from reconciler.client import Client
from reconciler.plugins.base import PluginProperties
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.function import FunctionPlugin
from reconciler.plugins.registry import PluginEntry
from reconciler.settings import Settings
from reconciler.stores.base import Finished, StartRefused
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine
from worker import logs

LEASE: dict[str, Any] = {
    "step_lease": timedelta(milliseconds=700),
    "step_budget": timedelta(milliseconds=500),
    "attempt_lease": timedelta(milliseconds=700),
}
TEMPLATE = encode_template(TaskTemplate(type="function", custom={"function": "light"}))


class Light:
    """An engine on real records that sends no messages."""

    def __init__(self, settings: Settings, plugins: Sequence[PluginEntry] = ()) -> None:
        self.store = RedisStore(settings)
        self.messenger = RecordingMessenger()
        blobs = MemoryBlobs()
        self.engine = Engine(
            settings, store=self.store, blobs=blobs, messenger=self.messenger, plugins=plugins
        )
        self.client = Client(self.store, blobs, self.messenger, settings)
        self.lease = int(settings.attempt_lease.total_seconds() * 1000)

    def step(self, actions: Sequence[ActionId]) -> int:
        """Step the shards of these actions; how many writes were refused."""
        shards = {self.store.shard_of(action.run_id) for action in actions}
        return sum(self.engine.stepper.step(shard).superseded for shard in shards)

    def finish(self, action: ActionId, launch: str, owner: str, outcome: AttemptOutcome) -> bool:
        """Report an attempt; whether that is accepted."""
        shard = self.store.shard_of(action.run_id)
        return all(self.store.finish_attempts(shard, owner, [Finished(action, launch, outcome)]))

    def close(self) -> None:
        """End its threads."""
        self.engine.stepper.close()


class SlowFunction(FunctionPlugin):
    """Says where it is, and goes on when it is told to."""

    properties = PluginProperties(inline=True)

    def __init__(self, here: threading.Event, go_on: threading.Event) -> None:
        super().__init__("attempts")
        self._here = here
        self._go_on = go_on

    def handle(self, ctx: TaskExecutionContext) -> Any:
        """Wait between claim and commit."""
        self._here.set()
        self._go_on.wait()
        return super().handle(ctx)


def submit(light: Light, count: int) -> list[ActionId]:
    """So many actions."""
    spec = ActionSpec(task_type="function", task_template=TEMPLATE, inputs=b"{}")
    return [light.client.submit(spec).action for _ in range(count)]


def start_attempts(light: Light, actions: Sequence[ActionId], *, owner: str) -> list[tuple[ActionId, str]]:
    """Start each launch that can be started."""
    found = []
    for action in actions:
        launch = light.client.get(action).attempt.launch
        if launch:
            taken = light.store.start_attempt(action, launch, owner=owner, lease=light.lease)
            if not isinstance(taken, StartRefused):
                found.append((action, launch))
    return found


def attempts() -> list[str]:
    """Start attempts, freeze, then renew and report each."""
    light = Light(settings())
    actions = read_actions()
    light.step(actions)
    held = start_attempts(light, actions, owner="frozen")
    say("held")
    sys.stdin.readline()
    answers = []
    for action, launch in held:
        beat = light.store.heartbeat(action, launch, owner="frozen", lease=light.lease)
        outcome = AttemptOutcome(ended="raised", code="Stale")
        taken = light.finish(action, launch, "frozen", outcome)
        answers.append("accepted" if beat.alive or taken else "refused")
    return answers


def steps() -> list[str]:
    """Claim, freeze between claim and commit, then commit."""
    here, go_on = threading.Event(), threading.Event()
    plugin = SlowFunction(here, go_on)
    light = Light(settings(), [PluginEntry(id="function", task_types=("function",), load=lambda: plugin)])
    actions = read_actions()
    shards = sorted({light.store.shard_of(action.run_id) for action in actions})
    refused: list[int] = []

    def step(shard: int) -> None:
        refused.append(light.engine.stepper.step(shard).superseded)

    claims = [threading.Thread(target=step, args=[shard]) for shard in shards]
    for claim in claims:
        here.clear()
        claim.start()
        here.wait()
    say("held")
    sys.stdin.readline()
    go_on.set()
    for claim in claims:
        claim.join()
    return ["refused"] * sum(refused) + ["accepted"] * (len(actions) - sum(refused))


def settings() -> Settings:
    """Return the settings of the environment, with leases that end soon."""
    return Settings.from_env(None, **LEASE)


def read_actions() -> list[ActionId]:
    """Return the first line of the input."""
    return [ActionId.parse(path) for path in sys.stdin.readline().split()]


def say(line: str) -> None:
    """Print a line for the test."""
    print(line, flush=True)


if __name__ == "__main__":
    logs.configure("ERROR")
    say(" ".join({"attempts": attempts, "steps": steps}[sys.argv[1]]()))
