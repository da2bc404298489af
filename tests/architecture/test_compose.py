"""docker-compose.yml: valid, closed to the outside, and in step with the settings.

The schema is the official one of the Compose specification, as the package check-jsonschema ships it; only
that file is used, so that this test needs no network.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from reconciler.address import read_redis
from reconciler.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OUR_IMAGE = "${IMAGE:-celery-reconciler:local}"
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == OUR_IMAGE)
WORKERS = ("steps", "attempts")
PINNED = re.compile(r":\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}$")
"""A name that stays the same for whoever reads it, and a content that stays the same for whoever pulls it."""


def violations(document: dict[str, Any]) -> list[str]:
    """What the Compose specification has against a document, one line each."""
    schema = distribution("check-jsonschema").locate_file(
        "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
    )
    validator = Draft202012Validator(json.loads(Path(str(schema)).read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def with_defaults(text: str) -> str:
    """Return a value as Compose reads it when no variable is set: `${NAME:-default}` becomes the default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def words(command: str | list[str]) -> list[str]:
    """Return a command as a list, however it is written."""
    return command.split() if isinstance(command, str) else command


def option(service: str, *names: str) -> str:
    """Return the value of a worker's option, under any of its names."""
    command = words(SERVICES[service]["command"])
    return next(command[i + 1] for i, word in enumerate(command) if word in names)


def test_follows_the_compose_specification() -> None:
    """The file uses only keys and values the specification knows."""
    assert violations(COMPOSE) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("healthchek", {}), ("restart", 3), ("depends_on", {"redis": {"condition": "healthy"}})],
)
def test_the_schema_notices_mistakes(key: str, value: object) -> None:
    """A misspelt key, a wrong type and an unknown condition are each reported."""
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["beat"][key] = value
    assert violations(wrong)


