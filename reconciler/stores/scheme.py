"""Name the layout of the stored record that this release writes."""

from __future__ import annotations

import msgspec


class Scheme(msgspec.Struct, frozen=True):
    """Layout of the stored record (the `Scheme` of spec methods). Fields of newer layouts are kept when written back."""

    version: int = 1
