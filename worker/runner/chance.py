"""Make the random numbers of `random` and of NumPy unforeseeable again after a call that has drawn some, or set a seed."""

from __future__ import annotations

import random
import sys
from typing import Any, Final

from worker.runner.bodies import Bodies


class Chance:
    """Takes the generator behind the functions of `random`. To look whether it needs a new seed is a tenth of seeding it.

    It needs one when its memory is another, and also when somebody has read or set its state: `getstate`, a number and
    `setstate` leave the same memory, and would give each call the same number.
    """

    def __init__(self) -> None:
        self._numbers: Any = random._inst  # noqa: SLF001  # it has no public name
        self._bodies = Bodies(self._numbers)
        self._numbers.__class__ = _Noticing
        self._tells = self._try()

    def restore(self) -> str:
        """Seed what needs it. Returns nothing: all can be restored."""
        numbers = self._numbers
        if numbers.noticed or self._bodies.changed() or not self._tells:
            numbers.seed(_SEEDS.getrandbits(256))
            numbers.__class__ = _Noticing
            numbers.noticed = False
            self._bodies.settle()
        seed = getattr(sys.modules.get("numpy.random"), "seed", None)
        if seed is not None:
            seed()
        return ""

    def _try(self) -> bool:
        """Tell whether this Python's generator is noticed when its state is read."""
        self._numbers.noticed = False
        self._numbers.getstate()
        return bool(self._numbers.noticed)


class _Noticing(random.Random):
    """Notices who reads or sets its state, or draws by `gauss`: all of these use one attribute."""

    noticed = True

    @property
    def gauss_next(self) -> float | None:
        """The number that `gauss` has in store."""
        self.noticed = True
        found: float | None = vars(self).get("gauss_next")
        return found

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        self.noticed = True
        vars(self)["gauss_next"] = value

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies be of the class that everybody knows."""
        return random.Random, (), self.getstate()


_SEEDS: Final = random.Random()  # noqa: S311  # as unforeseeable as the random numbers of a fresh process
