"""Define the managers of quotas and secrets that plugins use (R70, R71). The defaults grant all and hold nothing."""

from __future__ import annotations

from typing import Protocol

from reconciler.api.action import ActionId
from reconciler.api.errors import SecretUnavailable
from reconciler.stores.quotas import NO_CAPS, Allocation, Answer, Constraints, QuotaUnknown

__all__ = [
    "NO_CAPS",
    "Allocation",
    "Answer",
    "Constraints",
    "NoopResourceManager",
    "NoopSecretManager",
    "QuotaUnknown",
    "ResourceManager",
    "SecretManager",
    "SecretUnavailable",
]


class ResourceManager(Protocol):
    """Quotas: units of a resource (a *namespace*, parts joined with `:`) are leased to tokens of actions (R70).

    Plugins ask through `ctx.allocate`, which remembers the token in the record; the engine then renews its lease with each
    round, and gives it back when the launch or the action has ended. Who asks the manager itself has to do both.
    """

    id: str

    def register_quota(self, namespace: str, quota: int) -> None:
        """Declare how many units a resource has; declaring it again changes the number.

        Raises:
            InvalidSpec: the name breaks the rule, or the number is negative.
        """

    def allocate(
        self,
        namespace: str,
        token: str,
        owner: ActionId,
        constraints: Constraints = NO_CAPS,
        units: int = 1,
    ) -> Answer:
        """Ask for units, all or none. A token counts once: asked again, it renews its lease or keeps its place in line.

        Whoever has waited longest is served first. A token that waits for a cap holds up nobody else.

        Raises:
            QuotaUnknown: this process knows of no such quota.
            BadTaskSpecification: more units than there are, or none.
        """

    def renew(self, namespace: str, token: str, owner: ActionId, units: int = 1) -> None:
        """Renew the lease of units in use, even if it ran out or the quota has shrunk, because they are in use."""

    def release(self, namespace: str, token: str) -> tuple[ActionId, ...]:
        """Release what a token holds, or its place in line; releasing nothing is fine.

        Returns:
            Actions to be woken: those that may get something now, longest-waiting first.
        """


class NoopResourceManager:
    """Grants everything and enforces no quota."""

    id = "executor-noop-resource-manager"

    def register_quota(self, namespace: str, quota: int) -> None:
        """Accept the number, and enforce nothing."""

    def allocate(
        self,
        namespace: str,
        token: str,
        owner: ActionId,
        constraints: Constraints = NO_CAPS,
        units: int = 1,
    ) -> Answer:
        """Grant all that is asked for."""
        del namespace, token, owner, constraints, units
        return Answer(Allocation.GRANTED)

    def renew(self, namespace: str, token: str, owner: ActionId, units: int = 1) -> None:
        """Do nothing, as nothing is leased."""

    def release(self, namespace: str, token: str) -> tuple[ActionId, ...]:
        """Do nothing, as nothing is held."""
        del namespace, token
        return ()


class SecretManager(Protocol):
    """Resolves secrets by reference (R71). A resolved value must not get into plugin state or events (R71)."""

    def get(self, key: str, *, group: str = "", project: str = "", domain: str = "") -> str:
        """Return the value of a secret, as the project in this domain sees it.

        Raises:
            SecretUnavailable: it cannot be resolved; never answered by an empty value.
        """


class NoopSecretManager:
    """Has no backend: each lookup fails loudly (R71)."""

    def get(self, key: str, *, group: str = "", project: str = "", domain: str = "") -> str:
        """Refuse every secret.

        Raises:
            SecretUnavailable: always.
        """
        del group, project, domain
        raise SecretUnavailable(
            f'secrets are not supported by the executor\'s no-op secret manager, cannot resolve "{key}"'
        )
