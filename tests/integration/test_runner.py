"""Users' functions in a process of their own: how calls end, are stopped, and leave nothing behind."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.api.errors import InvalidSettings
from reconciler.core.current import CurrentAttempt
from worker.runner import Call, Died, Ended, Raised, Returned, Runner, Stopped, Unknown
from worker.runner_log import CappedLog

FUNCTIONS = "runner_functions"
LOG_LIMIT = 64 * 1024
PATH = {"PYTHONPATH": os.pathsep.join(sys.path)}
SUPERVISOR = """
import sys
from pathlib import Path
from worker.runner import Call, Runner

def supervise(function, log):
    runner = Runner(["runner_functions"], log_limit=65536)
    call = Call(function, b"{}", {}, {})
    return runner.run(call, stop=lambda: None, poll=1, timeout=60, grace=5, log=Path(log))
"""


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner of the functions in runner_functions.py, closed afterwards."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT) as made:
        yield made


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the log of the call lies."""
    return tmp_path / "log"


@pytest.fixture
def run(runner: Runner, log: Path) -> Callable[..., Ended]:
    """Run a function by name, with a limit that ends the test instead of hanging it."""

    def call(function: str, /, *, stop: Callable[[], str | None] = lambda: None, **given: Any) -> Ended:
        options = {"poll": 0.02, "timeout": 60.0, "grace": 10.0}
        options |= {name: given.pop(name) for name in list(given) if name in options}
        env = given.pop("env", {})
        context = given.pop("context", {})
        return runner.run(
            Call(function, msgspec.json.encode(given), env, context), stop=stop, log=log, **options
        )

    return call


def value(ended: Ended) -> Any:
    """What a call returned."""
    assert isinstance(ended, Returned), ended
    return json.loads(ended.outputs)["o0"]


