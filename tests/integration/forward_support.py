"""What the tests of forwarding share: an installation with events, and services that bind queues as kombu comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kombu import Connection, Exchange, Queue

from reconciler.api.action import ActionId, ActionSpec, RunId, TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.broker.exchange import EventExchange
from reconciler.client.channel import Channel
from reconciler.settings import Settings
from reconciler.stores.events import encode_event
from reconciler.stores.redis.store import RedisStore
from worker.forwarding import Forwarder, group_of, reader_of

EXCHANGE = "events"
PHASES = (ActionPhase.QUEUED, ActionPhase.RUNNING, ActionPhase.SUCCEEDED)
Received = list[tuple[str, str, int]]
"""Of each message: routing key, action, sequence."""


def settings_for(records_url: str, broker_url: str, **more: Any) -> Settings:
    """Return settings of an installation that forwards and waits a second at most."""
    wait = timedelta(seconds=1)
    return Settings(
        redis_url=records_url,
        events_exchange=EXCHANGE,
        events_exchange_url=broker_url,
        shards=4,
        socket_timeout=wait,
        connect_timeout=wait,
        **more,
    )


class Installation:
    """Records of its own, events in its channel, and forwarders."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = RedisStore(settings)
        self.forwarders: list[Forwarder] = []

    def event(self, run: str, sequence: int, project: str = "p", **more: Any) -> ActionEvent:
        """Return an event as steps make it."""
        id_ = ActionId(project, "d", run, "a0")
        phase, at = PHASES[min(sequence, 3) - 1], self.store.now()
        return ActionEvent(id=id_, sequence=sequence, phase=phase, updated_time=at, reported_time=at, **more)

    def add(self, event: ActionEvent) -> None:
        """Append an event to the channel, as a commit does."""
        self.put(event.id.run_id, encode_event(event))

    def put(self, run: RunId, data: bytes) -> None:
        """Append any bytes to the channel."""
        self.store.client.xadd(self.store.keys.events(self.store.shard_of(run)), {"e": data})

    def publish(self, runs: int, project: str = "p", start: int = 0) -> set[tuple[str, int]]:
        """Three events for each of so many runs, all runs side by side; action and sequence of each."""
        added = set()
        for sequence in (1, 2, 3):
            for number in range(start, start + runs):
                event = self.event(f"r{number}", sequence, project)
                self.add(event)
                added.add((str(event.id), sequence))
        return added

    def create(self, run: str) -> None:
        """Submit an action, whose first event the store writes itself."""
        id_ = ActionId("p", "d", run, "a0")
        spec = ActionSpec(
            run_name=run, project="p", domain="d", action_name="a0", input_uri="inline:", inputs=b"{}",
            run_output_base="s3://bucket/base", task_type="echo", task_template=b"{}",
        )  # fmt: skip
        self.store.create([TaskAction(id_, spec)])

    def forward(self, name: str = "steps@one", idle: float = 60) -> Forwarder:
        """Start a forwarder, as a steps worker does."""
        reader = reader_of(self.settings, name, timedelta(seconds=idle))
        forwarder = Forwarder(reader, EventExchange(self.settings), self.store)
        self.forwarders.append(forwarder)
        forwarder.start()
        return forwarder

    def open_events(self) -> int:
        """Return events that some forwarder was given and has not acknowledged."""
        keys = (self.store.keys.events(shard) for shard in range(self.store.shards))
        found: list[Any] = [self.store.client.xpending(key, group_of(self.settings)) for key in keys]
        return sum(one["pending"] for one in found)

    def make_group(self) -> None:
        """Make the forwarders' group before there is any."""
        reader = Channel(self.settings).reader(group_of(self.settings), "maker")
        reader.read(limit=1)
        reader.close()

    def audits(self) -> dict[str, str]:
        """Reason of the warnings, by action."""
        shards = range(self.store.shards)
        return {str(one.id): one.reason for shard in shards for one in self.store.audit(shard)}

    def close(self) -> None:
        """Stop the forwarders and close the connections."""
        for forwarder in self.forwarders:
            forwarder.stop()
        for forwarder in self.forwarders:
            forwarder.join(20)
            assert not forwarder.is_alive()
        self.store.close()


class Service:
    """A program of somebody else: binds a queue, and remembers what it got."""

    def __init__(self, url: str, pattern: str, queue: str = "service") -> None:
        self._connection = Connection(url)
        exchange = Exchange(EXCHANGE, type="topic", durable=True)
        self._queue = Queue(queue, exchange, routing_key=pattern)(self._connection.channel())
        self._queue.declare()
        self.received: Received = []
        self.documents: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def take(self) -> Received:
        """Return all that lies in the queue, appended to what it got before."""
        while (message := self._queue.get()) is not None:
            document = message.payload
            assert message.content_type == "application/json"
            assert message.headers["dedupe_key"] == message.properties["message_id"]
            self.keys.append(message.headers["dedupe_key"])
            self.documents.append(document)
            key = message.delivery_info["routing_key"]
            self.received.append((key, document["action"], document["sequence"]))
            message.ack()
        return self.received

    def has(self, wanted: set[tuple[str, int]]) -> Callable[[], bool]:
        """Whether it has got all of these, as a condition to wait for."""
        return lambda: wanted <= {(action, sequence) for _, action, sequence in self.take()}

    def sequences(self) -> dict[str, list[int]]:
        """Return the sequence numbers of each action, as they came."""
        found: dict[str, list[int]] = {}
        for _, action, sequence in self.received:
            found.setdefault(action, []).append(sequence)
        return found

    def close(self) -> None:
        """Close its connection."""
        self._connection.release()
