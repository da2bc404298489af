"""Run the reconciler in a worker process: the `Manager` of `TaskActionReconciler.setup_with_manager` (R2, R8)."""

from __future__ import annotations

from collections.abc import Callable, Container

from reconciler.api.errors import ReconcilerError
from reconciler.broker.messages import RECONCILE
from reconciler.controller.reconciler import TaskActionReconciler
from worker.consuming import ConsumerWatch
from worker.functions_told import FunctionsTold
from worker.liveness import Liveness
from worker.process import Guardian, current_engine


class WorkerManager:
    """Registers the reconciler in a Celery worker: its task, its concurrency, its start-up scan.

    Single flight per action needs no lock here: a claim is one. Coalescing is the due index and the pending mark.

    Args:
        tasks: names of the tasks the application knows.
        liveness: by which the process says that it is alive.
        steps: whether this worker consumes the steps queue.
        watch: looks after its consumer; None where the broker is not Redis.
        functions: tells what the worker can run; None when it runs no attempts.
        each: called each second.
    """

    def __init__(
        self,
        tasks: Container[str],
        liveness: Liveness,
        *,
        steps: bool,
        watch: ConsumerWatch | None = None,
        functions: FunctionsTold | None = None,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        self._tasks = tasks
        self._steps = steps
        self.guardian = Guardian(liveness, steps=steps, watch=watch, functions=functions, each=each)

    def register(self, name: str, reconciler: TaskActionReconciler, max_concurrent_reconciles: int) -> None:
        """Begin: a steps worker looks at every shard at once, and then every few seconds.

        Raises:
            ReconcilerError: the application does not know the task of reconcile steps.
        """
        del reconciler  # the engine of this process holds it
        if self._steps and RECONCILE not in self._tasks:
            raise ReconcilerError(
                f"{name} cannot be registered: this Celery application has no task {RECONCILE}; start it with -A worker"
            )
        current_engine().stepper.limit(max_concurrent_reconciles)
        self.guardian.start()
