"""Make handles of what is stored, by the identity of a run, in whatever process."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

from reconciler.api.action import ActionId, RunId
from reconciler.broker.messages import Messenger
from reconciler.client.actions import Actions
from reconciler.client.archived import ArchivedRuns
from reconciler.client.run import Run
from reconciler.client.waiting import decode_outputs
from reconciler.plugins.group_config import config_of
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore

R_co = TypeVar("R_co", covariant=True)


class Typed(Protocol[R_co]):
    """Knows the type of a result, as a `Task` does."""

    def decode_result(self, data: bytes) -> R_co:
        """Read a stored result."""


class Handles(Actions):
    """The handles of stored runs; a part of `Client`.

    Attributes:
        settings: of the installation.
    """

    def __init__(self, store: Store, blobs: BlobStore, messenger: Messenger, settings: Settings) -> None:
        super().__init__(store, blobs, messenger, ArchivedRuns(blobs if settings.archive else None))
        self.settings = settings
        self.place = (settings.project, settings.domain)
        self.largest = settings.max_object_size

    @overload
    def run(self, id: str | RunId | ActionId) -> Run[Any]: ...  # what it is
    @overload
    def run(self, id: str | RunId | ActionId, task: Typed[R_co]) -> Run[R_co]: ...  # as above
    def run(self, id: str | RunId | ActionId, task: Typed[Any] | None = None) -> Run[Any]:  # noqa: A002  # as above
        """Make the handle of a stored run or action, as its submission gave it.

        Args:
            id: `project/domain/run`, `project/domain/run/action`, or without project and domain, which are those of the
                settings then; a run stands for its root.
            task: reads the result as the type of its return hint; without it the result is what JSON holds. Of a run that
                `map` made it reads that of each member, and the result is their list.

        Raises:
            InvalidName: it is none of these forms, or a part breaks the rule of names.
            ActionNotFound: there is no such run: it never was, or its retention has passed.
            StoreUnavailable: the store does not answer.
        """
        record = self.get(id)
        config = config_of(record.spec)
        return Run(
            self,
            record.id,
            decode_outputs if task is None else task.decode_result,
            members=config.expected if config is not None else None,
            incarnation=record.metadata.incarnation,
            lazy=config is not None and config.concurrency > 0,
            fresh=False,
        )
