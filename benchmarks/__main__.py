"""`python -m benchmarks SHAPE --n N [--json]`: one run of one shape on servers and workers of its own.

The clock runs from the first submission to the driver holding the joined result; starting servers and workers is outside it,
and each worker has done one task before. Figures on a shared machine swing: compare ratios within one run.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from benchmarks import archive, costs, idle, pages, peers, shapes
from benchmarks.delayed import delayed
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

_SLOTS = {"levels": 1, "sleeping": 4}


@click.command()
@click.argument(
    "shape",
    type=click.Choice(
        sorted(
            [
                *shapes.SHAPES,
                "archive",
                "asking",
                "awaiting",
                "costs",
                "distant",
                "idle",
                "lone",
                "pages",
                "peers",
                "waiting",
            ]
        )
    ),
)
@click.option("--n", default=1000, show_default=True, help="Leaves of a fan-out, nodes of a chain.")
@click.option(
    "--repeat", default=1, show_default=True, help="Runs on the same servers; the best one is reported."
)
@click.option("--archived", default=0, help="Pages: runs of which only the archive knows.")
@click.option("--json", "as_json", is_flag=True, help="The last line is one JSON object.")
def main(shape: str, n: int, repeat: int, archived: int, *, as_json: bool) -> None:
    """Measure one SHAPE: fanout, chain, calls, functions, in_turn, levels, naps, sleeping, tree, window.

    Or functions beside plain Celery and Huey: peers; what an action costs, part by part: costs; how long one call takes,
    here and with plain Celery: lone; an archive of n runs of 1,000 actions: archive; n calls that wait: waiting; the
    pages of Flower on a run of n functions: pages; what n functions that wait for a person cost of Redis: asking; threads
    and connections of a process that awaits n runs: awaiting; the memory of an idle `reconciler dev`: idle; functions with
    an S3 server that is 30 ms away: distant.
    """
    if shape == "peers":
        _print(peers.compare(n, repeat), as_json=as_json)
        return
    if shape == "idle":
        _print({"shape": shape, **idle.measure()}, as_json=as_json)
        return
    if shape == "archive":
        _print({"shape": shape, "n": n, **archive.measure(n)}, as_json=as_json)
        return
    if shape == "pages":
        _print({"shape": shape, "n": n, "archived": archived, **pages.measure(n, archived)}, as_json=as_json)
        return
    if shape == "costs":
        for one in costs.SHAPES:
            with _stack(one) as stack:
                _print({"shape": one, **costs.of_shape(stack, one, n)}, as_json=as_json)
        return
    if shape == "distant":
        with _distant() as stack:
            _print({"shape": shape, "n": n, **_measure(stack, shapes.functions, n, repeat)}, as_json=as_json)
        return
    with _stack(shape) as stack:
        if shape in {"asking", "awaiting", "lone", "waiting"}:
            from benchmarks import asking, awaiting, lone, waiting  # noqa: PLC0415  # declare functions: only for these

            found = {"asking": asking, "awaiting": awaiting, "lone": lone, "waiting": waiting}
            report = found[shape].measure(Client.from_settings(), n)
        else:
            report = _measure(stack, shapes.SHAPES[shape], n, repeat)
    _print({"shape": shape, "n": n, **report}, as_json=as_json)


@contextmanager
def _stack(shape: str) -> Iterator[Stack]:
    """Servers and workers of one's own, with the environment that leads to them."""
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        functions = shape in {
            "asking",
            "calls",
            "functions",
            "in_turn",
            "levels",
            "lone",
            "naps",
            "sleeping",
            "tree",
            "window",
        }
        slots = {"attempts_concurrency": _SLOTS[shape]} if shape in _SLOTS else {}
        imports = ["benchmarks.tasks"] if functions else []
        root = Path(__file__).resolve().parent.parent
        with Stack(Path(folder), imports=imports, attempts=int(functions), cwd=root, **slots) as stack:
            os.environ.update(stack.env())
            yield stack


