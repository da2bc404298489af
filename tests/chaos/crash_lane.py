"""One lane of the crash points: an installation of its own on shared servers, round after round, a death or more in each.

Run as a program: `crash_lane.py FOLDER`, with the settings of the lane in the environment. Reads one JSON list of rounds
from stdin, each a list of `[point, passes]`, and writes one JSON line for each round to FOLDER/found.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from crash_lives import archive, empty, forget, fork, prepare, reconcile_steps, run_attempts
from crash_points import clear_traps, deaths, set_trap
from crash_workload import check, check_archived, is_free, is_over, submit

from reconciler.client import Client
from reconciler.settings import Settings
from worker.process import current_engine

PATIENCE = 60.0
"""Seconds a round may take from its last death to the end of all actions."""
_LOOK_EVERY = 0.1


class Lane:
    """Lives, and what they are to do. Single-threaded, so that it may fork."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._traps = folder / "traps"
        self._traps.mkdir()
        self._mains: dict[str, Callable[[], None]] = {}
        self._lives: dict[str, tuple[int, int]] = {}
        prepare(settings)
        self._engine = current_engine()
        self._engine.blobs.stat(
            self._engine.blobs.uri("warm")
        )  # what is read for it, the lives need not read
        self._client = Client(self._engine.store, self._engine.blobs, self._engine.messenger, settings)
        self._begin("steps", partial(reconcile_steps, settings))
        self._begin("attempts", partial(run_attempts, settings))

    def round(self, number: int, traps: list[tuple[str, int]]) -> dict[str, object]:
        """Do the work of one round under these traps; returns who died, and what it cost."""
        tally = self._folder / f"tally{number}"
        tally.touch()
        before = len(deaths(self._traps))
        for point, passes in traps:
            set_trap(self._traps, point, passes)
        self._finish("client", partial(self._submit, f"round-{number}", str(tally)))
        self._until(lambda: is_over(self._client), "all actions have ended")
        over, during = time.time(), len(deaths(self._traps))
        extra, packed = check(self._client, tally)
        self._until(lambda: is_free(self._engine, self._client), "quota and cache are free")
        self._forget()
        died = deaths(self._traps)
        if len(died) > during:
            over = time.time()
        return {
            "deaths": [[role, point] for _, role, point in died[before:]],
            "missed": clear_traps(self._traps),
            "extra": extra,
            "packed": packed,
            "recovery": over - max((at for at, _, _ in died[before:]), default=over),
        }

    def _submit(self, name: str, tally: str) -> None:
        engine = current_engine()
        submit(Client(engine.store, engine.blobs, engine.messenger, self._settings), name, tally)

    def _forget(self) -> None:
        """Forget some runs without an archive, and archive the others: they must be there as a whole, each once."""
        roots = [self._client.get(run.id.action("a0")) for run in self._client.runs()]
        border = sorted(root.metadata.completed_at for root in roots)[len(roots) // 2]
        self._finish("collector", lambda: forget(current_engine(), border))
        ended = [self._client.get(run.id.action("a0")) for run in self._client.runs()]
        assert 0 < len(ended) < len(roots)
        self._finish("archiver", lambda: archive(current_engine()))
        left = self._client.runs()
        assert not left, f"the collector left {left}"
        check_archived(self._engine.blobs, ended)
        self._finish("expirer", lambda: empty(current_engine()))
        found = self._engine.blobs.find(self._engine.blobs.uri("_archive"))
        assert not [one for one in found if "/events/" not in one.uri], (
            f"the archive was not emptied: {found}"
        )

    # -- lives -----------------------------------------------------------------------------------------------------
    def _begin(self, role: str, main: Callable[[], None]) -> None:
        pid = fork(role, self._traps, main)
        self._lives[role] = (pid, os.pidfd_open(pid))
        self._mains[role] = main

    def _finish(self, role: str, main: Callable[[], None]) -> None:
        """Run a life to its end, again whenever it is killed."""
        self._begin(role, main)
        self._until(lambda: role not in self._lives, f"the {role} is done")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, and replace whoever dies meanwhile."""
        deadline, known = 0.0, -1
        while True:
            self._replace_the_dead()
            if condition():
                return
            if len(deaths(self._traps)) > known:
                known, deadline = len(deaths(self._traps)), time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {PATIENCE:g} s: {what}; {self._state()}")
            select.select([life for _, life in self._lives.values()], [], [], _LOOK_EVERY)

    def _replace_the_dead(self) -> None:
        for role, (pid, life) in list(self._lives.items()):
            if not select.select([life], [], [], 0)[0]:
                continue
            _, status = os.waitpid(pid, 0)
            os.close(life)
            del self._lives[role]
            if os.WIFSIGNALED(status):
                self._begin(role, self._mains[role])
            else:
                assert status == 0, f"the {role} failed; its traceback is above"

    def _state(self) -> str:
        found = [
            f"{action.id} {action.phase} {action.status.plugin_phase} token {action.token}"
            for run in self._client.runs(limit=100)
            for action in self._client.actions(run.id)
            if not action.phase.is_terminal()
        ]
        due = [entry for shard in range(self._client.store.shards) for entry in self._client.store.due(shard)]
        return f"open: {found}, due: {due}, now {self._client.store.now()}"


def main() -> None:
    """Run all rounds; the first that breaks a promise ends the lane with a traceback."""
    folder = Path(sys.argv[1])
    lane = Lane(folder, Settings.from_env())
    for number, traps in enumerate(json.loads(sys.stdin.read())):
        began = time.monotonic()
        try:
            found = lane.round(number, [tuple(trap) for trap in traps])
        except BaseException:
            died = deaths(folder / "traps")
            print(f"{folder}, round {number}, traps {traps}, all deaths {died}", file=sys.stderr)
            raise
        with (folder / "found").open("a") as lines:
            lines.write(json.dumps({**found, "seconds": time.monotonic() - began}) + "\n")


if __name__ == "__main__":
    main()
