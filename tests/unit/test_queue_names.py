"""What queues are called where the broker has no prefix of its own, without a server."""

from __future__ import annotations

import pytest

from reconciler.broker.conf import build_app
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.settings import Settings
from worker.role import chosen_queues, role_of


@pytest.mark.parametrize(("url", "prefix"), [("amqp://h//", "shop:"), ("redis://h/0", "")])
def test_the_prefix_is_part_of_a_queues_name_outside_redis(url: str, prefix: str) -> None:
    """Routes, `-Q` and the queues a worker takes by itself mean the same queue; its exchange and key have the name too."""
    settings = Settings(broker_url=url, key_prefix="shop")
    app = build_app(settings)
    for task, name in ((RECONCILE, "steps"), (RUN_ATTEMPTS, "attempts")):
        queue = app.amqp.router.route({}, task)["queue"]
        assert (queue.name, queue.exchange.name, queue.routing_key) == (prefix + name,) * 3
    app.amqp.queues.select(["gpu", "steps"])
    assert {queue.name for queue in app.amqp.queues.consume_from.values()} == {
        f"{prefix}gpu",
        f"{prefix}steps",
    }
    app.close()


def test_a_worker_without_q_knows_its_role() -> None:
    """On RabbitMQ as on Redis it takes both queues of the settings."""
    settings = Settings(broker_url="amqp://h//", key_prefix="shop")
    app = build_app(settings)
    role = role_of(chosen_queues(app.conf, {}), settings)
    assert (role.steps, role.attempts) == (True, True)
    app.close()
