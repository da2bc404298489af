"""Secrets by reference: which one a task needs, and where an installation looks them up (R71)."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.template import SecretRef
from reconciler.api.texts import check_text

PLATFORM_VARIABLES = frozenset({"ACTION_NAME", "RUN_NAME", "_U_RUN_BASE", "_U_ORG_NAME"})
"""Variables every attempt has; nothing a user asks for replaces them."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LONGEST = 128
_PREFIX = re.compile(r"[A-Za-z0-9/_+=.@-]*", re.ASCII)
"""What AWS allows in the name of a secret."""


class Secret(msgspec.Struct, frozen=True):
    """A secret a task needs. Attempts find its value in an environment variable; it is stored and logged nowhere.

    Attributes:
        key: name of the secret.
        env: environment variable of its value; the key in upper case, with `_` for `-` and `.`, when empty.
        group: further part of its name, for providers that group secrets.
    """

    key: str
    env: str = ""
    group: str = ""

    def reference(self) -> SecretRef:
        """Return the reference that a template stores.

        Raises:
            InvalidName: key or group breaks the rule of names.
            InvalidSpec: the variable cannot be used.
        """
        check_secret(self.key, self.group)
        return SecretRef(key=self.key, group=self.group, env=variable_of(self.key, self.env))


def check_secret(key: str, group: str = "") -> None:
    """Check the name of a secret: no name can leave the folder or prefix in which it is looked up.

    Raises:
        InvalidName: it breaks the rule of names.
    """
    check_name("secret", key, _LONGEST)
    if group:
        check_name("group of secrets", group, _LONGEST)


def variable_of(key: str, env: str = "") -> str:
    """Name the environment variable of a secret.

    Raises:
        InvalidSpec: it is no name of a variable, or one of the platform's.
    """
    name = check_text(f"the variable of secret {key!r}", env) or re.sub(r"[.-]", "_", key).upper()
    if not _VARIABLE.fullmatch(name):
        raise InvalidSpec(
            f"secret {key!r} cannot go into the environment variable {name!r}: name another one, as in "
            f'Secret({key!r}, env="DB_PASSWORD")'
        )
    if name in PLATFORM_VARIABLES:
        raise InvalidSpec(
            f"secret {key!r} must not replace the platform's variable {name}; name another one with env="
        )
    return name


def read_provider(text: str) -> tuple[str, str]:
    """Read `env`, `files:/folder` or `aws:prefix/`: kind and place.

    Raises:
        InvalidSpec: not of that form.
    """
    kind, _, place = text.partition(":")
    if (
        (kind == "env" and text == "env")
        or (kind == "files" and PurePosixPath(place).is_absolute())
        or (kind == "aws" and _PREFIX.fullmatch(place))
    ):
        return kind, place
    raise InvalidSpec(f"{text!r} is no place for secrets; write env, files:/folder or aws:prefix/")
