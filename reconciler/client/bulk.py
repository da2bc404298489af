"""Rerun, recover or abort many runs: all that a query finds, or those that are named.

The runs are chosen first and stored as a plan, so their number is known before anything is done, and a bulk that is
resumed after a crash continues with the same runs. The name of a new run follows from the bulk and its source, so nothing is
done twice (R92).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from reconciler.api.action import RunId
from reconciler.api.errors import (
    ActionConflict,
    ActionNotFound,
    ArchiveUnreadable,
    BlobCorrupt,
    BlobNotFound,
    InvalidInput,
    InvalidSpec,
    NothingToRecover,
)
from reconciler.api.names import check_name
from reconciler.api.phase import ActionPhase
from reconciler.archive.archive import Archive
from reconciler.archive.bulk import (
    BulkPlan,
    BulkVerb,
    Done,
    mark_done,
    read_done,
    read_plan,
    write_plan,
)
from reconciler.archive.index import Row
from reconciler.archive.layout import BULK
from reconciler.archive.query import Found, Question
from reconciler.client.actions import ABORT_REASON
from reconciler.client.choosing import all_runs, records_of, stored_runs
from reconciler.client.remaking import Remaking
from reconciler.client.run import Run
from reconciler.client.submission import key_name, new_run_name
from reconciler.client.waiting import decode_outputs
from reconciler.stores.base import AbortOutcome
from reconciler.stores.holds import RunLife
from reconciler.stores.objects import folders_in

LIMIT = 1000
"""Most runs of a bulk, unless somebody says otherwise."""
_MARK = 20
"""Runs after which the progress of a bulk is noted: at most this many are looked at again after a crash."""
_REFUSED = (InvalidInput, ActionNotFound, ActionConflict, ArchiveUnreadable, BlobCorrupt)
"""Says something of one run, and nothing of the others."""
NOTHING = "nothing_to_recover"
"""The outcome of a recover for a run of which all succeeded that counts: what failed was dealt with by a function."""
_FINE = {str(phase) for phase in ActionPhase if phase.has_outputs()}


class Bulk:
    """A stored verb for many runs, which can be carried out now or in another process.

    Attributes:
        plan: what was asked, by whom, and of which runs.
    """

    def __init__(self, client: Remaking, plan: BulkPlan) -> None:
        """Use `Bulks.plan` or `Bulks.open`."""
        self._client = client
        self.plan = plan

    def __repr__(self) -> str:
        return f"<Bulk {self.plan.name}: {self.plan.verb} {self.plan.count} runs>"

    def done(self) -> list[Done]:
        """Return what was noted about runs so far, in the order of the plan.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        return read_done(self._client.blobs, self.plan)

    def carry_out(self, told: Callable[[Done], None] = lambda _: None) -> list[Done]:
        """Do what is not done yet, one run after the other; return the results of all, in the order of the plan.

        A run that is refused (it is alive, it has gone, a function has another interface now) does not stop the others.
        After any other error, or a crash, call it again, in any process: it continues.

        Args:
            told: called with the result of each run of this call.

        Raises:
            InvalidSpec: it was planned longer than `RECONCILER_RETENTION` ago, and there is no archive; or this release does
                not know its verb.
            QueueFull: what waits in a queue reached its limit.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        verb_of(self.plan.verb)
        self._check_age()
        found = self.done()
        again = True  # the first ones may have been done before somebody died who could not note it
        while len(found) < self.plan.count:
            runs = self.plan.runs[len(found) : len(found) + _MARK]
            page = list(self._page(runs, told, again=again))
            again = False
            mark_done(self._client.blobs, self.plan, len(found) + len(page), page)
            found += page
        return found

    def _check_age(self) -> None:
        """Refuse a bulk that is so old that its notes may be incomplete."""
        settings, age = self._client.settings, self._client.store.now() - self.plan.at
        if not settings.archive and age > settings.retention.total_seconds() * 1000:
            raise InvalidSpec(
                f"the bulk {self.plan.name} was planned longer than RECONCILER_RETENTION ago, and there is no archive, so "
                "nobody knows which runs it has made already: look at its runs, and plan a new one of those that are left"
            )

    def _page(self, runs: Sequence[str], told: Callable[[Done], None], *, again: bool) -> Iterator[Done]:
        for run in runs:
            done = self._one(RunLife.parse(run), again=again)
            told(done)
            yield done

    def _one(self, life: RunLife, *, again: bool) -> Done:
        try:
            if self.plan.verb == BulkVerb.ABORT:
                return Done(str(life), outcome=self._abort(life))
            return Done(str(life), made=str(self._make(life, again=again)))
        except NothingToRecover:
            return Done(str(life), outcome=NOTHING)
        except _REFUSED as error:
            return Done(str(life), refused=str(error))

    def _make(self, life: RunLife, *, again: bool) -> RunId:
        """Make a run of one run; repeated calls give the same new run.

        Args:
            life: of which one.
            again: whether it may have been made before and forgotten since.
        """
        client = self._client
        key = f"{self.plan.project}/{self.plan.name} {life}"
        made = RunId(life.run.project, life.run.domain, key_name(key))
        if again and client.store.counts(made) is None and Archive(client.blobs).incarnations(made):
            return made
        make = client.rerun if self.plan.verb == BulkVerb.RERUN else client.recover
        try:
            make(life.run, idempotency_key=key, incarnation=life.incarnation)
        except _REFUSED:
            if client.store.counts(made) is None:  # else it was made before its source went
                raise
        return made

    def _abort(self, life: RunLife) -> str:
        """Abort all roots of a run."""
        client = self._client
        roots = list(records_of(client.store, life.run, ""))
        if not roots or roots[0].metadata.incarnation != life.incarnation:
            raise ActionNotFound(life.run, used_again=bool(roots), incarnation=life.incarnation)
        runs: list[Run[Any]] = [
            Run(client, root.id, decode_outputs, incarnation=life.incarnation) for root in roots
        ]
        answers = [run.abort(self.plan.reason or ABORT_REASON) for run in runs]
        return next((a for a in answers if a is not AbortOutcome.ENDED), AbortOutcome.ENDED).value


class Bulks:
    """The bulks of an installation: `Client.bulk`. May be shared between threads.

    Args:
        client: makes and aborts runs.
    """

    def __init__(self, client: Remaking) -> None:
        self._client = client

    def find(self, verb: BulkVerb | str, question: Question) -> Found:
        """Find the runs of a query to which a verb can be applied; nothing is stored. Stored runs first, newest first.

        `abort` fits live runs, `rerun` ended ones, `recover` ended ones in which something did not succeed. If a function
        has handled that failure, it turns out only when the run is recovered: then there is nothing to do.

        Raises:
            InvalidSpec: there is no such verb, or no run can fit the question.
            StoreUnavailable, BlobUnavailable: a server does not answer.
        """
        client, verb = self._client, verb_of(verb)
        if verb is BulkVerb.ABORT:
            alive = [row for row in stored_runs(client.store, question) if not row.ended_at]
            return Found(alive, 0, (), {row.key for row in alive})
        found = all_runs(client.store, client.blobs, question)
        return found._replace(rows=[row for row in found.rows if is_for(verb, row)])

    def plan(
        self,
        verb: BulkVerb | str,
        runs: Iterable[Row | RunLife | Run[Any]],
        *,
        name: str = "",
        reason: str = "",
        question: Question | None = None,
        limit: int = LIMIT,
        project: str = "",
    ) -> Bulk:
        """Store a verb for these runs; nothing is done until it is carried out.

        Args:
            verb: what is done with each.
            runs: which ones; as `find` answers, by incarnation, or their handles.
            name: of the bulk, in its project; a new one when empty.
            reason: of an abort.
            question: what chose them, noted with the plan.
            limit: most runs.
            project: of the bulk; that of the question, or of the settings, when empty.

        Raises:
            InvalidSpec: there is no such verb; there are no runs, or too many, or one is named without its incarnation; or
                there is a bulk with this name.
            InvalidName: a name breaks the rule of names.
            BlobUnavailable: the server does not answer.
        """
        verb, chosen = verb_of(verb), tuple(dict.fromkeys(map(_life, runs)))
        if not chosen or len(chosen) > limit:
            raise InvalidSpec(
                f"a bulk takes 1 to {limit} runs, and {len(chosen)} were chosen: narrow the question, or raise the limit"
            )
        client = self._client
        plan = BulkPlan(
            name=check_name("bulk", name) if name else new_run_name(verb),
            project=project or (question.project if question else client.settings.project),
            verb=verb,
            by=client.who(),
            at=client.store.now(),
            count=len(chosen),
            reason=reason,
            question=question,
            runs=chosen,
        )
        write_plan(client.blobs, plan)
        return Bulk(client, plan)

    def open(self, name: str, project: str = "") -> Bulk:
        """Open a stored bulk, to look at it or to go on with it.

        Raises:
            BlobNotFound: there is none of this name.
            ArchiveDamaged, ArchiveTooNew, BlobUnavailable: it cannot be read.
        """
        where = project or self._client.settings.project
        return Bulk(self._client, read_plan(self._client.blobs, where, check_name("bulk", name)))

    def planned(self, project: str = "") -> list[Bulk]:
        """List all bulks of a project, the last ones first; costs two requests for each.

        Raises:
            BlobUnavailable: the server does not answer.
        """
        where = project or self._client.settings.project
        found = []
        for name in folders_in(self._client.blobs, self._client.blobs.uri(BULK, where)):
            with suppress(BlobNotFound, ArchiveUnreadable):  # its plan is told by `open`
                found.append(self.open(name, where))
        return sorted(found, key=lambda bulk: -bulk.plan.at)


def _life(run: Row | RunLife | Run[Any]) -> str:
    """Write a run with its incarnation.

    Raises:
        InvalidSpec: it is something else.
    """
    if isinstance(run, RunLife):
        run.run.checked()
        return str(run)
    if isinstance(run, (Row, Run)):
        return str(RunLife(run.id, run.incarnation))
    raise InvalidSpec(
        f"a bulk takes rows that `find` answered, handles of runs, or RunLife(run, incarnation), got {type(run).__name__} "
        f"{run!s:.80}: its name may have been used again, so say which run is meant"
    )


def verb_of(verb: str) -> BulkVerb:
    """Read a verb: an unknown one is refused, and never taken for another.

    Raises:
        InvalidSpec: there is no such verb for many runs.
    """
    try:
        return BulkVerb(verb)
    except ValueError:
        raise InvalidSpec(
            f"{verb!r:.80} is no verb for many runs: name one of {', '.join(BulkVerb)}"
        ) from None


def is_for(verb: BulkVerb, row: Row) -> bool:
    """Tell whether a verb can be applied to a run: as `Bulks.find`."""
    if verb is BulkVerb.ABORT:
        return not row.ended_at
    if not row.ended_at:
        return False
    return verb is BulkVerb.RERUN or any(group.phase not in _FINE for group in row.groups)
