"""How a broker's URL becomes Celery's configuration, without a server."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from reconciler.address import mask
from reconciler.api.errors import InvalidSettings, InvalidSpec
from reconciler.broker.address import read_address
from reconciler.broker.conf import attempts_settings, build_app, celery_settings
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.broker.recording import RecordingMessenger, Wake
from reconciler.settings import Settings


@pytest.mark.parametrize(
    ("url", "celery_url", "transport"),
    [
        ("redis://h", "redis://h/0", "reconciler.broker.transport:Transport"),
        ("redis://u:p@h:7000/2", "redis://u:p@h:7000/2", "reconciler.broker.transport:Transport"),
        ("redis://h?db=4", "redis://h/4", "reconciler.broker.transport:Transport"),
        ("rediss://:p@h/1", "rediss://:p@h/1", "reconciler.broker.transport:TLSTransport"),
        ("unix:///run/v.sock?db=2", "reconciler+socket:///run/v.sock?virtual_host=2", None),
        ("redis+socket:///run/v.sock", "reconciler+socket:///run/v.sock?virtual_host=0", None),
        (
            "sentinel://a;sentinel://u:p@b:26380/3?master_name=main",
            "sentinel://u:p@a/3;sentinel://b:26380",
            "reconciler.broker.transport:SentinelTransport",
        ),
        ("amqp://u:p@h//", "amqp://u:p@h//", None),
        ("memory://", "memory://", None),
    ],
)
def test_each_scheme_gets_its_transport(url: str, celery_url: str, transport: str | None) -> None:
    """The URL is rewritten to what kombu reads, and the transport chosen by its scheme."""
    address = read_address(url)
    assert (address.url, address.transport) == (celery_url, transport)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("h:6379", "no scheme"),
        ("rabbit://h", "kombu knows no scheme 'rabbit'"),
        ("redis://a;redis://b", "a list of servers is for Sentinel"),
        ("sentinel://a", "add \\?master_name=NAME"),
        ("sentinel://a;redis://b?master_name=m", "must start with sentinel://"),
        ("redis://:s3cret/x@h/0", "its port is not a number; write / @ :"),
        ("redis://:s3cret@h/x", "the database must be a number"),
        ("redis://:s3cret@h?ssl_cert_reqs=none", "parameters that nothing reads: ssl_cert_reqs"),
        ("rediss://:s3cret@h?ssl_cert_reqs=maybe", "ssl_cert_reqs must be none, optional or required"),
        ("unix:///s?password=s3cret&timeout=1", "parameters that nothing reads: timeout"),
    ],
)
def test_unusable_url_is_refused_without_its_password(url: str, reason: str) -> None:
    """A URL that kombu would misread is refused with the reason, and the reason shows no password."""
    with pytest.raises(InvalidSettings, match=reason) as caught:
        celery_settings(Settings(broker_url=url))
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h/0", "redis://h/0"),
        ("redis://u:p@h/0", "redis://u:**@h/0"),
        ("redis://:p:a@s/s@h/0", "redis://:**@h/0"),
        ("sentinel://:p@a;sentinel://:q@b", "sentinel://:**@a;sentinel://:**@b"),
        ("unix:///a:b@c?password=p&db=1", "unix:///a:b@c?password=**&db=1"),
    ],
)
def test_mask_hides_passwords_only(url: str, shown: str) -> None:
    """Whatever a password holds, none of it is shown; the rest of the URL is."""
    assert mask(url) == shown
    assert repr(read_address("redis://:p@h")) == "BrokerAddress(redis://:**@h)"


def test_tls_requires_a_certificate_unless_told_otherwise() -> None:
    """`rediss://` checks certificates; kombu alone would accept any."""
    assert read_address("rediss://h").tls == {"ssl_cert_reqs": "required"}
    assert read_address("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false").tls == {
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
    }
    assert read_address("redis://h").tls is None


def test_another_programs_celery_variables_do_not_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broker and result backend of another Celery in the same environment are not taken for ours."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere/9")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://elsewhere/9")
    app = build_app(Settings(broker_url="redis://here/0"))
    assert app.connection_for_write().as_uri().endswith("here:6379/0")
    assert app.connection_for_read().as_uri().endswith("here:6379/0")
    assert app.backend.as_uri() == "disabled://"
    app.close()


def test_our_application_does_not_become_the_current_one() -> None:
    """A client's own Celery application stays the current one."""
    from celery import Celery, current_app  # noqa: PLC0415  # sets up global state on import

    theirs = Celery("theirs")
    ours = build_app(Settings())
    assert current_app.main == "theirs"
    ours.close()
    theirs.close()


def test_messages_held_longest_stay_within_the_visibility_timeout() -> None:
    """Four times the longest countdown, at least two minutes."""
    options = celery_settings(Settings(max_countdown=timedelta(minutes=1)))["broker_transport_options"]
    assert isinstance(options, dict)
    assert options["visibility_timeout"] == 240
    assert "retry_on_timeout" not in options  # it would silently turn batches off


def test_rabbitmq_is_left_alone() -> None:
    """Options of our transport are not given to another one."""
    settings = Settings(broker_url="amqp://u:p@h//")
    assert celery_settings(settings)["broker_transport_options"] == {}
    assert attempts_settings(settings)["worker_disable_prefetch"] is False


def test_tasks_are_routed_by_name() -> None:
    """Steps and sweeps go to the steps queue, attempts to theirs."""
    app = build_app(Settings(steps_queue="s", attempts_queue="a"))
    routed = {
        name: app.amqp.router.route({}, name)["queue"].name for name in (RECONCILE, "reconciler.sweep.gc")
    }
    assert set(routed.values()) == {"s"}
    assert app.amqp.router.route({}, RUN_ATTEMPTS)["queue"].name == "a"
    assert app.amqp.router.route({}, "unheard.of")["queue"].name == "s"
    app.close()


def test_settings_can_be_shown() -> None:
    """What `inspect conf` sends is plain data, apart from the queues."""
    settings = {key: value for key, value in celery_settings(Settings()).items() if key != "task_queues"}
    assert json.loads(json.dumps(settings)) == settings


def test_recording_messenger_remembers_in_order() -> None:
    """The in-memory messenger keeps what it was given."""
    messenger = RecordingMessenger()
    messenger.wake(1)
    messenger.wake(2, countdown=1.5)
    messenger.ticket("q")
    messenger.ticket("other")
    assert messenger.wakes == [Wake(1), Wake(2, 1.5)]
    assert messenger.tickets == ["q", "other"]


def test_a_task_somebody_declares_at_our_application_is_refused() -> None:
    """With a sentence: no worker would ever run it."""
    app = build_app(Settings())
    with pytest.raises(InvalidSpec, match=r"at an application of your own"):

        @app.task
        def plain() -> None:
            """Do nothing."""

    app.close()