@contextmanager
def _distant() -> Iterator[Stack]:
    """Do the same with the S3 server behind a line that takes its time."""
    with (
        tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder,
        EmbeddedServers(Path(folder)) as servers,
        delayed(int(servers.s3_endpoint.rpartition(":")[2])) as endpoint,
    ):
        env, root = {"RECONCILER_S3_ENDPOINT": endpoint}, Path(__file__).resolve().parent.parent
        with Stack(Path(folder), imports=["benchmarks.tasks"], env=env, cwd=root, servers=servers) as stack:
            os.environ.update({**stack.env(), **env})
            yield stack


def _print(line: dict[str, object], *, as_json: bool) -> None:
    if not as_json:
        for key, value in line.items():
            print(f"{key:>20}  {value}")
    else:
        print(json.dumps(line))


def _measure(stack: Stack, run: Callable[[Client, int], int], n: int, repeat: int) -> dict[str, object]:
    client = Client.from_settings(Settings.from_env())
    run(client, 1)
    before = _redis_bytes(client)
    watch = _Memory(stack)
    rounds, cpu = [], []
    for _ in range(repeat):
        used, began = watch.cpu(), time.perf_counter()
        joined = run(client, n)
        rounds.append(time.perf_counter() - began)
        cpu.append(watch.cpu() - used)
        if joined != n:
            raise click.ClickException(f"the join holds {joined} of {n}")
    watch.stop()
    seconds = min(rounds)
    return {
        "seconds": round(seconds, 3),
        "per_second": round(n / seconds, 1),
        "ms_per_node": round(1000 * seconds / n, 3),
        "cpu_ms_per_node": round(1000 * min(cpu) / n, 3),
        "peak_rss_mb": watch.peak_mb,
        "steps_worker_rss_mb": round(stack.rss("steps-1") / 2**20),
        **watch.attempts,
        "redis_bytes_per_action": round((_redis_bytes(client) - before) / (n * repeat)),
        "rounds": [round(s, 3) for s in rounds],
        "load1": round(os.getloadavg()[0], 1),
    }


def _redis_bytes(client: Client) -> int:
    info = client.store.client.info("memory")  # type: ignore[attr-defined]  # a Redis store, started above
    return int(info["used_memory"])


class _Memory(threading.Thread):
    """Samples the resident memory of all servers and workers twice a second."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._roots = [p.pid for p in (*stack.processes.values(), *stack.servers.processes.values())]
        self._attempts = [p.pid for name, p in stack.processes.items() if name.startswith("attempts")]
        self.attempts: dict[str, object] = {}
        self._ends = threading.Event()
        self.peak_mb = 0
        self.start()

    def run(self) -> None:
        """Until stopped."""
        while True:
            self.peak_mb = max(self.peak_mb, sum(map(_tree_rss, self._roots)) // 2**20)
            for pid in self._attempts:
                self._look_at_attempts(pid)
            if self._ends.wait(0.5):
                return

    def _look_at_attempts(self, pid: int) -> None:
        """Note the most of a process that supervises, and of one that runs functions."""
        for name, found in (("supervisor", [_rss(pid)]), ("function", _rss_of_functions(pid))):
            key = f"{name}_rss_mb"
            self.attempts[key] = max(
                [int(str(self.attempts.get(key, 0))), *(each // 2**20 for each in found)]
            )

    def cpu(self) -> float:
        """CPU seconds used so far by servers, workers, and this process."""
        return sum(map(_tree_cpu, [*self._roots, os.getpid()]))

    def stop(self) -> None:
        """Take a last sample and end."""
        self._ends.set()
        self.join()


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _rss_of_functions(supervisor: int) -> list[int]:
    try:
        return [_rss(child.pid) for child in psutil.Process(supervisor).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _tree_rss(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        return int(sum(p.memory_info().rss for p in [root, *root.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _tree_cpu(pid: int) -> float:
    """CPU of a process and of all it has started, the ended ones too; of this process its own alone."""
    used = 0.0
    root = psutil.Process(pid)
    for process in [root] if pid == os.getpid() else [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
        if pid != os.getpid():
            used += times.children_user + times.children_system
    return used


if __name__ == "__main__":
    main()
