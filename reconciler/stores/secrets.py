"""Define how a place of secrets is asked for one, and what it answers (R71)."""

from __future__ import annotations

import msgspec


class SecretId(msgspec.Struct, frozen=True, kw_only=True):
    """A secret in a scope: a project in a domain, a domain, or the whole installation.

    Attributes:
        key, group: name of the secret.
        project, domain: its scope; empty parts are wider.
    """

    key: str
    group: str = ""
    project: str = ""
    domain: str = ""

    def __str__(self) -> str:
        return f'secret "{self.name}"'

    @property
    def name(self) -> str:
        """`<key>`, or `<group>.<key>`."""
        return f"{self.group}.{self.key}" if self.group else self.key

    @property
    def scope(self) -> tuple[str, ...]:
        """Domain and project, if set: the folders the secret lies in."""
        return tuple(part for part in (self.domain, self.project) if part)


class SecretValue(msgspec.Struct, frozen=True):
    """The value of a secret: text, or bytes when there is no text. Never printed."""

    text: str = ""
    binary: bytes = b""

    def __repr__(self) -> str:
        return "SecretValue(…)"
