"""What a function writes, changes and leaves behind stays with its call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_support import FUNCTIONS, LOG_LIMIT, PATH, SUPERVISOR, eventually, gone, value

from reconciler.api.errors import InvalidSettings
from worker.runner.log import CappedLog
from worker.runner.runner import Call, Died, Ended, Runner, Stopped


def test_everything_that_is_written_is_in_the_log(
    run: Callable[..., Ended], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prints, descriptors, subprocesses, C code and log records go to the log, at the latest at the end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it would switch off the buffers of C too
    assert value(run("talk")) is None
    lines = log.read_text().splitlines()
    assert {"print", "error", "descriptor", "subprocess", "C library", "lone \\ud800 surrogate"} < set(lines)
    (record,) = [line for line in lines if "logged" in line]
    assert record.endswith("Z INFO mine: logged 1")


def test_each_call_has_its_own_log(run: Callable[..., Ended], log: Path) -> None:
    """Nothing of a call is in the log of the next one."""
    run("talk")
    assert value(run("add", a=1)) == 3
    assert log.read_bytes() == b""


def test_a_log_is_cut(run: Callable[..., Ended], log: Path) -> None:
    """Output beyond the limit is dropped, a last line says so, and the function is not held up."""
    assert value(run("flood", size=5_000_000)) is None
    written = log.read_bytes()
    assert len(written) <= LOG_LIMIT
    assert written.startswith(b"first\nyyy")
    assert written.endswith(b"\n[cut: the log was longer than 65536 bytes]\n")


@pytest.mark.parametrize(
    "parts", [[b"x" * 300], [b"x"] * 300, [b"x" * 299, b"x"], [b"", b"x" * 150, b"x" * 150]]
)
def test_a_log_of_exactly_the_limit_is_whole(parts: list[bytes], log: Path) -> None:
    """What fits is kept to the last byte, in whatever pieces it comes; one byte more, and it is cut."""
    for extra in (b"", b"y"):
        capped = CappedLog(log, 300)
        for part in [*parts, extra]:
            capped.write(part)
        capped.close()
        written = log.read_bytes()
        assert len(written) <= 300
        assert (written == b"x" * 300) is not bool(extra)
        assert written.endswith(b"bytes]\n") is bool(extra)


def test_a_full_disk_does_not_fail_the_call(runner: Runner) -> None:
    """A log that cannot be written loses lines, not the attempt."""
    call = Call("talk", b"{}", {}, {})
    options: dict[str, Any] = {"stop": lambda: None, "poll": 1.0, "timeout": 60.0, "grace": 1.0}
    assert value(runner.run(call, log=Path("/dev/full"), **options)) is None


def test_a_limit_too_small_is_refused() -> None:
    """A log limit that leaves no room for output is refused at once."""
    with pytest.raises(InvalidSettings, match="at least 256 bytes"):
        Runner([FUNCTIONS], log_limit=10)


def test_an_environment_is_for_one_call(run: Callable[..., Ended]) -> None:
    """Variables of a call are seen by it alone."""
    assert value(run("environment", env={"FOR_ONE_CALL": "1"}))["FOR_ONE_CALL"] == "1"
    assert "FOR_ONE_CALL" not in value(run("environment"))


def test_the_environment_can_be_withheld(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner with an environment of its own hides the supervisor's credentials."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT, environment={"MINE": "1"}) as runner:
        call = Call("environment", b"{}", {}, {})
        seen = value(runner.run(call, stop=lambda: None, poll=1, timeout=60, grace=1, log=log))
    assert seen["MINE"] == "1"
    assert "canary" not in seen.values()


def test_a_mess_is_put_in_order(run: Callable[..., Ended], log: Path) -> None:
    """Environment, folder, streams and signal handlers a call has changed are as before in the next."""
    before = value(run("pid"))
    assert value(run("make_a_mess")) is None
    seen = value(run("environment"))
    assert "MESS" not in seen
    assert "PATH" in seen
    assert seen["current folder"] == str(Path.cwd())
    run("talk")
    assert "print" in log.read_text()
    assert value(run("pid")) == before
    assert run("spin", timeout=0.2) == Stopped("timed out", killed=False)


def test_no_connection_of_ours_reaches_user_code(run: Callable[..., Ended], tmp_path: Path) -> None:
    """The child holds its streams, two sockets, a pipe and its list of threads, and nothing the supervisor has open."""
    secret = tmp_path / "open in the supervisor"
    with secret.open("w") as held:
        os.set_inheritable(held.fileno(), True)
        seen = value(run("descriptors"))
    assert str(secret) not in seen
    assert len([each for each in seen if each.startswith("socket:")]) == 2
    assert len(seen) <= 9


def test_the_child_is_light(run: Callable[..., Ended]) -> None:
    """The child imports neither Celery nor a client of a server: it starts fast and knows nobody."""
    heavy = {"celery", "kombu", "redis", "boto3", "botocore"}
    assert heavy.isdisjoint(value(run("imported")))


def test_processes_left_behind_are_ended(run: Callable[..., Ended]) -> None:
    """Processes of a call that returned are ended: plain ones, detached ones, and daemons."""
    left = value(run("start_processes"))
    assert len(left) == 3
    assert all(map(gone, left))


def test_processes_of_a_dead_function_are_ended(run: Callable[..., Ended], log: Path) -> None:
    """Processes of a call whose process died are ended as well, wherever they hid."""
    assert isinstance(run("start_processes_and_die"), Died)
    left = [int(word) for word in log.read_text().split()]
    assert len(left) == 3
    eventually(lambda: all(map(gone, left)))


@pytest.mark.parametrize(("how", "status"), [("return", 70), ("exit", 3)])
def test_a_forked_process_does_not_answer(run: Callable[..., Ended], how: str, status: int) -> None:
    """A process the function forks may come back into our code: it ends, and only its parent answers."""
    assert value(run("fork", how=how)) == status
    assert value(run("add", a=1)) == 3


def test_a_forked_process_ends_by_sigterm(run: Callable[..., Ended]) -> None:
    """Our handler for SIGTERM is not the business of processes the function forks."""
    assert value(run("terminate_a_fork")) == -signal.SIGTERM


def test_nothing_outlives_a_killed_supervisor(log: Path) -> None:
    """SIGKILL to the supervisor ends the child, though it holds its GIL, and what it has started."""
    program = SUPERVISOR + "supervise('start_process_and_hold_the_gil', sys.argv[1])\n"
    supervisor = subprocess.Popen([sys.executable, "-c", program, str(log)], env=PATH)
    try:
        eventually(lambda: log.exists() and log.read_text().endswith("\n"), within=30)
        child, grandchild = (int(word) for word in log.read_text().split())
        assert not gone(child)
        assert not gone(grandchild)
    finally:
        supervisor.kill()
        supervisor.wait()
    eventually(lambda: gone(child) and gone(grandchild), within=30)


def test_daemons_of_a_dead_function_are_ended(log: Path) -> None:
    """In a process of a pool a daemon ends with its function's process: neither a session nor an environment hides it."""
    program = (
        f"from worker.runner.process import own_all_children\n{SUPERVISOR}"
        "own_all_children()\n"
        "print(type(supervise('start_daemon_and_die', sys.argv[1])).__name__, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(log)], env=PATH, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as supervisor:
        assert supervisor.stdout
        assert supervisor.stdout.readline() == b"Died\n"
        assert gone(int(log.read_text()))


def test_it_works_in_the_daemonic_process_of_a_pool(log: Path) -> None:
    """A process of billiard's pool, which multiprocessing forbids to have children, can own a runner."""
    program = SUPERVISOR + (
        "from billiard.pool import Pool\n"
        "if __name__ == '__main__':\n"
        "    with Pool(1) as pool:\n"
        "        print(pool.apply(supervise, ('pid', sys.argv[1])).outputs)\n"
    )
    script = log.with_name("pool.py")
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script), str(log)],
        env=PATH,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith('b\'{"o0":')
