"""A testing kit, for users' plugins and tasks and for this project's own rules (docs/testing.md).

Everything runs in one process on the in-memory twins, with a clock that moves when it is told to:

    lab = Lab(plugins=[ScriptedPlugin("demo", running(0), success())])
    action = lab.submit("demo")
    lab.reconcile(action)          # one action, one round, its result
    lab.settle()                   # steps and time, until nothing is due
    lab.journal                    # what was called and written, in order

`every_crash` plays a scenario with a worker that dies at each of its writes; `check_settled` says what must hold at its end.
`check_replay` plays a task that starts tasks with a suspension wherever it waits, and says what differs between its passes.
"""

from reconciler.testing.clock import VirtualClock
from reconciler.testing.crash import Crash, crash_at, crash_at_each, every_crash
from reconciler.testing.invariants import check_settled
from reconciler.testing.journal import Journal
from reconciler.testing.lab import Lab
from reconciler.testing.playing import NeverEnds
from reconciler.testing.replay import ReplayDiffers, Replayed, check_replay
from reconciler.testing.scripted import ScriptedPlugin

__all__ = [
    "Crash",
    "Journal",
    "Lab",
    "NeverEnds",
    "ReplayDiffers",
    "Replayed",
    "ScriptedPlugin",
    "VirtualClock",
    "check_replay",
    "check_settled",
    "crash_at",
    "crash_at_each",
    "every_crash",
]
