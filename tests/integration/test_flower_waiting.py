"""Every reason of waiting, made to happen on real servers, and read in the three places that tell it."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import pytest
import waiting_functions as well
from browser_support import Browser
from cli_support import eventually
from click.testing import CliRunner
from flower_support import Site, browser, needs_chromium

from reconciler.api.action import ActionId, ActionSpec, RunId
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.cli import main
from reconciler.client import storing
from reconciler.core.why import Reason
from reconciler.embedded import commands
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.stack import Stack

pytestmark = pytest.mark.servers
PATIENCE = 60
HERE = Path(__file__).parent
IMPORTS = ["waiting_functions"]

SENTENCES = {
    Reason.PLANNED: r"was submitted to begin at 20",
    Reason.BACK_OFF: r"rests until .* \(back-off\); attempt 1 failed with \[RuntimeError\] not yet",
    Reason.STARTS_OVER: r"starts over: start \d+ begins at .*, because the last \d+ starts took less than 1 s each",
    Reason.SUBMITTER: r"waits for its submitter: \d of 10 members are stored, and it fails at .* unless all are by then",
    Reason.PERSON: r"waits for a person to answer with yes or no: Draw water\?",
    Reason.RUNNING: r"runs on .* since ",
    Reason.QUOTA: r'waits for 1 unit of the resource "bucket" since .*; none before it in line, none behind it; held by ',
    Reason.RESERVATION: r"waits for the result of .*, which is running and holds the reservation of the same cache key",
    Reason.CHILDREN: r"waits for its children: 0 of 1 have ended",
    Reason.PLUGIN: r'its plugin for kiln says it is initializing: the kiln warms up: \{"wood": "<b>oak</b>"\}',
    Reason.NO_WORKER: r'no living worker consumes queue "desert": start one, or move what waits',
    Reason.PAUSED_QUEUE: r'queue "closed" is paused: `reconciler queue resume closed` lets it go on',
    Reason.UNKNOWN_FUNCTION: r"the one living worker of queue \"attempts\" does not know the function 'well.gone': name",
    Reason.LINE: r'stands in line for a worker of queue "attempts": 1 before it in its own line \(priority 5, fair key ',
    Reason.HANDED_BACK: r"was handed back by a worker that could not run it: .*the well is dry.*; it is offered again at",
    Reason.STEP: r"is new, and the next step looks at it",
    Reason.ABORT: r"is being aborted by .* since .*: moved to <i>town</i>; worker .* is asked to stop",
    Reason.SILENT: r"worker .* is silent: its lease ran out .* ago, and the attempt is launched again",
}
"""What each sentence says, in the order in which the reasons are made to happen."""
BOTH = r"waits for its children: 0 of 1 have ended; it goes on at 20.* \(in .*\) at the latest"
"""What a function says that waits for a child and for a time."""


def by_hand(function: str, kind: str = "function") -> ActionSpec:
    """Return an action that no function of ours stands for."""
    custom = {"function": function} if kind == "function" else {}
    template = encode_template(TaskTemplate(type=kind, custom=custom))
    return ActionSpec(task_type=kind, task_template=template, inputs=b'{"wood": "<b>oak</b>"}')


class _Died(BaseException):
    """The submitter is gone."""


class Scene:
    """Makes each reason happen, and ends what it made. Whoever waits is found by the reason."""

    def __init__(self, site: Site, folder: Path, dry: Path) -> None:
        self._site, self._dry = site, dry
        self.client = site.client
        self._other = ManagedProcess(
            "other",
            commands.worker("dry", "prefork", 1, "other@well"),
            log=folder / "other.log",
            env={**site.stack.env(), "WELL_IS_DRY": str(dry)},
            cwd=HERE,
        )
        self._frozen: list[psutil.Process] = []
        self._held: list[ActionId] = []
        """Actions that run until the end: on the worker that stays alive, and on the one that is frozen."""

    def __enter__(self) -> Self:
        self._other.start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._frozen:
            one.send_signal(signal.SIGCONT)
        self._other.kill()

    def _runs(self, action: ActionId) -> ActionId:
        eventually(lambda: self._site.reason(action) == "running", PATIENCE)
        return action

    def _freeze(self, process: ManagedProcess) -> None:
        program = psutil.Process(process.pid)
        for one in (program, *program.children(recursive=True)):
            one.send_signal(signal.SIGSTOP)
            self._frozen.append(one)

    def submitter(self) -> ActionId:
        """Be the root of a map whose submitter dies when a part of it is stored."""
        create, parts = self.client.store.create, iter((True, False))

        def dying(*args: Any, **given: Any) -> Any:  # as the verb
            if not next(parts):
                raise _Died
            return create(*args, **given)

        with pytest.MonkeyPatch.context() as patch, suppress(_Died):
            patch.setattr(storing, "_AT_ONCE", 4)
            patch.setattr(self.client.store, "create", dying)
            well.runs.map([0.0] * 10, run="half")
        return RunId("default", "development", "half").action("a0")

    def planned(self) -> ActionId:
        """Begin in an hour."""
        return well.runs.submit((1.0,), countdown=3600).action

    def back_off(self) -> ActionId:
        """Fail once."""
        return well.rests.delay().action

    def starts_over(self) -> ActionId:
        """Start over so fast that there is a brake."""
        self._loops = well.loops.delay(1).action
        return self._loops

    def person(self) -> ActionId:
        """Ask. What starts over is ended before: it would take a worker now and then."""
        self.client.abort(self._loops, "seen")
        return self.client.condition("draw", prompt="Draw water?").action

    def both(self) -> ActionId:
        """Wait for a child, and for a time."""
        return well.hurries.delay().action

    def running(self) -> ActionId:
        """Run, with the one bucket."""
        self._held = [well.holds.delay(600.0).action]
        return self._held[0]

    def quota(self) -> ActionId:
        """Want the bucket."""
        return well.holds.delay(0.0).action

    def reservation(self) -> ActionId:
        """Want what another computes."""
        self._runs(well.once.delay(600.0).action)
        return well.once.delay(600.0).action

    def children(self) -> ActionId:
        """Have one child; it takes the last free worker."""
        run = well.runs.map([600.0])
        self._runs(run.id.action("m0"))
        return run.action

    def plugin(self) -> ActionId:
        """Be of a plugin that waits."""
        return self.client.submit(by_hand("", "kiln")).action

    def no_worker(self) -> ActionId:
        """Go where nobody is."""
        return well.deserted.delay().action

    def paused_queue(self) -> ActionId:
        """Go where it is closed."""
        self.client.pause_queue("closed")
        return well.closed.delay().action

    def unknown_function(self) -> ActionId:
        """Name a function nobody has."""
        return self.client.submit(by_hand("well.gone")).action

    def line(self) -> ActionId:
        """Stand behind another of its run, and so of its line, while all workers are taken."""
        return well.runs.map([600.0, 600.0]).id.action("m1")

    def handed_back(self) -> ActionId:
        """Be taken by a worker whose functions cannot be loaded any more."""
        self._dry.touch()
        self._held.append(well.draws.delay(600.0).action)
        return self._held[1]

    def step(self) -> ActionId:
        """Be new while no step is taken. Before, the broken worker is mended, and runs what it handed back."""
        self._dry.unlink()
        self._runs(self._held[1])
        self._freeze(self._site.stack.processes["steps-1"])
        return well.runs.delay(1.0).action

    def abort(self) -> ActionId:
        """Be aborted while nobody tells the worker, nor can it ask."""
        self._freeze(self._site.stack.processes["attempts-1"])
        self.client.abort(self._held[0], "moved to <i>town</i>")
        return self._held[0]

    def silent(self) -> ActionId:
        """Run on a worker that is frozen, until its lease ends."""
        self._freeze(self._other)
        return self._held[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three places for functions, one bucket, and a plugin. Without beat: what is frozen stays untouched."""
    variables = {"RECONCILER_QUOTAS": "bucket=1", "RECONCILER_PLUGINS": "waiting_plugin"}
    folder = tmp_path_factory.mktemp("waiting")
    with (
        Stack(
            folder, imports=IMPORTS, flower=True, attempts_concurrency=3, beat=False, env=variables, cwd=HERE
        ) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, stack.env()[name])
        found = Site(stack)
        well.env.client = found.client
        yield found
        stack.kill_workers()  # what they run would be waited for


