"""Functions that each leave something else behind, and one that tells what it finds; imported by the child of a test.

What a kind leaves differs by its number, so that no two calls leave the same.
"""

from __future__ import annotations

import _thread
import asyncio
import builtins
import calendar
import contextlib
import ctypes
import decimal
import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as threads
from contextvars import ContextVar
from typing import Any

from reconciler.core.functions import registry

IMPORTED = logging.getLogger("imported")
VARIABLE: ContextVar[int] = ContextVar("VARIABLE", default=0)
KINDS: dict[str, Callable[[int, str], object]] = {}
LIBC = ctypes.CDLL(None)
ORPHANS = ctypes.c_int()
POOL = ThreadPoolExecutor(2)
PAUSE = threading.Event()
IOPRIO_GET, IOPRIO_SET, TIMER_CREATE, TIMER_SETTIME = {
    "x86_64": (252, 251, 222, 223),
    "aarch64": (31, 30, 107, 110),
}[os.uname().machine]


def kind(leave: Callable[[int, str], object]) -> Callable[[int, str], object]:
    """List a way to leave something behind."""
    KINDS[leave.__name__] = leave
    return leave


def function(call: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function by its own name."""
    registry.register(call.__name__, call)
    return call


@function
def leave(what: str, number: int, secret: str) -> int:
    """Leave something behind; tells in which process."""
    sys.stdout.write(f"leaving {what} {number} {secret}\n")
    KINDS[what](number, secret)
    return os.getpid()


@function
async def leave_in_loop(what: str, number: int, secret: str) -> int:
    """Do as `leave`, with an event loop running."""
    sys.stdout.write(f"leaving {what} {number} {secret}\n")
    KINDS[what](number, secret)
    await asyncio.sleep(0)
    return os.getpid()


@function
def look() -> dict[str, str]:
    """What a call finds; equal in each call of each child."""
    found: dict[str, object] = {
        "variables": sorted(item for item in os.environ.items() if not item[0].startswith("_CHILD")),
        "variables of C": (LIBC.getenv(b"LEFT") != 0, LIBC.getenv(b"PATH") != 0),
        "folder": os.getcwd(),  # noqa: PTH109  # as the kernel has it
        "zone": (time.tzname, time.localtime(0).tm_hour, ctypes.c_long.in_dll(LIBC, "timezone").value),
        "arithmetic": (LIBC.fegetround(), repr(sum([0.1] * 10)), repr(5e-324 * 1.0)),
        "handlers of C": [_handler_of_c(number) for number in (signal.SIGCHLD, signal.SIGTERM)],
        "loop": _loop_settings(),
        "timers": [signal.getitimer(timer) for timer in range(3)],
        "handlers": [str(signal.getsignal(n)).partition(" at ")[0] for n in range(1, 32) if n not in {9, 19}],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "limits": [resource.getrlimit(number) for number in range(16)],
        "mask": os.umask(0o022),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": os.sched_getaffinity(0),
        "class": (os.sched_getscheduler(0), LIBC.syscall(IOPRIO_GET, 1, 0)),
        "rights": LIBC.prctl(39, 0, 0, 0, 0),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "all threads": len(sys._current_frames()),
        "methods of streams": [
            (list(vars(stream)), list(vars(stream.buffer)), first.flush(), first is stream)  # type: ignore[attr-defined,union-attr]  # a real one
            for stream, first in ((sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__))
        ],
        "pools": _thread_of_a_pool(),
        "own process": (
            multiprocessing.current_process().name,
            _is_canary(multiprocessing.current_process().authkey),
        ),
        "orphans": LIBC.prctl(37, ctypes.byref(ORPHANS), 0, 0, 0) or ORPHANS.value,
        "streams": (sys.stdout.encoding, sys.stdout.line_buffering, sys.stdin.read(), os.get_blocking(1)),
        "writing": (sys.stdout.write(""), sys.stderr.write("")),
        "hooks": [getattr(sys, name).__module__ for name in ("excepthook", "displayhook", "unraisablehook")],
        "thread hooks": (threading.excepthook.__module__, threading.gettrace(), threading.stack_size()),
        "path": sys.path,
        "arguments": sys.argv,
        "finders": len(sys.meta_path),
        "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile()),
        "digits": (sys.get_int_max_str_digits(), hasattr(sys, "tracebacklimit"), sys.dont_write_bytecode),
        "modules": ("json" in sys.modules, sys.modules["os"] is os, "invented" in sys.modules),
        "builtins": (builtins.open.__module__, builtins.sorted.__module__, hasattr(builtins, "left")),
        "patched": (time.monotonic.__module__, socket.getaddrinfo.__module__, os.listdir.__module__),
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks)),
        "sockets": socket.getdefaulttimeout(),
        "logging": (
            logging.root.manager.disable,
            logging.root.level,
            [(type(each).__name__, each.level) for each in logging.root.handlers],
            (IMPORTED.level, IMPORTED.propagate, IMPORTED.disabled, IMPORTED.handlers, IMPORTED.filters),
            logging.getLogger("of a call").getEffectiveLevel(),
            logging.raiseExceptions,
            "handle" in vars(IMPORTED),
            logging.getLoggerClass().__name__,
            warnings.showwarning.__module__,
        ),
        "warnings": len(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "decimals": (decimal.getcontext().prec, decimal.getcontext().rounding),
        "contexts of decimals": (decimal.DefaultContext.prec, decimal.ExtendedContext.prec),
        "week": (calendar.firstweekday(), decimal.BasicContext.prec),
        "debugged": smtplib.SMTP.debuglevel,
        "options": (sys.warnoptions, threading.main_thread().name),
        "perf": getattr(sys, "is_stack_trampoline_active", bool)(),
        "context": VARIABLE.get(),
        "folder of files": tempfile.gettempdir(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "faults": faulthandler.is_enabled(),
        "policy": type(asyncio.get_event_loop_policy()).__name__,
        "processes": subprocess.run(
            ["/bin/sh", "-c", "ps --ppid $PPID | grep -c sleep"], stdout=subprocess.PIPE, check=False
        ).stdout,
    }
    return {name: repr(value) for name, value in found.items()}


def _thread_of_a_pool() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(int).result()


def _is_canary(key: bytes) -> bool:
    return key.startswith(b"canary")


def _handler_of_c(number: int) -> str:
    action = ctypes.create_string_buffer(256)
    LIBC.sigaction(number, None, action)
    address = int.from_bytes(action.raw[:8], sys.byteorder)
    return {0: "default", 1: "ignored"}.get(address, "ours")


def _loop_settings() -> object:
    loop = asyncio.get_event_loop_policy()._local._loop  # type: ignore[attr-defined]  # without making one
    running = asyncio._get_running_loop()
    if not loop:
        return running, 0.1, [], None, False
    patched = "call_soon" in vars(loop)
    return running, loop.slow_callback_duration, list(loop._signal_handlers), loop.get_task_factory(), patched


def _sockets() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # numbers
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket"):  # noqa: PTH115  # as the kernel has it
                found.append(int(name))
    return found


@function
def end_conversation(how: int) -> str:
    """Shut down every socket of the process in one direction."""
    for each in _sockets():
        with socket.socket(fileno=os.dup(each)) as found:
            found.shutdown(how)
    return "shut down"


@function
def guess() -> float:
    """Return a number nobody can know."""
    return random.random()


# ruff: noqa: D103  # what a kind leaves is its name


@kind
def seed(_number: int, _secret: str) -> None:
    random.seed(7)


@kind
def variable(number: int, secret: str) -> None:
    os.environ[f"LEFT_{number}"] = secret
    os.environ.pop("PATH", None)


@kind
def variable_of_c(_number: int, secret: str) -> None:
    os.putenv("LEFT", secret)
    os.unsetenv("PATH")


@kind
def variables_replaced(_number: int, secret: str) -> None:
    os.environ = {"LEFT": secret}  # noqa: B003  # the point of it


@kind
def folder(number: int, _secret: str) -> None:
    os.chdir(("/", "/usr", "/dev", "/proc")[number % 4])


@kind
def folder_removed(_number: int, _secret: str) -> None:
    made = tempfile.mkdtemp()
    os.chdir(made)
    os.rmdir(made)  # noqa: PTH106  # as it was made


@kind
def zone(number: int, _secret: str) -> None:
    os.environ["TZ"] = f"LEFT{number % 12 + 1}"
    time.tzset()


@kind
def zone_of_c(number: int, _secret: str) -> None:
    LIBC.setenv(b"TZ", b"LEFT-%d" % (number % 12 + 1), 1)
    LIBC.tzset()


@kind
def zone_without_variable(number: int, _secret: str) -> None:
    os.environ["TZ"] = f"LEFT-{number % 12 + 1}"
    time.tzset()
    del os.environ["TZ"]


@kind
def rounding(number: int, _secret: str) -> None:
    LIBC.fesetround({"x86_64": 0x400, "aarch64": 0x400000}[os.uname().machine] * (number % 3 + 1))


@kind
def tiny_numbers(_number: int, _secret: str) -> None:
    """Have those that are not normal taken for zero, as some libraries do."""
    settings = ctypes.create_string_buffer(64)
    LIBC.fegetenv(settings)
    place, bits = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}[os.uname().machine]
    ctypes.c_uint32.from_buffer(settings, place).value |= bits
    LIBC.fesetenv(settings)


@kind
def handlers_of_c(_number: int, _secret: str) -> None:
    for each in (signal.SIGCHLD, signal.SIGTERM):
        LIBC.signal(int(each), ctypes.c_void_p(1))  # SIG_IGN


@kind
def conversation(number: int, _secret: str) -> None:
    """Change every socket of the process, that to its worker too."""
    for each in _sockets():
        if number % 2:
            os.set_blocking(each, False)
            os.set_inheritable(each, True)
        else:
            with socket.socket(fileno=os.dup(each)) as found:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    found.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 1000))


@kind
def alarm(_number: int, _secret: str) -> None:
    signal.alarm(1)


@kind
def timer(number: int, secret: str) -> None:
    which, number_of_signal = (
        (signal.ITIMER_REAL, signal.SIGALRM),
        (signal.ITIMER_VIRTUAL, signal.SIGVTALRM),
        (signal.ITIMER_PROF, signal.SIGPROF),
    )[number % 3]
    signal.signal(number_of_signal, lambda *_: os.write(1, secret.encode()))
    signal.setitimer(which, 0.01, 0.001)


@kind
def handler(number: int, secret: str) -> None:
    for each in (
        signal.SIGUSR1,
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGCHLD,
        signal.SIGRTMIN + number % 20,
    ):
        signal.signal(each, lambda *_: os.write(1, secret.encode()))


@kind
def blocked(_number: int, _secret: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)


@kind
def wakeup(_number: int, _secret: str) -> None:
    signal.set_wakeup_fd(os.open(os.devnull, os.O_WRONLY | os.O_NONBLOCK))


@kind
def dump_later(_number: int, _secret: str) -> None:
    faulthandler.dump_traceback_later(0.01, repeat=True)
    faulthandler.disable()


@kind
def soft_limit(number: int, _secret: str) -> None:
    name = ("AS", "NOFILE", "FSIZE", "CORE", "DATA", "STACK")[number % 6]
    which = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, ({"AS": 1 << 32, "NOFILE": 64}.get(name, 1 << 26), hard))


@kind
def hard_limit(_number: int, _secret: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@kind
def umask(number: int, _secret: str) -> None:
    os.umask(number % 0o100 | 0o100)


@kind
def priority(_number: int, _secret: str) -> None:
    os.nice(1)


@kind
def scheduler(_number: int, _secret: str) -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@kind
def io_priority(number: int, _secret: str) -> None:
    LIBC.syscall(IOPRIO_SET, 1, 0, (2 << 13) + number % 7)


@kind
def rights_given_up(_number: int, _secret: str) -> None:
    LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS


@kind
def timer_of_c(_number: int, _secret: str) -> None:
    """Two that would end the process by SIGALRM a little later, again and again."""
    for _ in range(2):
        made = ctypes.c_int()
        assert LIBC.syscall(TIMER_CREATE, 1, None, ctypes.byref(made)) == 0
        often = (ctypes.c_long * 4)(0, 10_000_000, 0, 10_000_000)
        assert LIBC.syscall(TIMER_SETTIME, made, 0, often, None) == 0


@kind
def processors(_number: int, _secret: str) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@kind
def thread(_number: int, secret: str) -> None:
    def say() -> None:
        while True:
            print(secret, flush=True)
            PAUSE.wait(0.001)

    threading.Thread(target=say, daemon=True).start()


@kind
def late_thread(_number: int, secret: str) -> None:
    threading.Timer(0.2, print, (secret,)).start()


@kind
def raw_thread(_number: int, secret: str) -> None:
    _thread.start_new_thread(lambda: (PAUSE.wait(0.2), print(secret, flush=True)), ())


@kind
def pool(_number: int, secret: str) -> None:
    POOL.submit(lambda: (PAUSE.wait(0.2), print(secret, flush=True)))


@kind
def process(_number: int, secret: str) -> None:
    subprocess.Popen(["/bin/sh", "-c", f"while echo {secret}; do sleep 0.01; done"], start_new_session=True)


@kind
def unflushed(_number: int, secret: str) -> None:
    LIBC.printf(b"%s", secret.encode())
    sys.stdout.write(secret)


@kind
def streams(number: int, _secret: str) -> None:
    if number % 3 == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  # left behind
    elif number % 3 == 1:
        sys.stdout.close()
        sys.stdin.close()
    else:
        sys.stdout.reconfigure(encoding="ascii", line_buffering=False)  # type: ignore[attr-defined]  # a real stream
        os.set_blocking(1, False)


@kind
def streams_patched(_number: int, secret: str) -> None:
    write, write_bytes = sys.stdout.write, sys.stderr.buffer.write
    sys.stdout.write = lambda text: write(secret + text)  # type: ignore[method-assign]  # what a tee does
    sys.stderr.buffer.write = lambda data: write_bytes(secret.encode() + data)  # type: ignore[method-assign,assignment]  # as above
    assert sys.__stdout__
    sys.__stdout__.write(secret)


@kind
def read_ahead(_number: int, secret: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{secret}\n{secret}\n".encode())
    os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    sys.stdin.readline()


@kind
def descriptors(_number: int, _secret: str) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for each in range(3):
        os.dup2(null, each)


@kind
def hooks(number: int, secret: str) -> None:
    for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook"):
        setattr(sys, name, lambda *_: print(secret))
    threading.excepthook = lambda *_: print(secret)
    threading.settrace(lambda *_: None)
    sys.tracebacklimit = number


@kind
def tracing(_number: int, secret: str) -> None:
    sys.settrace(lambda *_: print(secret))


@kind
def profiling(_number: int, secret: str) -> None:
    sys.setprofile(lambda *_: os.write(1, secret.encode()) and None)


@kind
def interpreter(number: int, _secret: str) -> None:
    sys.setrecursionlimit(500 + number)
    sys.setswitchinterval(0.001 + number / 1e5)
    sys.set_int_max_str_digits(1000 + number)
    sys.dont_write_bytecode = not sys.dont_write_bytecode
    threading.stack_size(1 << 20)
    threading.current_thread().name = f"left {number}"
    if sys.version_info >= (3, 12):
        with contextlib.suppress(ValueError):  # not on this machine
            sys.activate_stack_trampoline("perf")


@kind
def pools_ended(number: int, secret: str) -> None:
    threads._python_exit()  # type: ignore[attr-defined]  # as at the end of the process
    LIBC.prctl(36, 0, 0, 0, 0)
    multiprocessing.current_process().name = f"left{number}"
    multiprocessing.current_process().authkey = secret.encode()


@kind
def path(number: int, _secret: str) -> None:
    sys.path.insert(0, f"/left/{number}")
    sys.argv.append(str(number))
    sys.warnoptions.append("error")
    if number % 2:
        sys.path = []
        sys.meta_path.clear()


@kind
def modules(_number: int, _secret: str) -> None:
    sys.modules["invented"] = sys.modules["os"] = tempfile
    del sys.modules["json"]
    del sys.modules["invented"]


@kind
def patched(_number: int, secret: str) -> None:
    builtins.open = builtins.sorted = lambda *_: print(secret)
    builtins.left = secret  # type: ignore[attr-defined]  # the point of it
    time.monotonic = socket.getaddrinfo = os.listdir = lambda *_: print(secret)


@kind
def patched_builtins(_number: int, secret: str) -> None:
    for name in ("enumerate", "map", "reversed", "sorted", "zip"):
        setattr(builtins, name, lambda *_: print(secret))
    time.monotonic = lambda *_: print(secret)  # type: ignore[assignment,return-value]  # the point of it


@kind
def collector(number: int, secret: str) -> None:
    gc.disable()
    gc.set_threshold(number + 1, 2, 3)
    gc.callbacks.append(lambda *_: os.write(1, secret.encode()) and None)


@kind
def sockets(number: int, _secret: str) -> None:
    socket.setdefaulttimeout(number + 0.5)


@kind
def disabled(_number: int, _secret: str) -> None:
    logging.disable(logging.CRITICAL)
    logging.raiseExceptions = False


@kind
def levels(number: int, _secret: str) -> None:
    logging.root.setLevel(1 + number)
    logging.root.handlers[0].setLevel(logging.CRITICAL)
    IMPORTED.setLevel(logging.CRITICAL)
    IMPORTED.propagate = False
    IMPORTED.disabled = True


@kind
def handlers(_number: int, secret: str) -> None:
    noisy = logging.StreamHandler()
    noisy.setFormatter(logging.Formatter(f"%(message)s {secret}"))
    logging.root.addHandler(noisy)
    IMPORTED.addHandler(noisy)
    IMPORTED.addFilter(lambda _: False)
    logging.getLogger("of a call").addHandler(noisy)
    logging.getLogger("of a call").setLevel(1)


@kind
def logging_forced(_number: int, secret: str) -> None:
    logging.basicConfig(force=True, format=f"%(message)s {secret}", level=1)
    logging.captureWarnings(True)
    logging.setLoggerClass(type("Left", (logging.Logger,), {}))


@kind
def loggers_patched(_number: int, secret: str) -> None:
    logging.getLogger("imported").handle = lambda _: print(secret)  # type: ignore[method-assign]  # left behind


@kind
def filters(_number: int, _secret: str) -> None:
    warnings.simplefilter("error")
    warnings.catch_warnings().__enter__()


@kind
def locales(_number: int, _secret: str) -> None:
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    locale.setlocale(locale.LC_NUMERIC, "C")


@kind
def decimals(number: int, _secret: str) -> None:
    decimal.getcontext().prec = 3 + number
    decimal.getcontext().rounding = decimal.ROUND_UP
    for each in (decimal.DefaultContext, decimal.ExtendedContext, decimal.BasicContext):
        each.prec = 3 + number


@kind
def calendars(_number: int, _secret: str) -> None:
    calendar.setfirstweekday(calendar.SUNDAY)


@kind
def debugged(_number: int, _secret: str) -> None:
    smtplib.SMTP.debuglevel = 1  # writes what is sent, with the password, to standard error


@kind
def context(number: int, _secret: str) -> None:
    VARIABLE.set(number + 1)


@kind
def temporary(number: int, _secret: str) -> None:
    tempfile.tempdir = f"/left/{number}"


@kind
def start_method(_number: int, _secret: str) -> None:
    multiprocessing.set_start_method("spawn", force=True)


@kind
def policy(_number: int, _secret: str) -> None:
    asyncio.set_event_loop_policy(type("Left", (asyncio.DefaultEventLoopPolicy,), {})())


@kind
def finalizer(_number: int, secret: str) -> None:
    class Left:
        def __del__(self) -> None:
            print(secret, flush=True)

    left = Left()
    left.itself = left  # type: ignore[attr-defined]  # a cycle


@kind
def patched_loop(_number: int, secret: str) -> None:
    loop = asyncio.get_event_loop_policy().get_event_loop()
    loop.call_soon = lambda *_, **__: print(secret)  # type: ignore[method-assign]  # left behind
    loop.set_task_factory(lambda *_, **__: print(secret))  # type: ignore[arg-type]  # as above
    asyncio._set_running_loop(loop)


@kind
def closed_loop(_number: int, _secret: str) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


@kind
def many_open(number: int, _secret: str) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    for _ in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - number % 7):
        try:
            os.dup(descriptor)
        except OSError:
            break


# -- with a loop running: `leave_in_loop` alone --------------------------------------------------------------------


async def _say_for_ever(secret: str) -> None:
    while True:
        await asyncio.sleep(0.001)
        print(secret, flush=True)


@kind
def loop_task(_number: int, secret: str) -> None:
    KEPT.append(asyncio.ensure_future(_say_for_ever(secret)))


@kind
def loop_timer(_number: int, secret: str) -> None:
    asyncio.get_running_loop().call_later(0.001, print, secret)


@kind
def loop_soon(_number: int, secret: str) -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        print(secret, flush=True)
        loop.call_soon(again)

    loop.call_soon(again)


@kind
def loop_thread(_number: int, secret: str) -> None:
    asyncio.get_running_loop().run_in_executor(None, lambda: (PAUSE.wait(0.1), print(secret, flush=True)))


@kind
def loop_settings(_number: int, secret: str) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: print(secret))
    loop.set_debug(True)
    loop.slow_callback_duration = 0.001
    loop.add_signal_handler(signal.SIGUSR2, print, secret)


@kind
def loop_generator(_number: int, secret: str) -> None:
    async def generate() -> Any:
        try:
            while True:
                yield 1
        finally:
            print(secret, flush=True)

    made = generate()
    KEPT.append(made)
    KEPT.append(asyncio.ensure_future(anext(made)))


CLIENT: dict[str, Any] = {}
"""A client a module keeps: a connection, and the lock around it."""


@function
async def ask(port: int, text: str) -> list[Any]:
    """Send a line over the one connection of this process; tells the answer, the process, whether it was open already."""
    known = "lock" in CLIENT
    if not known:
        CLIENT["lock"] = asyncio.Lock()
        CLIENT["streams"] = await asyncio.open_connection("127.0.0.1", port)
    reader, writer = CLIENT["streams"]
    async with CLIENT["lock"]:
        writer.write(f"{text}\n".encode())
        return [(await reader.readline()).decode().strip(), os.getpid(), known]


@function
async def end_loop(how: str) -> str:
    """Do to the loop what nobody should."""
    loop = asyncio.get_running_loop()
    if how == "stop":
        loop.stop()
        await asyncio.sleep(10)
    if how == "close":
        loop.call_soon(loop.stop)
        CLOSED.append(loop)
        await asyncio.sleep(10)
    if how == "refuse":
        KEPT.append(asyncio.ensure_future(_never_end()))
        await asyncio.sleep(0)
    if how == "no_threads":
        await loop.shutdown_default_executor()
    return how


@function
def close_loop() -> None:
    """Close the loop of the call before."""
    CLOSED.pop().close()


@function
def old_style() -> int:
    """Use the loop that is set, as programs did before `asyncio.run`; tells which one."""
    loop = asyncio.get_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    return id(loop)


@function
async def which_loop() -> int:
    """Tell which loop runs; its threads work, too."""
    await asyncio.to_thread(int)
    return id(asyncio.get_running_loop())


@function
def use_memory(size: int) -> int:
    """Hold that many bytes for a moment; tells in which process."""
    bytearray(size)[:] = b"x" * size
    return os.getpid()


async def _never_end() -> None:
    while True:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            continue


CLOSED: list[asyncio.AbstractEventLoop] = []
KEPT: list[Any] = []
"""What functions keep in their module stays, as in any warm process."""
