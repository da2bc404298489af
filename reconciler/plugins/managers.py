"""What plugins get from outside: quotas and secrets (spec 24, 25). The defaults grant all and hold nothing."""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.errors import PluginError


class Allocation(enum.Enum):
    """Answer to a wish for a token."""

    GRANTED = "Granted"
    EXHAUSTED = "Exhausted"
    NAMESPACE_QUOTA_EXCEEDED = "NamespaceQuotaExceeded"


class Constraints(msgspec.Struct, frozen=True):
    """Caps beside the global quota; None = no cap at that level."""

    project_scope: int | None = None
    namespace_scope: int | None = None


class ResourceManager(Protocol):
    """Quotas: a token is one unit of a resource namespace, held by an action (spec 24)."""

    id: str

    def register_quota(self, namespace: str, quota: int) -> None:
        """Declare how many units a namespace has."""
        ...

    def allocate(self, namespace: str, token: str, owner: ActionId, constraints: Constraints) -> Allocation:
        """Ask for a unit; the same token asking again is granted again and counted once."""
        ...

    def release(self, namespace: str, token: str) -> None:
        """Give a unit back; releasing what is not held is fine."""
        ...


class NoopResourceManager:
    """Grants everything and enforces no quota."""

    id = "executor-noop-resource-manager"

    def register_quota(self, namespace: str, quota: int) -> None:
        """Accepted, not enforced."""

    def allocate(self, namespace: str, token: str, owner: ActionId, constraints: Constraints) -> Allocation:
        """Always granted."""
        del namespace, token, owner, constraints
        return Allocation.GRANTED

    def release(self, namespace: str, token: str) -> None:
        """Nothing is held."""


class SecretUnavailable(PluginError):
    """A secret cannot be resolved. The message names the key, never a value."""

    code = "SecretUnavailable"


class SecretManager(Protocol):
    """Resolves secrets by reference (spec 25)."""

    def get(self, key: str) -> str:
        """The value of a secret.

        Raises:
            SecretUnavailable: it cannot be resolved; never answered by an empty value.
        """
        ...


class NoopSecretManager:
    """Has no backend: each lookup fails loudly (spec 25)."""

    def get(self, key: str) -> str:
        """Never answers.

        Raises:
            SecretUnavailable: always.
        """
        raise SecretUnavailable(
            f'secrets are not supported by the executor\'s no-op secret manager, cannot resolve "{key}"'
        )
