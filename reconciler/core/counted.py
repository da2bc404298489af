"""Numbers with their nouns, as people write them. Imports nothing, as the help of the command line needs it too."""

from __future__ import annotations


def counted(number: int, noun: str, many: str = "") -> str:
    """Write a number of things: `1 run`, `2 runs`. A caller that would say `no run` says so itself.

    Args:
        number: how many.
        noun: of one of them, with its verb if one follows: "launch waits".
        many: of several; by default the noun with an s.
    """
    return f"{number} {noun if number == 1 else many or f'{noun}s'}"
