"""Run one program, and end it with all its descendants when it or its starter is gone.

Started by `ManagedProcess` as `python -I -S guardian.py PARENT FDS COMMAND...`; imports nothing but the
standard library, so that it costs a few MB. PARENT is the process id it must not outlive. FDS are inherited
descriptors, comma-separated: the first one takes two lines (the program's process id, later its return code),
the others are only kept open, so that a lock on them lasts until the family has ended.

Why a process of its own: the parent may be killed with SIGKILL, and then only another process can clean up.
The guardian adopts every orphan below it (`PR_SET_CHILD_SUBREAPER`), so nothing can get away, not even by
`setsid`. Were the guardian killed, its program would go with it (`PR_SET_PDEATHSIG`). Only Linux has these
two: elsewhere the parent's end is noticed within a second, and the program's process group is ended.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

TYPE_CHECKING = False
"""As in `typing`, which is a MB."""
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # `signal` gives its numbers names, which is a sixth of the memory of this process

KILL_FAMILY = signal.SIGUSR1
"""Signal that asks the guardian to SIGKILL the program and all its descendants at once."""
PARENT_DIED = signal.SIGUSR2
HEARD = {signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM, KILL_FAMILY, PARENT_DIED}
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127
"""Return code when the command cannot be run, as a shell has it."""


def main(arguments: list[str]) -> int:
    """Run the command, and stay until it and all its descendants have ended.

    Args:
        arguments: PARENT, FDS and the command, as above.
    """
    parent, descriptors, command = int(arguments[0]), arguments[1].split(","), arguments[2:]
    for descriptor in descriptors:
        os.set_inheritable(int(descriptor), False)
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    prctl(
        PR_SET_DUMPABLE, 0
    )  # its environment is the program's, which may hold secrets its children must not see
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, PARENT_DIED)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
    if os.getppid() != parent:
        return 1
    report = int(descriptors[0])
    program = launch(command)
    forget_environment()
    tell(report, program)
    code = watch(program, parent)
    end_family(program)
    tell(report, code)
    return 0


def launch(command: list[str]) -> int:
    """Start the command in a session of its own and return its process id."""
    guardian = os.getpid()
    program = os.fork()
    if program:
        return program
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:  # it died between the fork and the line above
            os._exit(1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; programs expect the default
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def forget_environment() -> None:
    """Overwrite the variables this process was started with: they belong to the program, and may hold secrets.

    Whatever runs below can look at its parents, as far as the system lets it.
    """
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123  # pathlib is 1 MB
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    except (OSError, ValueError, IndexError):
        return
    if 0 < begin < end:
        ctypes.memset(begin, 0, end - begin)


def watch(program: int, parent: int) -> int:
    """Wait until the program has ended, is to be killed, or the parent is gone.

    Returns:
        The program's return code; negative: the signal that ended it.
    """
    while True:
        heard = signal.sigwait(HEARD)
        if heard == signal.SIGTERM:
            os.kill(program, signal.SIGTERM)
        # PARENT_DIED also comes when only the parent's thread that started us ends: so ask for the process.
        elif heard == KILL_FAMILY or os.getppid() != parent:
            return -signal.SIGKILL
        ended, _ = collect()
        if program in ended:
            return os.waitstatus_to_exitcode(ended[program])


def end_family(program: int) -> None:
    """Send SIGKILL to the program's group in one call, then to every descendant that had left it, until none is left."""
    send_kill(os.killpg, program)
    while collect()[1]:
        for child in running_children():  # grandchildren become children as their parents die
            send_kill(os.kill, child)
        time.sleep(0.002)


def send_kill(kill: Callable[[int, int], None], victim: int) -> None:
    """Send SIGKILL with `os.kill` or `os.killpg`, unless it has gone. What took another user's rights is waited for."""
    try:  # noqa: SIM105  # contextlib is half a MB
        kill(victim, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # the latter also: macOS, of a group of zombies
        pass


def collect() -> tuple[dict[int, int], bool]:
    """Reap the children that have ended, adopted ones too.

    Returns:
        Their wait statuses by process id, and whether any child is left.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if not process:
            return ended, True
        ended[process] = status


def running_children() -> list[int]:
    """List the process ids of the children that have not ended; empty on systems without `/proc`."""
    me = os.getpid()
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208  # pathlib is 1 MB
        try:
            with open(f"/proc/{int(entry)}/stat", "rb") as file:  # noqa: PTH123  # as above
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (ValueError, OSError):  # not a process, or one that has just gone
            continue
        if int(parent) == me and state != b"Z":
            found.append(int(entry))
    return found


def tell(report: int, number: int) -> None:
    """Write one line to the process that started us, which may be gone."""
    try:  # noqa: SIM105  # contextlib is half a MB
        os.write(report, b"%d\n" % number)
    except BrokenPipeError:
        pass


def prctl(option: int, value: int) -> None:
    """Set a property of this process where the system has it (Linux)."""
    call = getattr(ctypes.CDLL(None), "prctl", None)
    if call is not None:
        call(option, ctypes.c_ulong(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
