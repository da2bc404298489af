"""A testing kit, for users' plugins and tasks and for this project's own rules (docs/testing.md).

Everything runs in one process on the in-memory twins, with a clock that moves when it is told to:

    lab = Lab(plugins=[ScriptedPlugin("demo", running(0), success())])
    action = lab.submit("demo")
    lab.reconcile(action)          # one action, one round, its result
    lab.settle()                   # steps and time, until nothing is due
    lab.journal                    # what was called and written, in order
"""

from reconciler.testing.clock import VirtualClock
from reconciler.testing.journal import Journal
from reconciler.testing.lab import Lab
from reconciler.testing.scripted import ScriptedPlugin

__all__ = ["Journal", "Lab", "ScriptedPlugin", "VirtualClock"]
