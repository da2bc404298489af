"""Forwarding without a server of the right kind: keys, names, settings, and what is done about a dead RabbitMQ."""

from __future__ import annotations

import socket
import time
from datetime import timedelta

import pytest
from amqp import exceptions as amqp
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.action import ActionId
from reconciler.api.errors import BrokerUnavailable
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.broker import exchange
from reconciler.broker.exchange import EventExchange, dedupe_key, exchange_problems, routing_key
from reconciler.settings import Settings
from worker.forwarding import reader_of

pytestmark = pytest.mark.rule("R59")
NAMES = st.text("aB9._-", max_size=28).map("a{}z".format)
IDS = st.builds(ActionId, NAMES, NAMES, NAMES, NAMES)


def event_of(id_: ActionId, sequence: int = 1) -> ActionEvent:
    """Return an event of an action."""
    return ActionEvent(id=id_, sequence=sequence, phase=ActionPhase.WAITING_FOR_RESOURCES)


def settings_of(url: str) -> Settings:
    """Return settings that forward there and wait half a second at most."""
    wait = timedelta(seconds=0.5)
    return Settings(events_exchange="e", events_exchange_url=url, socket_timeout=wait, connect_timeout=wait)


@given(IDS, IDS)
def test_routing_keys_tell_actions_apart(one: ActionId, other: ActionId) -> None:
    """A key has five words whatever the names hold, fits into AMQP's 255 bytes, and is that of one action alone."""
    words = routing_key(event_of(one)).split(".")
    assert len(words) == 5
    assert words[4] == "waiting_for_resources"
    assert len(".".join(words)) <= 255
    assert (one == other) == (routing_key(event_of(one)) == routing_key(event_of(other)))


@given(IDS, IDS, st.integers(1, 10**6), st.integers(1, 10**6))
def test_dedupe_keys_tell_events_apart(one: ActionId, other: ActionId, n: int, m: int) -> None:
    """Two events have the same key exactly when they are the same one."""
    same = dedupe_key(event_of(one, n)) == dedupe_key(event_of(other, m))
    assert same == (one == other and n == m)


@given(st.text(max_size=100))
def test_any_worker_has_a_name_in_the_group(worker: str) -> None:
    """Whatever a worker is called, it may read, under a name that is the same after a restart."""
    settings = Settings(events_exchange="e" * 50)
    for reader in (reader_of(settings, worker), reader_of(settings, worker)):
        reader.close()


def test_nothing_is_wrong_while_it_is_off() -> None:
    """Without an exchange its URL is not looked at, whatever the broker is."""
    assert exchange_problems(Settings(broker_url="memory://")) == []
    [problem] = exchange_problems(Settings(broker_url="memory://", events_exchange="e"))
    assert "RECONCILER_EVENTS_EXCHANGE_URL" in problem


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (amqp.ContentTooLarge, True),
        (amqp.PreconditionFailed, True),
        (amqp.MessageNacked, True),
        (amqp.RecoverableConnectionError, False),
        (amqp.NotFound, False),
        (amqp.AccessRefused, False),
        (TimeoutError, False),
    ],
)
def test_answers_of_amqp_are_sorted(error: type[Exception], refused: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """What a message or its queue is to blame for is set aside; a missing connection, exchange or right is waited for."""
    made = EventExchange(settings_of("amqp://localhost//"))
    assert issubclass(error, made._errors)
    assert issubclass(error, exchange._REFUSALS) == refused


def test_a_silent_rabbitmq_is_given_up_in_time() -> None:
    """A server that accepts and never answers costs no more than the time limits, and all of a list are tried."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as gone:
        dead, port = gone.getsockname()[1], silent.getsockname()[1]
        gone.close()
        url = f"amqp://u:t0p-s3cret@127.0.0.1:{dead}//;amqp://u:t0p-s3cret@127.0.0.1:{port}//"
        made = EventExchange(settings_of(url))
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="wait in the results channel") as caught:
            made.publish([event_of(ActionId("p", "d", "r", "a"))])
        assert time.monotonic() - began < 60
        assert "t0p-s3cret" not in str(caught.value)
        silent.settimeout(60)
        silent.accept()[0].close()  # it was dialled
