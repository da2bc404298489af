"""The supervisor's side of one launch: stores what its function starts, watches for ends, keeps values.

Requests are taken as they come and worked on together, so that a function that starts thousands pays a few round trips.
Nothing is lost with this process: the function is run again, asks for the same, and finds what is there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import EndlessWait, ReconcilerError, Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.children import requests as ask
from reconciler.children.driving import FEW, Drive
from reconciler.children.following import Following
from reconciler.children.giving_up import wait_name
from reconciler.children.hidden import Hidden
from reconciler.children.starting import Starting, Wanted
from reconciler.children.values import Values
from reconciler.children.watching import Watching, ends_of
from reconciler.children.windows import Windows
from reconciler.client.client import Client
from reconciler.core.children import member_name
from reconciler.core.events import observed_attempts
from reconciler.core.paths import is_relaunch
from reconciler.plugins.endless import refuse_endless

_AT_ONCE = 500
_AGAIN = 0.5
"""Seconds until what a server did not answer is tried again."""
_LOOK_AT_LINES = 0.05
"""Tell how often to look whether something waits that this worker could run, while its function waits in place, seconds."""


class Desk:
    """Carries out the requests of one launch.

    Args:
        client: of the installation.
        record: the action, as it was drawn.
        owner: who holds the launch.
        told: called, in any thread, when `work` has something to do.
        queue: whose launches this worker runs, too; empty: nobody looks.
        replays: whether the attempt may have called the function before; by default as the name of the launch tells.
        drive: takes the first step of a few children; None: a steps worker does.

    Attributes:
        hidden: what children gave that no error and no log may show.
    """

    def __init__(
        self,
        client: Client,
        record: TaskAction,
        owner: str,
        told: Callable[[], None] = lambda: None,
        queue: str = "",
        *,
        replays: bool | None = None,
        drive: Drive | None = None,
    ) -> None:
        self._client = client
        self._record = record
        self._values = Values(client, record, owner)
        self._queue = queue
        self._attempt = observed_attempts(record)
        self._starting = Starting(client, record, self._attempt, drive)
        self._windows = Windows(self._starting)
        self.hidden = Hidden()
        self._watching = Watching(client, told, self.hidden, drive.followers if drive is not None else None)
        self._following = Following(client, told, self.hidden)
        self._requests: deque[ask.Request] = deque()
        self.said: ask.Say | None = None
        """How far the call says it is."""
        self._drive = drive
        self._untold: list[ActionId] = []
        self._closed = False
        self._actions: dict[int, ActionId] = {}
        self._apart: set[ActionId] = set()
        self._watches: list[int] = []
        self._totals: dict[int, int] = {}
        self._again = 0.0
        self._next_look = 0.0
        self._hurried = self._stood = False
        self._replays = is_relaunch(record.attempt.launch) if replays is None else replays

    def take(self, request: ask.Request) -> None:
        """Take a request; `work` carries it out."""
        if isinstance(request, ask.Say):
            self.said = request
        else:
            self._requests.append(request)

    def close(self) -> None:
        """Stop watching."""
        new = [*self._untold, *self._starting.untold()]
        self._closed = True
        if self._drive is not None:
            if new:
                self._drive.leave(new)
            self._drive.close()
        self._watching.close()
        self._following.close()

    def pause(self) -> float | None:
        """Return the seconds until `work` has something to do; None: not before a request or news come."""
        now = time.monotonic()
        if self._requests:
            return max(0.0, self._again - now)
        pause = 0.0 if self._untold else self._waits()
        placing = self._placing()
        if placing is not None:
            pause = placing if pause is None else min(pause, placing)
        if pause is None:
            return None
        wait = max(pause, self._again - now)
        return wait if self._hurried or not self._queue else min(wait, _LOOK_AT_LINES)

    def work(self) -> list[ask.Answer]:
        """Carry out the requests, as far as the servers answer; the rest is tried again."""
        answers: list[ask.Answer] = []
        if time.monotonic() < self._again:
            return answers
        before = len(self._untold)
        try:
            while self._requests:
                answers += self._given_up()
                answers += self._some()
            self._untold += self._starting.untold()
            if before < len(self._untold) <= FEW:
                return answers  # first it hears that they are stored
            self._step()
            if self._drive is not None:
                self._drive.place(self._is_waiting)
            ended: list[ask.Answer] = [*self._watching.ended(), *self._following.ended()]
            self._stood = self._stood and not ended
            answers += ended
            answers += map(ask.Done, self._watches)
            self._watches.clear()
            answers += self._hurry()
        except Unavailable:
            self._again = time.monotonic() + _AGAIN
        return answers

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Name the actions these requests have started; one of another run by its whole path."""
        found = (self._actions.get(number) for number in numbers)
        run = self._record.id.run_id
        names = [action.action if action.run_id == run else str(action) for action in found if action]
        return [*names, *filter(None, map(self._following.name, numbers))]

    def _waits(self) -> float | None:
        """Return the seconds until what is waited for must be looked at; None: nothing is waited for."""
        pauses = (self._watching.pause(), self._following.pause())
        return min((pause for pause in pauses if pause is not None), default=None)

    def _placing(self) -> float | None:
        """Tell in how many seconds a ticket of a step is taken or sent; None: there is none."""
        pause = self._drive.pause() if self._drive is not None else None
        return pause if pause is None or not self._is_waiting() else 0.0

    def _is_waiting(self) -> bool:
        """Tell, in any thread, whether the function waits for something, and for nothing of this desk."""
        return not self._closed and not self._requests and self._waits() is not None

    def asked(self) -> set[str]:
        """Name the children that were asked for."""
        run = self._record.id.run_id
        mine = (action for action in self._actions.values() if action.run_id == run)
        return {action.action for action in mine if action not in self._apart}

    def _step(self) -> None:
        """Take the first step of what was stored without a message; for many at once, leave it to others."""
        new, self._untold = self._untold, []
        if new and self._drive is not None:
            (self._drive.step if len(new) <= FEW else self._drive.leave)(new)

    # -- one kind of request after the other -------------------------------------------------------------------------
    def _some(self) -> list[ask.Answer]:
        """Carry out the first request and the following ones of its kind; they stay queued until they are done.

        Raises:
            Unavailable: a server does not answer.
        """
        first = self._requests[0]
        if isinstance(first, ask.Start | ask.StartGroup | ask.Question):
            few = list(takewhile(_starts, self._requests))[:_AT_ONCE]
            answers = self._start(few)
        else:
            few = [first]
            try:
                answers = self._one(first)
            except Unavailable:
                raise
            except ReconcilerError as error:
                answers = [_refusal(getattr(first, "number", 0), error)]
        for _ in few:
            self._requests.popleft()
        return answers

    def _one(self, request: ask.Request) -> list[ask.Answer]:
        answers: list[ask.Answer] = []
        match request:
            case ask.Members():
                answers = self._members(request)
            case ask.Items():
                answers = [self._windows.take(request)]
            case ask.FindGroup():
                answers = [self._windows.find(request)]
            case ask.Watch():
                answers = self._watch(request)
            case ask.Follow():
                answers = [self._following.add(request, self._action(request.group))]
            case ask.Outcomes():
                answers = list(self._outcomes(request))
            case ask.Look() | ask.Abort() | ask.Tell():
                answers = [self._about(request)]
            case ask.Keep():
                answers = [self._values.keep(request)]
            case ask.GiveUp():
                answers = [self._give_up(request)]
            case _:
                pass
        return answers

    def _watch(self, request: ask.Watch) -> list[ask.Answer]:
        answers: list[ask.Answer] = []
        for child in request.children:
            if child in self._actions:  # else it was refused, which its parent knows
                try:
                    self._may_wait(self._actions[child], limited=request.limited)
                    self._watching.add(child, self._actions[child])
                except EndlessWait as error:
                    answers.append(_refusal(child, error))
        self._watches.append(request.number)
        return answers

    def _may_wait(self, action: ActionId, *, limited: bool) -> None:
        """Refuse to wait for an action that waits for this one; actions started below it never do.

        Raises:
            EndlessWait: names the circle.
        """
        if action in self._apart and not limited:
            refuse_endless(self._client.store, self._record.id, action)

    def _about(self, request: ask.Look | ask.Abort | ask.Tell) -> ask.Answer:
        action = self._action(request.child)
        if isinstance(request, ask.Tell):
            return self._tell(request, action)
        if isinstance(request, ask.Abort):
            self._client.abort(action, request.reason, actor=str(self._record.id))
            return ask.Done(request.number)
        record = self._client.store.get(action)
        return ask.Phase(request.number, int(record.phase if record else ActionPhase.UNSPECIFIED))

    def _tell(self, request: ask.Tell, action: ActionId) -> ask.Told:
        client = self._client
        found: object = None
        match request.what:
            case "events":
                found = client.events(action)
            case "counts":
                found = client.counts(action.run_id)
            case "prioritize":
                found = client.prioritize(action, request.value)
        return ask.Told(request.number, msgspec.msgpack.encode(found))

    def _action(self, number: int) -> ActionId:
        found = self._actions.get(number)
        if found is None:
            raise ReconcilerError("the action was not started: look why its start was refused")
        return found

    def _start(self, few: Sequence[ask.Request]) -> list[ask.Answer]:
        wanted: list[Wanted] = []
        answers: list[ask.Answer] = []
        for request in few:
            try:
                if isinstance(request, ask.Start) and request.detached:
                    answers.append(self._detached(request))
                elif isinstance(request, ask.StartGroup) and request.concurrency:
                    answers.append(self._window(request))
                else:
                    wanted.append(self._wanted(request))
            except Unavailable:
                raise
            except ReconcilerError as error:
                answers.append(_refusal(getattr(request, "number", 0), error))
        heard = self._watching.heard
        started = self._starting.start(wanted)
        new = self._starting.untold()
        self._untold += new
        self._watching.born(new, heard)
        for one, found in zip(wanted, started, strict=True):
            if isinstance(found, ReconcilerError):
                answers.append(_refusal(one.number, found))
            else:
                self._actions[one.number] = found
                answers.append(ask.Started(one.number, str(found), self._record.metadata.incarnation))
        return answers

    def _wanted(self, request: ask.Request) -> Wanted:
        if isinstance(request, ask.Start):
            return self._starting.wanted(request)
        if isinstance(request, ask.StartGroup):
            self._totals[request.number] = request.total
            return self._starting.group(request)
        assert isinstance(request, ask.Question)
        return self._starting.question(request)

    def _detached(self, request: ask.Start) -> ask.Started:
        action, incarnation = self._starting.detached(request, self._starting.wanted(request).name)
        self._actions[request.number] = action
        self._apart.add(action)
        return ask.Started(request.number, str(action), incarnation)

    def _window(self, request: ask.StartGroup) -> ask.Started:
        self._totals[request.number] = request.total
        action = self._actions[request.number] = self._windows.start(request)
        return ask.Started(request.number, str(action), self._record.metadata.incarnation)

    def _members(self, request: ask.Members) -> list[ask.Answer]:
        """Store some members of a group. Where one is refused, so is the group: it would wait for that one for ever."""
        group, answers = self._actions.get(request.group), list[ask.Answer]()
        if group is not None:  # else it was refused, which its parent knows
            found = self._starting.members(group, request)
            errors = [one for one in found if isinstance(one, ReconcilerError)]
            answers = [_refusal(request.group, error) for error in errors[:1]]
        return [*answers, ask.Done(request.number)]

    def _outcomes(self, request: ask.Outcomes) -> list[ask.Ends]:
        """Collect the ends of members; one that was never stored has ended with its group."""
        group, total = self._action(request.group), request.end or self._totals.get(request.group, 0)
        run, parts = group.run_id, []
        for start in range(request.first, max(total, 1), _AT_ONCE):
            indexes = range(start, min(start + _AT_ONCE, total))
            names = [run.action(member_name(group.action, index)) for index in indexes]
            records = self._client.store.get_many(names) if names else []
            over = [(request.number, name, record) for name, record in zip(names, records, strict=True)]
            parts.append(
                ask.Ends(
                    request.number, ends_of(self._client, over, self.hidden), last=start + _AT_ONCE >= total
                )
            )
        return parts

    # -- values ------------------------------------------------------------------------------------------------------
    def _give_up(self, request: ask.GiveUp) -> ask.Done:
        """Record that a wait was given up, then abort what was waited for if asked to."""
        action = self._actions.get(request.child)
        if action is not None or not request.child:  # else its start was refused, which its parent knows
            wait = wait_name(str(action), request.turn) if action is not None else request.turn
            self._values.give_up(wait, request.told)
        if action is not None and request.reason:
            self._client.abort(action, request.reason, actor=str(self._record.id))
        return ask.Done(request.number)

    def _given_up(self) -> list[ask.Answer]:
        """Report what earlier passes have given up, before the first answer to a wait."""
        if not (self._replays and isinstance(self._requests[0], ask.Watch | ask.Follow | ask.Keep)):
            return []
        waits = self._values.given_up()
        self._replays = False
        return [ask.GivenUp(waits)] if waits else []

    def _hurry(self) -> list[ask.Answer]:
        """Tell whether something waits that this worker could run."""
        now = time.monotonic()
        if self._hurried or not self._queue or self._waits() is None or now < self._next_look:
            return []
        self._next_look = now + _LOOK_AT_LINES
        store = self._client.store
        waits = bool(store.pick(self._queue, choose=False).lines)
        # what a free worker takes at once is gone at the second look; a head may outlive the last launch of its line
        self._hurried = waits and self._stood and store.launches_waiting().get(self._queue, 0) > 0
        self._stood = waits
        return [ask.Hurry()] if self._hurried else []


def _starts(request: ask.Request) -> bool:
    return isinstance(request, ask.Start | ask.StartGroup | ask.Question)


def _refusal(number: int, error: ReconcilerError) -> ask.Refused:
    return ask.Refused(number, type(error).__name__, str(error))
