"""What must hold between parents and children: one run for one request, and each pass sees what the one before it saw."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.core.paths import INPUTS_FILE
from tests.simulation.checker import Violation
from tests.simulation.plots import Inputs, asked_for

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_GENERATION = re.compile(r"-(\d)$")
_FAILED = frozenset({ActionPhase.FAILED, ActionPhase.ABORTED, ActionPhase.TIMED_OUT})
_DEPLOYED = 0.2
Place = tuple[int, int]
"""Where a parent is: how often it has started over, and the number of its scene."""


class Families:
    """Remembers who ran for whom, and what parents were told."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._begun: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._siblings: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
        self.seen: dict[tuple[str, str, Place], tuple[int, bool, object]] = {}
        self.kept: dict[tuple[str, str, object], int] = {}
        self.played: Counter[str] = Counter()
        self._released = 1
        self._values = 0

    def version(self, rng: random.Random) -> str:
        """Return the version of the code that a pass runs: a deployment may have come between it and the one before."""
        self._released += rng.random() < _DEPLOYED
        return f"v{self._released}"

    def fresh(self) -> str:
        """Make a value nobody has made before."""
        self._values += 1
        return f"{self._values}" + "." * (self._values % 2 * 40)

    # -- functions that begin ------------------------------------------------------------------------------------------
    def begins(self, path: str, launch: str) -> None:
        """Note that a function begins to run.

        Raises:
            Violation: it, or another one in its place, runs already, or has, and no system failure says why it runs again.
        """
        record = self._sim.store.get(ActionId.parse(path))
        if record is None or record.attempt.launch != launch:
            return
        begun = self._begun[path, _life_of(record)]
        begun.append(launch)
        attempt = launch.partition("-")[0]
        together, status = self._sim.observer.together, record.status
        # of those that were drawn together and lost, nobody knows which has run: none is charged
        mine = [
            one for one in begun if one.partition("-")[0] == attempt and together.get((path, one), 1) == 1
        ]
        again = len(mine) - (together.get((path, launch), 1) == 1)
        if again > status.total_system_failures + status.resumes:
            raise Violation(f"{path}: attempt {attempt} begins again, and no failure says why: {begun}")
        if record.spec.parent_action_name and record.spec.task_type == "function":
            self._for_one_request(record)
        elif (label := self._inputs(record).label).startswith("apart"):
            self._once(record, label)

    def _once(self, record: TaskAction, label: str) -> None:
        """What starts a run of its own has one of them, as long as it is not forgotten."""
        runs = self._siblings["", "", label]
        runs[str(record.id)] = 1
        there = [path for path in runs if self._sim.store.get(ActionId.parse(path)) is not None]
        if len(there) > 1:
            raise Violation(f"{label} was started once, and there run {there}")

    def _for_one_request(self, record: TaskAction) -> None:
        path, parent = str(record.id), self._asker(record)
        if parent is None:
            return
        inputs, plot = self._inputs(parent), self._inputs(record)
        found = _GENERATION.search(record.id.action.partition(".")[0])
        generation = int(found[1]) if found else 1
        siblings = self._siblings[str(parent.id), _life_of(parent), plot.label]
        siblings[path] = generation
        same = [one for one, of in siblings.items() if of == generation]
        older = [one for one, of in siblings.items() if of < generation and self._stands(one)]
        asked = asked_for(inputs.plot, plot.label)
        if len(same) + len(older) > asked:
            raise Violation(
                f"{path}: {parent.id} has asked for {plot.label} {asked} times, and there run {same}, {older}"
            )

    def _stands(self, path: str) -> bool:
        """Whether a child is one that a new attempt finds: it has not failed, nor has the map it is a member of."""
        lives, group = self._sim.observer.lives, path.rpartition(".")[0]
        return path in lives and not any(lives[one].phase in _FAILED for one in (path, group) if one in lives)

    def _asker(self, record: TaskAction) -> TaskAction | None:
        """Return the function that has asked for it: above its group, if it is a member."""
        above: TaskAction | None = record
        while above is not None and above.spec.parent_action_name:
            above = self._sim.store.get(above.id.run_id.action(above.spec.parent_action_name))
            if above is None or above.spec.task_type == "function":
                return above
        return None

    def _inputs(self, record: TaskAction) -> Inputs:
        spec = record.spec
        large = spec.inputs is None
        data = self._sim.blobs.get(f"{spec.input_uri}/{INPUTS_FILE}") if large else spec.inputs
        return msgspec.json.decode(data or b"{}", type=Inputs)

    # -- what parents see ----------------------------------------------------------------------------------------------
    def sight(self, path: str, launch: str) -> Sight:
        """What one pass of a parent is told."""
        return Sight(self._sim, path, launch)