def test_docker_compose_accepts_it() -> None:
    """`docker compose config` finds nothing to object to, where that command is installed."""
    docker = shutil.which("docker") or pytest.skip("docker is not installed here")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose command here")
    config = [docker, "compose", "--file", str(FILE), "config", "--quiet"]
    done = subprocess.run(config, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_variable_is_a_setting() -> None:
    """No RECONCILER_ variable is named that the programs would refuse at their start."""
    named = {name.removeprefix(PREFIX).lower() for name in re.findall(rf"{PREFIX}[A-Z0-9_]+", TEXT)}
    assert named
    assert named <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("service", OURS)
def test_the_settings_can_be_used(service: str) -> None:
    """With nothing set on the host, each service gets valid settings that point at its neighbours."""
    environment = {key: with_defaults(value) for key, value in SERVICES[service]["environment"].items()}
    settings = Settings.from_env(environment)
    assert settings.redis_url.startswith("redis://redis:")
    assert settings.s3_endpoint == "http://s3:8333"
    assert f"-bucket={settings.s3_bucket}" in [with_defaults(word) for word in SERVICES["s3"]["command"]]


def test_every_container_has_a_limit_of_memory() -> None:
    """One that grows without end takes no neighbour with it; Redis refuses new work before its limit is reached."""
    assert [name for name, service in SERVICES.items() if not service.get("mem_limit")] == []
    command = [with_defaults(word) for word in words(SERVICES["redis"]["command"])]
    assert dict(pairwise(command))["--maxmemory"] == "1gb"
    assert with_defaults(SERVICES["redis"]["mem_limit"]) == "2g"


@pytest.mark.parametrize("name", WORKERS)
def test_workers_serve_metrics(name: str) -> None:
    """Where others of the network and this host can scrape them, on the port that is published."""
    settings = Settings.from_env(
        {key: with_defaults(value) for key, value in SERVICES[name]["environment"].items()}
    )
    assert settings.metrics_address == "0.0.0.0"  # noqa: S104  # inside a container
    published = [with_defaults(port) for port in SERVICES[name]["ports"]]
    assert any(port.endswith(f":{settings.metrics_port}") for port in published)


def test_the_profile_ha_is_off_unless_asked_for() -> None:
    """What it adds is a replica and three Sentinels, and the URL in the file's head names them and their primary."""
    added = sorted(name for name, service in SERVICES.items() if service.get("profiles") == ["ha"])
    assert added == ["redis-replica", "sentinel-1", "sentinel-2", "sentinel-3"]
    assert [name for name, service in SERVICES.items() if service.get("profiles") not in (None, ["ha"])] == []
    [url] = re.findall(r"RECONCILER_REDIS_URL='(sentinel://\S+)'", TEXT)
    address = read_redis(url)
    assert [host for host, _ in address.hosts] == added[1:]
    assert f"sentinel monitor {address.master_name} redis 6379 2" in str(SERVICES["sentinel-1"]["command"])
    names = {SERVICES[name]["volumes"][0].partition(":")[0] for name in ("redis", *added)}
    assert len(names) == 5  # nobody shares a volume
    assert names <= COMPOSE["volumes"].keys()


def test_a_replica_keeps_what_its_primary_keeps() -> None:
    """It becomes the primary: durability, limit and layout are the same."""
    ours, theirs = (
        dict(pairwise([with_defaults(word) for word in words(SERVICES[name]["command"])]))
        for name in ("redis", "redis-replica")
    )
    for name in (
        "--appendonly",
        "--appendfsync",
        "--maxmemory",
        "--maxmemory-policy",
        "--hash-max-listpack-value",
    ):
        assert ours[name] == theirs[name]
    assert (ours["--replica-announce-ip"], theirs["--replica-announce-ip"]) == ("redis", "redis-replica")


def test_published_ports_stay_on_this_host() -> None:
    """Nothing is reachable from another machine."""
    ports = [str(port) for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_watched_and_stop_in_order(name: str) -> None:
    """Each service has a health check, comes back after a crash, and has an init and time for its end."""
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["stop_grace_period"]


@pytest.mark.parametrize("name", OURS)
def test_programs_wait_for_their_servers(name: str) -> None:
    """None of our programs starts before Redis and S3 are healthy."""
    conditions = {server: wait["condition"] for server, wait in SERVICES[name]["depends_on"].items()}
    assert conditions == {"redis": "service_healthy", "s3": "service_healthy"}


def test_redis_keeps_what_it_accepted() -> None:
    """The record server writes an append-only file on a volume and evicts nothing."""
    command = [with_defaults(word) for word in words(SERVICES["redis"]["command"])]
    given = dict(pairwise(command))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] in {"everysec", "always"}
    assert given["--maxmemory-policy"] == "noeviction"
    assert SERVICES["redis"]["volumes"] == ["redis-data:/data"]
    assert "redis-data" in COMPOSE["volumes"]


def test_images_are_pinned_and_built_once() -> None:
    """Foreign images name a version; ours is built by one service and never looked for elsewhere."""
    foreign = {service["image"] for service in SERVICES.values()} - {OUR_IMAGE}
    assert [image for image in foreign if not PINNED.search(image)] == []
    assert [name for name in OURS if "build" in SERVICES[name]] == ["steps"]
    assert {SERVICES[name]["pull_policy"] for name in OURS if name != "steps"} == {"never"}


def test_workers_serve_the_queues_of_the_settings() -> None:
    """Each queue has its worker, in the pool that suits it."""
    settings = Settings()
    assert option("steps", "-Q") == settings.steps_queue
    assert option("steps", "-P") == "threads"
    assert option("attempts", "-Q") == settings.attempts_queue
    assert option("attempts", "-P") == "prefork"
    assert SERVICES["attempts"]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"


@pytest.mark.parametrize("name", WORKERS)
def test_workers_are_asked_by_the_name_they_have(name: str) -> None:
    """The health check asks for the liveness key of the node name the worker was started with."""
    node = option(name, "-n").replace("%h", "$$(hostname)")
    assert SERVICES[name]["healthcheck"]["test"][1] == f'reconciler doctor --worker "{node}"'