def eventually(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait until a condition holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + within
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "this did not come true in time"
        tick.wait(0.01)


def gone(process: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def started(log: Path) -> bool:
    """Whether the function of the call has begun to do what it is there for."""
    return log.exists() and b"started" in log.read_bytes()


# --- calls that end by themselves


def test_a_result_comes_back(run: Callable[..., Ended]) -> None:
    """A function gets its arguments, defaults included, and its result comes back."""
    assert value(run("add", a=1)) == 3


def test_a_coroutine_is_run(run: Callable[..., Ended]) -> None:
    """An `async def` function is run to its end."""
    assert value(run("add_async", a=1, b=5)) == 6


def test_the_child_is_used_again(run: Callable[..., Ended]) -> None:
    """Calls that return or raise share one process."""
    first = value(run("pid"))
    assert isinstance(run("fail", text=""), Raised)
    assert isinstance(run("nothing"), Unknown)
    assert value(run("pid")) == first != os.getpid()


def test_large_values_pass(run: Callable[..., Ended]) -> None:
    """Inputs and outputs of 20 MB pass."""
    size = 20 * 1024 * 1024
    assert value(run("measure", text="x" * size)) == size
    assert len(value(run("big", size=size))) == size


def test_a_result_beyond_the_limit_is_an_error(log: Path) -> None:
    """A result larger than allowed is an error of the user that names the setting; the next call is served."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT, result_limit=1000) as runner:
        options: dict[str, Any] = {
            "stop": lambda: None,
            "poll": 1.0,
            "timeout": 60.0,
            "grace": 1.0,
            "log": log,
        }
        ended = runner.run(Call("big", b'{"size":1001}', {}, {}), **options)
        assert isinstance(ended, Raised)
        assert ended.code == "InvalidResult"
        assert "RECONCILER_MAX_OBJECT_SIZE" in ended.message
        assert len(value(runner.run(Call("big", b'{"size":900}', {}, {}), **options))) == 900


def test_an_unknown_function_is_told(run: Callable[..., Ended]) -> None:
    """A name that no module declares gives the names there are."""
    ended = run("nothing")
    assert isinstance(ended, Unknown)
    assert ended.function == "nothing"
    assert {"add", "pid"} <= set(ended.known)


def test_the_attempt_is_known_inside(run: Callable[..., Ended]) -> None:
    """`current_attempt` tells plain and async functions what they run in; without a context there is none."""
    now = dt.datetime.now(dt.UTC)
    attempt = CurrentAttempt(
        project="p", domain="d", run="r", action="a", attempt=3, launch="3-1", started=now
    )
    seen = value(run("where_am_i", context=attempt.to_context()))
    assert seen == {"path": "p/d/r/a", "attempt": 3, "launch": "3-1"}
    assert value(run("where_am_i_async", context=attempt.to_context())) == "p/d/r/a"
    assert value(run("where_am_i")) == {}


# --- errors of the user


def test_an_exception_is_described(run: Callable[..., Ended]) -> None:
    """An exception gives its class, its message, and a traceback that begins in the user's code."""
    ended = run("fail", text="too bad")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == ("ValueError", "too bad", True)
    assert ended.traceback.count("Traceback (most recent call last)") == 2
    assert "ZeroDivisionError: division by zero" in ended.traceback
    files = [line for line in ended.traceback.splitlines() if line.startswith("  File")]
    assert files
    assert all("runner_functions.py" in line for line in files)


def test_an_exception_of_a_coroutine_is_described(run: Callable[..., Ended]) -> None:
    """The traceback of an async function shows neither our frames nor those of asyncio before the user's."""
    ended = run("fail_async")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message) == ("LookupError", "lost")
    assert "runner_functions.py" in ended.traceback.splitlines()[1]


def test_an_exception_can_forbid_retries(run: Callable[..., Ended]) -> None:
    """An exception with `retryable = False` is told apart, and named with its module."""
    ended = run("fail_for_good")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == ("runner_functions.OddError", "no way", False)


def test_long_texts_are_cut(run: Callable[..., Ended]) -> None:
    """A message of 1 MB arrives as 8 KiB, its traceback as 32 KiB, both with their ends."""
    ended = run("fail", text="<" + "é" * 500_000 + ">")
    assert isinstance(ended, Raised)
    assert 8000 < len(ended.message.encode()) <= 8192
    assert 32000 < len(ended.traceback.encode()) <= 32768
    assert ended.message.startswith("<")
    assert ended.message.endswith(">")
    assert "[... cut ...]" in ended.message


def test_an_exception_that_cannot_be_printed_is_described(run: Callable[..., Ended]) -> None:
    """An exception whose `__str__` raises SystemExit is still an ordinary error."""
    ended = run("fail_unprintably")
    assert isinstance(ended, Raised)
    assert ended.code == "runner_functions.Unprintable"
    assert ended.message == "(this exception cannot be printed)"


@pytest.mark.parametrize(
    ("how", "code", "message"), [("exit", "SystemExit", "7"), ("", "KeyboardInterrupt", "")]
)
def test_leaving_is_an_error(run: Callable[..., Ended], how: str, code: str, message: str) -> None:
    """`sys.exit` and KeyboardInterrupt in a function are errors of the user, not deaths."""
    before = value(run("pid"))
    ended = run("leave", how=how)
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == (code, message, True)
    assert value(run("pid")) == before


@pytest.mark.parametrize("function", ["wrong_result", "infinite_result"])
def test_a_result_that_does_not_fit_is_an_error(run: Callable[..., Ended], function: str) -> None:
    """A result that does not fit the return hint, or JSON, is an error no retry can help."""
    ended = run(function)
    assert isinstance(ended, Raised)
    assert (ended.code, ended.retryable) == ("InvalidResult", False)
    assert f"the result of {function}" in ended.message


def test_arguments_that_do_not_fit_are_an_error(run: Callable[..., Ended]) -> None:
    """Stored inputs that do not fit the function are an error no retry can help."""
    ended = run("add", a="one")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.retryable) == ("InvalidArguments", False)
    assert "the stored inputs do not fit add" in ended.message


# --- deaths


DEATHS: list[tuple[str, dict[str, int], int | None, int | None]] = [
    ("kill_myself", {"number": int(signal.SIGKILL)}, int(signal.SIGKILL), None),
    ("kill_myself", {"number": int(signal.SIGABRT)}, int(signal.SIGABRT), None),
    ("segfault", {}, int(signal.SIGSEGV), None),
    ("os_exit", {"status": 0}, None, 0),
    ("os_exit", {"status": 3}, None, 3),
]


