"""Define how Celery is set up here: every setting that differs from its default, with the reason.

The records are the truth, a message is a wake-up: so no result backend, no retries, no canvas, and every wait
is short. Not settable here, but on the worker's command line: `--without-gossip --without-mingle`.
"""

from __future__ import annotations

import math
from datetime import timedelta

from celery import Celery

from reconciler.broker.address import BrokerAddress, read_address
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.broker.own_app import OwnApp
from reconciler.broker.queues import messaging, name_prefix, queue_of, talk
from reconciler.settings import Settings

SWEEPS = "reconciler.sweep.*"
"""Pattern of the names of the periodic tasks."""


def build_app(settings: Settings, name: str = "reconciler") -> Celery:
    """Make a Celery application with our configuration and no tasks.

    It is not made the process's current application: a client may have one of its own.

    Args:
        settings: where the broker is and how long to wait for it.
        name: name of the application, for people.

    Raises:
        InvalidSettings: the broker's URL cannot be used.
    """
    prefix = name_prefix(settings, read_address(settings.effective_broker_url()))
    # no fix-ups: with DJANGO_SETTINGS_MODULE Celery would import the user's models into our workers
    app = OwnApp(name, set_as_current=False, amqp=messaging(prefix), fixups=())
    app.conf.update(celery_settings(settings))
    # Not in the configuration, where the variable CELERY_RESULT_BACKEND of another program would win.
    app.backend_cls = "disabled"
    return app


def celery_settings(settings: Settings) -> dict[str, object]:
    """Make Celery's configuration, for clients and for workers of the steps queue.

    Raises:
        InvalidSettings: the broker's URL cannot be used.
    """
    address = read_address(settings.effective_broker_url())
    return {
        **_connection(settings, address),
        **_messages(settings, name_prefix(settings, address)),
        **talk(name_prefix(settings, address)),
        **_worker(settings),
        "broker_transport_options": _wake_up_options(settings, address),
    }


def attempts_settings(settings: Settings) -> dict[str, object]:
    """List the settings of a worker of any queue besides steps, on top of `celery_settings`.

    Raises:
        InvalidSettings: the broker's URL cannot be used.
    """
    return {
        # An attempt may run for days: a ticket held behind it would wait while another worker is idle.
        "worker_disable_prefetch": read_address(settings.effective_broker_url()).family == "redis",
        # Flower shows attempts. Steps are far more, and each event costs as much as a step (measured).
        "worker_send_task_events": True,
    }


def _wake_up_options(settings: Settings, address: BrokerAddress) -> dict[str, object]:
    """Make the transport options for wake-ups and tickets, which hold no truth.

    The ack emulation of kombu's Redis transport costs two transactions per message, a third of a lone step, to guard what
    the due index knows anyway: a lost wake-up is sent again by the resync sweep within seconds.
    """
    options = _transport_options(settings, address, _steps_visibility(settings))
    return {**options, "ack_emulation": False} if options else {}


def exchange_options(settings: Settings, address: BrokerAddress) -> dict[str, object]:
    """Make the transport options for publishing to an exchange that other programs bind queues to.

    On Redis without a prefix: whoever connects with kombu as it comes shall see the same exchange.
    """
    if address.family == "other":
        wait = settings.socket_timeout.total_seconds()
        # default without confirms: a message may be lost after `publish` has returned
        return {"confirm_publish": True, "read_timeout": wait, "write_timeout": wait}
    return {**_transport_options(settings, address, _steps_visibility(settings)), "global_keyprefix": ""}


def _steps_visibility(settings: Settings) -> timedelta:
    """Choose a time longer than any countdown and any step, or messages are delivered again while they are still held."""
    return max(timedelta(seconds=120), 4 * settings.max_countdown, 4 * settings.step_lease)


def _connection(settings: Settings, address: BrokerAddress) -> dict[str, object]:
    return {
        "broker_url": address.url,
        # Again, twice: the variable CELERY_BROKER_URL, meant for another program, wins over broker_url alone.
        "broker_read_url": address.url,
        "broker_write_url": address.url,
        "broker_transport": address.transport,  # survives broker restarts (transport.py)
        "broker_use_ssl": address.tls or False,  # kombu alone would accept any certificate
        "broker_connection_timeout": settings.connect_timeout.total_seconds(),  # default 4 s
        "broker_connection_retry_on_startup": True,  # it may go between the look at the start and the consumer
        "broker_channel_error_retry": True,  # default: a worker ends when the broker refuses a command as it starts
        "broker_connection_max_retries": None,  # default 100: a worker would give up in a long outage
    }


