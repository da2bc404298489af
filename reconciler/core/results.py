"""The results of many actions, read in parts as they are asked for: like a list, however many there are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

from reconciler.api.errors import ActionEnded, BlobCorrupt, BlobNotFound

T_co = TypeVar("T_co", covariant=True)

AT_ONCE = 500
"""Results of one part."""
_KEPT = 8
_SHOWN = 5


class Results(Sequence[T_co]):
    """Results in the order of the items. Each part is read when it is asked for, and the last few are kept.

    What reading raises, asking raises. `list(results)` has all of them at once; `json.dumps` and whatever else takes
    nothing but a list needs that.

    Args:
        total: how many there are.
        read: gives those from one index to another.
    """

    def __init__(self, total: int, read: Callable[[int, int], list[T_co]]) -> None:
        self._total = total
        self._read = read
        self._parts: OrderedDict[int, list[T_co]] = OrderedDict()

    def __len__(self) -> int:
        return self._total

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> list[T_co]: ...
    def __getitem__(self, index: int | slice) -> T_co | list[T_co]:
        if isinstance(index, slice):
            return [self[each] for each in range(self._total)[index]]
        try:
            at = range(self._total)[index]
        except IndexError:
            raise IndexError(f"there are {self._total} results, and none at {index}") from None
        return self._part(at // AT_ONCE)[at % AT_ONCE]

    def __iter__(self) -> Iterator[T_co]:
        for number in range(-(-self._total // AT_ONCE)):
            yield from self._part(number)

    def __add__(self, other: Sequence[Any]) -> list[Any]:
        return [*self, *other]

    def __radd__(self, other: Sequence[Any]) -> list[Any]:
        return [*other, *self]

    def __reduce__(self) -> tuple[type[list[Any]], tuple[list[T_co]]]:
        return list, (list(self),)  # copied or pickled it is the list: whoever reads it has no connection

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple | Results):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        if self._total <= _SHOWN:
            return repr(list(self))
        return f"<{self._total} results>"

    def raising(self) -> Results[T_co]:
        """Return the same results, but what reads a part with an error raises it instead of giving it."""

        def read(first: int, end: int) -> list[T_co]:
            part = self._read(first, end)
            raise_first(part)
            return part

        return Results(self._total, read)

    def _part(self, number: int) -> list[T_co]:
        if number in self._parts:
            self._parts.move_to_end(number)
            return self._parts[number]
        first = number * AT_ONCE
        part = self._parts[number] = self._read(first, min(first + AT_ONCE, self._total))
        if len(self._parts) > _KEPT:
            self._parts.popitem(last=False)
        return part


# `json` names the class of what it cannot write, and nothing else: so this is where it can be said what to do
Results.__name__ = "Results (write list(results), which is a list)"


def plain(value: Any) -> Any:  # noqa: ANN401  # whatever a function has returned
    """Return a value as it is written: results as the list they stand for."""
    return list(value) if isinstance(value, Results) else value


def raise_first(outcomes: Iterable[Any | ActionEnded]) -> None:
    """Raise the first error among results.

    Raises:
        ActionEnded: a member ended otherwise than by success.
        BlobNotFound, BlobCorrupt: its outputs cannot be read; in a task that is an `ActionEnded`, too.
    """
    for outcome in outcomes:
        if isinstance(outcome, ActionEnded):
            raise _raised(outcome)


def _raised(outcome: ActionEnded) -> Exception:
    """Return what is raised for an outcome: of outputs that cannot be read what reading them raised."""
    cause = outcome.__cause__
    return cause if isinstance(cause, BlobNotFound | BlobCorrupt) else outcome


def shown(outcome: tuple[int, Any | ActionEnded], *, indexed: bool, return_exceptions: bool) -> Any:  # noqa: ANN401  # whatever the task returned
    """Return what a caller sees of an end.

    Raises:
        ActionEnded, BlobNotFound, BlobCorrupt: as `raise_first`, and errors are not asked for.
    """
    index, result = outcome
    if isinstance(result, ActionEnded) and not return_exceptions:
        raise _raised(result)
    return (index, result) if indexed else result