@pytest.mark.parametrize(("function", "given", "number", "status"), DEATHS)
def test_a_death_is_told(
    run: Callable[..., Ended], function: str, given: dict[str, int], number: int | None, status: int | None
) -> None:
    """Signals and exit statuses are told apart, also status 0, and the next call finds a new process."""
    before = value(run("pid"))
    ended = run(function, **given)
    assert isinstance(ended, Died)
    assert (ended.signal, ended.status, ended.oom) == (number, status, False)
    assert ended.message.startswith("The process of the function ")
    assert value(run("pid")) != before
    assert gone(before)


def test_a_crash_leaves_its_stack_in_the_log(run: Callable[..., Ended], log: Path) -> None:
    """After a segmentation fault the log shows the Python stack."""
    assert isinstance(run("segfault"), Died)
    assert "Fatal Python error: Segmentation fault" in log.read_text()
    assert "in segfault" in log.read_text()


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup that may hold 200 MB; skipped where none can be made."""
    name = f"runner-test-{uuid.uuid4().hex[:8]}"
    group = _limited_group(Path("/sys/fs/cgroup/memory") / name, "memory.limit_in_bytes")
    group = group or _limited_group(Path("/sys/fs/cgroup") / name, "memory.max")
    if group is None:
        pytest.skip(
            "no cgroup with a memory limit can be made here (needs root and a writable /sys/fs/cgroup)"
        )
    yield group
    eventually(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def _limited_group(group: Path, limit: str) -> Path | None:
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / limit).write_text(str(200 << 20))
    except OSError:
        group.rmdir()
        return None
    return group


def test_death_for_want_of_memory_is_told(small_cgroup: Path, log: Path) -> None:
    """A child that the kernel's OOM killer ended is told apart from one that was killed otherwise."""
    program = SUPERVISOR + (
        "Path(sys.argv[2]).write_text('0')\n"
        "print(supervise('hog', sys.argv[1]))\n"
        "print(supervise('add', sys.argv[1]).code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(log), str(small_cgroup / "cgroup.procs")],
        env=PATH,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    death, after = done.stdout.splitlines()
    assert death.startswith(
        "Died(signal=9, status=None, oom=True, message='The process of the function was killed"
    )
    assert after == "InvalidArguments"


def test_a_function_that_closes_our_socket_is_ended(run: Callable[..., Ended]) -> None:
    """A function that closes what it did not open loses its process, not the worker."""
    before = value(run("pid"))
    ended = run("close_everything")
    assert isinstance(ended, Died)
    assert "broke off the conversation" in ended.message
    assert gone(before)
    assert value(run("add", a=1)) == 3


def test_a_sigterm_from_elsewhere_is_told(run: Callable[..., Ended]) -> None:
    """A SIGTERM that nobody here has sent is a death, not a stop."""
    ended = run("kill_myself", number=int(signal.SIGTERM))
    assert isinstance(ended, Died)
    assert ended.signal == signal.SIGTERM
    assert value(run("add", a=1)) == 3


def test_a_child_killed_between_calls_is_replaced(runner: Runner, run: Callable[..., Ended]) -> None:
    """A process that dies while it is idle costs nobody a call."""
    before = value(run("pid"))
    os.kill(before, signal.SIGKILL)
    eventually(lambda: gone(before))
    assert value(run("pid")) == runner.child_pid != before


# --- stops


def test_an_infinite_loop_is_stopped(run: Callable[..., Ended], log: Path) -> None:
    """`while True: pass` ends by an exception, without a kill, and the child is replaced."""
    before = value(run("pid"))
    assert run("spin", stop=lambda: "aborted" if started(log) else None) == Stopped("aborted", killed=False)
    assert gone(before)
    assert value(run("add", a=1)) == 3


@pytest.mark.parametrize("function", ["block", "block_async"])
def test_a_stopped_function_cleans_up(
    run: Callable[..., Ended], function: str, log: Path, tmp_path: Path
) -> None:
    """A function that waits, plain or async, is interrupted and its `finally` runs."""
    trace = tmp_path / "trace"
    ended = run(function, trace=str(trace), stop=lambda: "superseded" if started(log) else None)
    assert ended == Stopped("superseded", killed=False)
    assert trace.read_text() == "cleaned up"


def test_a_computing_coroutine_is_stopped(run: Callable[..., Ended], log: Path) -> None:
    """An async function that never awaits is interrupted too."""
    assert run("spin_async", stop=lambda: "aborted" if started(log) else None) == Stopped(
        "aborted", killed=False
    )


@pytest.mark.parametrize("function", ["stubborn", "hold_the_gil"])
def test_a_function_that_does_not_listen_is_killed(
    run: Callable[..., Ended], function: str, log: Path
) -> None:
    """A function that swallows the exception, and C code that holds the GIL, are killed after the grace."""
    before = value(run("pid"))
    ended = run(function, stop=lambda: "aborted" if started(log) else None, grace=0.2)
    assert ended == Stopped("aborted", killed=True)
    assert gone(before)
    assert value(run("add", a=1)) == 3


def test_the_exception_is_named(run: Callable[..., Ended], log: Path) -> None:
    """What is raised inside is `AttemptStopped`, which `except Exception` does not catch."""
    run("stubborn", stop=lambda: "aborted" if started(log) else None, grace=0.5)
    assert "ignored AttemptStopped" in log.read_text()


def test_time_is_limited(run: Callable[..., Ended]) -> None:
    """A function that takes longer than its timeout is stopped for that reason."""
    assert run("spin", timeout=0.2) == Stopped("timed out", killed=False)
    assert run("hold_the_gil", timeout=0.2, grace=0.1) == Stopped("timed out", killed=True)


def test_a_reason_to_stop_is_heeded_before_the_call(run: Callable[..., Ended], log: Path) -> None:
    """A call that shall not run any more does not begin."""
    assert run("spin", stop=lambda: "aborted") == Stopped("aborted", killed=False)
    assert not started(log)


def test_another_thread_stops_a_call_at_once(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """A heartbeat thread need not wait for the next poll, even while the function holds its GIL."""
    told = []

    def heartbeat() -> None:
        eventually(lambda: started(log))
        told.append(runner.request_stop("superseded"))

    thread = threading.Thread(target=heartbeat)
    thread.start()
    begun = time.monotonic()
    ended = run("hold_the_gil", poll=600.0, grace=0.1)
    thread.join()
    assert ended == Stopped("superseded", killed=True)
    assert told == [True]
    assert time.monotonic() - begun < 30


def test_a_late_request_stops_nothing(runner: Runner, run: Callable[..., Ended]) -> None:
    """A request after the end of a call is refused, and does not reach the next call."""
    assert value(run("add", a=1)) == 3
    assert runner.request_stop("aborted") is False
    assert value(run("add", a=1)) == 3


def test_an_error_of_the_callback_ends_the_call(run: Callable[..., Ended], log: Path) -> None:
    """When the supervisor cannot go on, its function is not left running behind its back."""
    before = value(run("pid"))

    def stop() -> str | None:
        if started(log):
            raise ConnectionError("no store")
        return None

    with pytest.raises(ConnectionError, match="no store"):
        run("hold_the_gil", stop=stop)
    assert gone(before)
    assert value(run("add", a=1)) == 3


# --- logs


def test_everything_that_is_written_is_in_the_log(run: Callable[..., Ended], log: Path) -> None:
    """Prints, descriptors, subprocesses, C code and log records go to the log, at the latest at the end."""
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


# --- isolation


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
    assert value(run("folder")) == str(Path.cwd())
    run("talk")
    assert "print" in log.read_text()
    assert value(run("pid")) == before
    assert run("spin", timeout=0.2) == Stopped("timed out", killed=False)


def test_no_connection_of_ours_reaches_user_code(run: Callable[..., Ended], tmp_path: Path) -> None:
    """The child holds its own streams, one socket and one pipe, and nothing the supervisor has open."""
    secret = tmp_path / "open in the supervisor"
    with secret.open("w") as held:
        os.set_inheritable(held.fileno(), True)
        seen = value(run("descriptors"))
    assert str(secret) not in seen
    assert len([each for each in seen if each.startswith("socket:")]) == 1
    assert len(seen) <= 7


def test_the_child_is_light(run: Callable[..., Ended]) -> None:
    """The child imports neither Celery nor a client of a server: it starts fast and knows nobody."""
    heavy = {"celery", "kombu", "redis", "boto3", "botocore", "asyncio"}
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
    """A process the function forks may come back into our code: it ends, and the function's own result counts."""
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
    eventually(lambda: gone(child) and gone(grandchild), within=5)


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


# --- starting and ending


def test_a_module_that_cannot_be_imported_is_told(log: Path) -> None:
    """A start that fails says which module is at fault and what to correct, at every call."""
    with Runner(["no_such_module"], log_limit=LOG_LIMIT) as runner:
        for _ in range(2):
            ended = runner.run(
                Call("add", b"{}", {}, {}), stop=lambda: None, poll=1, timeout=60, grace=1, log=log
            )
            assert isinstance(ended, Died)
            assert "module 'no_such_module' cannot be imported" in ended.message
            assert "RECONCILER_IMPORTS" in ended.message


def test_a_module_that_kills_the_process_is_told(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends during its imports is told, with what it wrote."""
    (tmp_path / "deadly_module.py").write_text("import os\nprint('last words', flush=True)\nos._exit(5)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Runner(["deadly_module"], log_limit=LOG_LIMIT) as runner:
        ended = runner.run(Call("f", b"{}", {}, {}), stop=lambda: None, poll=1, timeout=60, grace=1, log=log)
    assert isinstance(ended, Died)
    assert ended.status == 5
    assert "last words" in ended.message


@pytest.mark.parametrize(("start_timeout", "reason"), [(0.5, None), (60.0, "aborted")])
def test_a_start_that_hangs_is_ended(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_timeout: float, reason: str | None
) -> None:
    """Imports that take too long are ended with advice; a call that waits for them can be stopped."""
    (tmp_path / "slow_module.py").write_text("import select\nselect.select([], [], [])\n")
    monkeypatch.syspath_prepend(tmp_path)
    answers = iter([None])
    with Runner(["slow_module"], log_limit=LOG_LIMIT, start_timeout=start_timeout) as runner:
        ended = runner.run(
            Call("f", b"{}", {}, {}),
            stop=lambda: next(answers, reason),
            poll=0.05,
            timeout=60,
            grace=1,
            log=log,
        )
    if reason is None:
        assert isinstance(ended, Died)
        assert "was not ready after 0.5 s" in ended.message
    else:
        assert ended == Stopped("aborted", killed=False)


def test_a_closed_runner_leaves_nothing(log: Path) -> None:
    """After `close` the process is gone, no descriptor is left, and calls are refused; again is harmless."""
    before = set(Path("/proc/self/fd").iterdir())
    runner = Runner([FUNCTIONS], log_limit=LOG_LIMIT)
    runner.start()
    child = runner.child_pid
    assert child is not None
    call = Call("add", b'{"a":1}', {}, {})
    options: dict[str, Any] = {"stop": lambda: None, "poll": 1.0, "timeout": 60.0, "grace": 1.0, "log": log}
    assert value(runner.run(call, **options)) == 3
    assert isinstance(runner.run(Call("os_exit", b'{"status":1}', {}, {}), **options), Died)
    assert value(runner.run(call, **options)) == 3
    last = runner.child_pid
    assert last is not None
    runner.close()
    runner.close()
    assert gone(child)
    assert gone(last)
    assert set(Path("/proc/self/fd").iterdir()) == before
    with pytest.raises(RuntimeError, match="closed"):
        runner.run(call, **options)


def test_closing_stops_a_running_call(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """`close` from another thread ends the call first."""

    def closer() -> None:
        eventually(lambda: started(log))
        runner.close()

    thread = threading.Thread(target=closer)
    thread.start()
    assert run("spin") == Stopped("closed", killed=False)
    thread.join()