def _transport_options(
    settings: Settings, address: BrokerAddress, visibility: timedelta
) -> dict[str, object]:
    if address.family == "other":
        return {}
    waits = {
        "socket_timeout": settings.socket_timeout.total_seconds(),  # default none: a frozen server hangs us
        "socket_connect_timeout": settings.connect_timeout.total_seconds(),  # default none
    }
    # redis-py asks a dead Sentinel eleven times before it asks the next one, unless told not to retry.
    sentinel = {
        "master_name": address.master_name,
        "sentinel_kwargs": {**waits, "retry": None, **address.sentinel},
    }
    return {
        **waits,
        **(sentinel if address.master_name else {}),
        "global_keyprefix": f"{settings.key_prefix}:mq:",  # other installations and programs on the server
        # the colon: no queue has one in its name, or its list would be one of these keys and end every worker
        "unacked_key": ":unacked",
        "unacked_index_key": ":unacked_index",
        "unacked_mutex_key": ":unacked_mutex",
        "unacked_mutex_expire": 30,  # default 300 s: for that time nobody restores once a worker has died while it restored
        "unacked_restore_interval": 5,  # seconds between two looks for expired messages
        "unacked_restore_throttle": 1,  # default 10: every 100 s only
        "unacked_restore_limit": 500,  # default all at once: 40,000 block the worker's loop for 11 s
        "visibility_timeout": math.ceil(visibility.total_seconds()),  # default 1 h
        "priority_steps": [0],  # one list per queue instead of four
        "socket_keepalive": True,  # dead peers are noticed on idle connections
        "health_check_interval": 5,  # default 25 s: so late may the answer of a consumer's line be, or it is dead
        "max_retries": 0,  # publishing: one try, then the caller is told; the sweep sends again
        "client_name": f"{settings.key_prefix}-broker",  # what CLIENT LIST shows
    }


def _messages(settings: Settings, prefix: str) -> dict[str, object]:
    steps, attempts = settings.steps_queue, settings.attempts_queue
    return {
        "accept_content": ["json"],  # never unpickle what lies in a queue
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "task_ignore_result": True,  # outcomes are in the records
        "task_store_errors_even_if_ignored": False,
        "task_publish_retry": False,  # an outage is told to the caller, who knows that the sweep repeats
        "task_send_sent_event": False,  # costs the sender as much as the message itself
        "task_default_queue": steps,
        "task_queues": (queue_of(steps, prefix), queue_of(attempts, prefix)),
        "task_routes": {
            RECONCILE: {"queue": steps},
            SWEEPS: {"queue": steps},
            RUN_ATTEMPTS: {"queue": attempts},
        },
        "task_acks_late": True,  # where the broker knows of it (RabbitMQ): a step cut short is delivered again
        "task_reject_on_worker_lost": False,  # would repeat a step that kills its process for ever
        "task_annotations": {
            RECONCILE: {"send_events": False},  # as many as there are steps; Flower keeps each in memory
            RUN_ATTEMPTS: {
                "send_events": False
            },  # each launch is told of by itself (worker/attempts/flower.py)
        },
    }


def _worker(settings: Settings) -> dict[str, object]:
    return {
        "worker_prefetch_multiplier": 1,  # default 4: messages would wait here while other workers are idle
        "worker_enable_remote_control": True,  # Flower
        "worker_hijack_root_logger": False,  # logging is set up by the worker package
        "worker_redirect_stdouts": False,  # what user code prints belongs to the attempt, not to our log
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # an outage must not stop user code
        "worker_soft_shutdown_timeout": 20.0,  # with REMAP_SIGTERM=SIGQUIT: running work gets 20 s
        # default 4 s: too short for a loaded host, and a plugin that hangs shall be told before
        "worker_proc_alive_timeout": settings.import_timeout.total_seconds() + 20.0,
    }