class Telling(NamedTuple):
    """The places that tell why an action waits, and what each has to say."""

    site: Site
    page: Browser
    reason: Reason
    action: ActionId
    sentence: re.Pattern[str]

    def all_say_it(self) -> None:
        """Wait until all do at one time: what was handed back is offered again for a moment, now and then."""
        deadline = time.monotonic() + PATIENCE
        while wrong := {
            place: said for place, said in self.said().items() if not self.sentence.search(str(said))
        }:
            assert time.monotonic() < deadline, (self.reason, wrong)

    def said(self) -> dict[str, str]:
        """What each place says: the API, the page and the command line, for people and for programs."""
        self.page.open(f"{self.site.url}/runs/{self.action}")
        self.page.wait(f"document.querySelector('.rc-why p[data-reason=\"{self.reason}\"]')")
        shown = self.page.run("document.querySelector('.rc-why p[data-reason]').innerText")
        told, asked = (
            CliRunner().invoke(main, ["describe", str(self.action), *form], env=self.site.stack.env()).stdout
            for form in ([], ["--json"])
        )
        return {
            "page": shown,
            "command": told.partition("\n")[2],
            "command --json": json.loads(asked)["chain"][0]["why"],
            "API": self.site.api(f"/actions/{self.action}")["why"][0]["why"],
        }


@needs_chromium
def test_each_reason_says_its_sentence(site: Site, tmp_path: Path) -> None:
    """All of them: one after the other holds on real servers, and all three places say the same sentence."""
    assert set(SENTENCES) == set(Reason)
    with Scene(site, tmp_path, tmp_path / "dry") as scene, browser(tmp_path / "browser") as page:
        cases = [(reason.name.lower(), reason, sentence) for reason, sentence in SENTENCES.items()]
        cases.insert(list(SENTENCES).index(Reason.RUNNING), ("both", Reason.CHILDREN, BOTH))
        for name, reason, sentence in cases:
            action = getattr(scene, name)()
            eventually(lambda: site.reason(action) == reason, PATIENCE)  # noqa: B023  # called at once
            told = Telling(site, page, reason, action, re.compile(sentence, re.IGNORECASE | re.DOTALL))
            told.all_say_it()
