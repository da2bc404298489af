"""RabbitMQ as the broker: what is ours there, and what is another installation's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from rabbit import NO_RABBIT, Rabbit, installed

from reconciler.api.action import ActionSpec
from reconciler.api.errors import BrokerUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.broker.check import look_at_broker
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.broker.queues import plain_name
from reconciler.client.client import Client
from reconciler.settings import Settings
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import Engine

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not installed(), reason=NO_RABBIT)]

LIMIT = timedelta(seconds=3)
TEMPLATE = b'{"type": "core-sleep", "interface": {"inputs": {"duration": "duration"}}}'


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """One node for all tests of this file."""
    with Rabbit(tmp_path_factory.mktemp("rabbit")) as running:
        yield running


def settings_for(rabbit: Rabbit, prefix: str, records: str = "redis://127.0.0.1:1/0") -> Settings:
    """Return an installation there, by its key prefix."""
    return Settings(
        redis_url=records,
        broker_url=rabbit.url,
        key_prefix=prefix,
        shards=1,
        socket_timeout=LIMIT,
        connect_timeout=LIMIT,
    )


def taken(settings: Settings, queue: str) -> list[object]:
    """Return all messages that a worker with `-Q queue` would be given, acknowledged."""
    app = build_app(settings)
    app.amqp.queues.select([queue])
    found: list[object] = []
    with app.connection_for_read() as connection:
        [declared] = app.amqp.queues.consume_from.values()
        assert plain_name(declared) == queue
        bound = declared(connection.default_channel)
        bound.declare()
        while (message := bound.get()) is not None:
            found.append(message.payload[0])
            message.ack()
    app.close()
    return found


def test_two_installations_share_a_virtual_host(rabbit: Rabbit) -> None:
    """Each is given its own messages and no others, also those of queues that only a task names."""
    one, other = settings_for(rabbit, "one"), settings_for(rabbit, "other")
    for number, settings in enumerate((one, other)):
        messenger = CeleryMessenger(build_app(settings), settings)
        for queue in ("steps", "attempts", "gpu"):
            taken(settings, queue)
        for shard in range(3):
            messenger.wake(10 * number + shard)
        for queue in ("attempts", "gpu"):
            for _ in range(number + 1):
                messenger.ticket(queue)
        messenger.close()
    assert look_at_broker(one, ("steps", "attempts")).waiting == {"steps": 3, "attempts": 1}
    assert taken(one, "steps") == [[0], [1], [2]]
    assert taken(other, "steps") == [[10], [11], [12]]
    for queue in ("attempts", "gpu"):
        assert taken(one, queue) == [[queue]]
        assert taken(other, queue) == [[queue], [queue]]


def test_sweeps_go_to_the_own_queue(rabbit: Rabbit) -> None:
    """What beat sends by the name of a queue is given to this installation's workers."""
    one, other = settings_for(rabbit, "beat1"), settings_for(rabbit, "beat2")
    for settings in (one, other):
        taken(settings, "steps")
    app = build_app(one)
    app.send_task("reconciler.sweep.resync", queue="steps")
    app.send_task("reconciler.sweep.collect")
    app.close()
    assert len(taken(one, "steps")) == 2
    assert taken(other, "steps") == []


def test_celerys_own_talk_is_apart(rabbit: Rabbit) -> None:
    """Flower of one installation neither sees nor stops the workers of another one on the same virtual host."""
    names = {
        (app.control.mailbox.exchange.name, app.control.mailbox.reply_exchange.name, app.conf.event_exchange)
        for app in (build_app(settings_for(rabbit, prefix)) for prefix in ("one", "other"))
    }
    assert len({name for three in names for name in three}) == 6


def test_an_action_runs(rabbit: Rabbit, url: str) -> None:
    """Records in Valkey, messages in RabbitMQ: an action is stored, its wake-up comes, a step ends it."""
    settings = settings_for(rabbit, "run", url)
    store, blobs = RedisStore(settings), MemoryBlobs("bucket")
    messenger = CeleryMessenger(build_app(settings), settings)
    engine = Engine(settings, store=store, blobs=blobs, messenger=messenger)
    taken(settings, "steps")
    spec = ActionSpec(task_type="core-sleep", task_template=TEMPLATE, inputs=b'{"duration": 0}')
    run = Client(store, blobs, messenger, settings).submit(spec)
    assert taken(settings, "steps") == [[0]]
    engine.stepper.step(0)
    assert run.wait(10).phase is ActionPhase.SUCCEEDED
    engine.stepper.close()
    messenger.close()
    store.close()


def test_a_wrong_password_is_told(rabbit: Rabbit) -> None:
    """And it is not shown."""
    settings = Settings(broker_url=rabbit.url.replace("guest:guest", "guest:s3cr3t"), connect_timeout=LIMIT)
    with pytest.raises(BrokerUnavailable, match="takes no messages") as caught:
        CeleryMessenger(build_app(settings), settings).wake(0)
    assert "s3cr3t" not in str(caught.value)


def test_what_keeps_us_from_a_virtual_host_is_told(rabbit: Rabbit) -> None:
    """A good broker takes a message and gives it back; a missing virtual host and wrong credentials have a remedy."""
    assert look_at_broker(Settings(broker_url=rabbit.url), ("steps",)).problems == ()
    missing = look_at_broker(Settings(broker_url=f"{rabbit.url.removesuffix('//')}/nowhere"))
    refused = look_at_broker(Settings(broker_url=rabbit.url.replace("guest:guest", "guest:wr0ng")))
    assert "rabbitmqctl add_vhost" in missing.problems[0]
    assert "check user and password in RECONCILER_BROKER_URL" in refused.problems[0]
    assert "wr0ng" not in refused.problems[0]
    assert missing.lasting
    assert refused.lasting