def _life_of(record: TaskAction) -> str:
    """Tell it from others of its name. An incarnation comes again: see `Observer._had_outputs`."""
    return f"{record.metadata.incarnation}@{record.metadata.creation_timestamp}"


def _is_cut(found: str, before: str) -> bool:
    """Whether a list that ends late is the beginning of another one."""
    return before.startswith(found[: found.rindex("]")])


class Sight:
    """What one pass of a parent is told. What a pass sees that was replaced meanwhile counts for nobody."""

    def __init__(self, sim: Simulation, path: str, launch: str) -> None:
        self._sim = sim
        self._path = path
        self._launch = launch
        record = sim.store.get(ActionId.parse(path))
        self.life = _life_of(record) if record is not None else ""

    def _counts(self) -> TaskAction | None:
        record = self._sim.store.get(ActionId.parse(self._path))
        if record is None or _life_of(record) != self.life or record.attempt.launch != self._launch:
            return None
        return None if record.is_terminal or record.metadata.deletion is not None else record

    def was(self, what: str, number: Place) -> bool:
        """Whether an earlier pass of this attempt was told this there."""
        attempt, _, found = self._sim.families.seen.get((self._path, self.life, number), (0, False, ""))
        return attempt == int(self._launch.partition("-")[0]) and str(found).endswith(what)

    def kept(self, turn: int, value: object) -> None:
        """Note what a step returned to a function that has started over so often.

        Raises:
            Violation: that was kept before it started over.
        """
        if self._counts() is None:
            return
        of = self._sim.families.kept.setdefault((self._path, self.life, value), turn)
        if of != turn:
            raise Violation(f"{self._path}: start {turn} is given {value!r}, which start {of} has kept")

    def saw(self, number: Place, found: object, *, well: bool, cut: bool = False) -> None:
        """Note what a function was told in its scene of that number; `cut`: or less, its time being over sooner.

        Raises:
            Violation: an earlier pass was told something else.
        """
        if self._counts() is None:
            return
        attempt = int(self._launch.partition("-")[0])
        key = (self._path, self.life, number)
        before = self._sim.families.seen.get(key)
        same = before is None or before[1:] == (well, found) or (cut and _is_cut(str(found), str(before[2])))
        if before is not None and (before[1] or before[0] == attempt) and not same:
            raise Violation(
                f"{self._path}: launch {self._launch} is told {found!r} at {number}, before: {before}"
            )
        self._sim.families.seen[key] = (attempt, well, found)

    def came(self, child: ActionId, value: object) -> None:
        """Note what a child has brought.

        Raises:
            Violation: its function has never made that.
        """
        made = [
            msgspec.json.decode(outputs).get("o0")
            for (path, _), all_of_it in self._sim.world.ran.items()
            if path == str(child)
            for outputs in all_of_it
        ]
        if not isinstance(value, list) and value not in made:
            raise Violation(f"{self._path} is told {value!r} of {child}, which has made {made}")

    def refused(self, error: Exception) -> None:
        """Note a refusal that no function should get.

        Raises:
            Violation: and neither abort nor another launch says why.
        """
        if self._counts() is not None:
            raise Violation(f"{self._path}: {self._launch} was refused: {type(error).__name__}: {error}")
